"""The Flower ServerApp: rounds on the Grid, then a new bundle.

The loop is our own: a round closes at enough updates or at its deadline, a late, missing or wrong
reply is counted and never fatal, and the numbers come from `round_core`, which the simulator drives
too.
"""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid, ServerApp

from edge_sdk import Engine, open_bundle
from edge_sdk.errors import BadUpdateError, EdgeError, InvalidOptionError
from federated import messages
from federated.compress.coded_update import UpdateCode
from federated.errors import NotEnoughClientsError
from federated.evaluation.over_flower import judge_over_flower
from federated.evaluation.run import evaluate_candidate, quality_of
from federated.excluded import check_together
from federated.grid_messages import CRASHED, TTL_SLACK_S, content_of, pull, push
from federated.local_round import shared_tensors
from federated.metered_grid import MeteredGrid
from federated.next_bundle import RunSummary
from federated.outcome import write_once, write_report
from federated.patient_grid import PatientGrid
from federated.registered_nodes import speaks_for
from federated.round_core import Refusal, Reply, is_usable, run_rounds
from federated.run_files import about_run, open_run
from federated.run_lock import hold_run
from federated.run_log.reader import read_log
from federated.run_log.records import SUFFIX, Source
from federated.run_log.writer import RunLog
from federated.secure.grid_group import GridLink
from federated.secure.grid_server import MaskedRounds
from federated.settings import (
    ServerSettings,
    checkpoint_path,
    decode_evaluation,
    decode_masking,
    decode_privacy,
    decode_run_config,
    refusal_path,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flwr.app import Context

    from edge_sdk.grid import Shapes
    from federated.evaluation.run import EvaluationReport
    from federated.privacy.options import PrivacyOptions
    from federated.privacy.private_run import PrivacySetup
    from federated.round_core import RoundTask

_POLL_S = 0.2
_ASK_AGAIN_S = 30.0
"""A device that is restarted as it is asked who its user is loses the question."""
_log = logging.getLogger(__name__)

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the rounds that the run config asks for; write the new bundle, then the report.

    Where a candidate is judged and not promoted there is no new bundle: the one that devices hold
    stays current, the report says why, and the checkpoint stays for a run with more rounds.

    Raises:
        InvalidOptionError: The run config does not fit, or the new bundle's folder exists.
        NotEnoughClientsError: Too few clients came online in time.
        CheckpointError: Another process runs these rounds, or their checkpoint is of another run.

    What an `EdgeError` says is in the file that `settings.refusal_path` names, for `serve`.
    """
    settings, _ = decode_run_config(context.run_config)
    try:
        with hold_run(checkpoint_path(settings)):
            run_and_write(PatientGrid(grid), context)
    except EdgeError as error:
        refusal_path(settings).write_text(f"{error.code}: {error}", encoding="utf-8")
        raise


def run_and_write(grid: Grid, context: Context) -> None:
    """Run the rounds; write the new bundle, then the report."""
    settings, options = decode_run_config(context.run_config)
    masking, noise = decode_masking(context.run_config), decode_privacy(context.run_config)
    evaluation = decode_evaluation(context.run_config)
    judged_too = evaluation is not None
    check_together(settings, options, noise, masking, judged=judged_too)
    privacy = private_setup(settings, noise)
    masked = None
    if masking is not None:
        masked = MaskedRounds.open(masking, options, noise, judged=judged_too)
    bundle = open_bundle(settings.bundle)
    checkpoint = checkpoint_path(settings)
    if Path(settings.out).exists() and not checkpoint.exists():
        msg = "the folder of the new bundle exists; name one that does not"
        raise InvalidOptionError(msg)
    judged = None if evaluation is None else judged_before(settings)
    if judged is not None:
        evaluation = None  # nobody is asked a second time, and nothing is paid for it
    nodes = wait_for_clients(grid, settings)
    metered = MeteredGrid(grid)
    with (
        open_run(
            checkpoint,
            bundle.digest,
            options,
            sorted(nodes),
            privacy,
            resume=checkpoint.exists(),
            evaluation=evaluation,
        ) as run,
        RunLog(
            log_path(settings),
            about_run(Source.FLOWER, bundle.digest, options, len(nodes), privacy),
            run.start,
        ) as log,
    ):
        result = run_rounds(
            shared_tensors(bundle, Engine(bundle).initial_state()),
            sorted(nodes),
            bundle.digest,
            options,
            lambda task: (
                collect(metered, task, nodes, settings)
                if masked is None
                else masked.collect(task, nodes, grid_link(metered))
            ),
            on_round=lambda report, _: log.round(
                report, traffic=metered.take(), epsilon=run.epsilon(report.server_round)
            ),
            privacy=run.private_rounds,
            start=run.start,
            keep=run.keep,
        )
        if evaluation is not None:
            judged = evaluate_candidate(
                result.shared,
                sorted(nodes),
                bundle.digest,
                evaluation,
                lambda task: judge_over_flower(
                    task,
                    nodes,
                    partial(push, metered),
                    partial(pull, metered),
                    server_round=options.rounds,
                    deadline_s=settings.round_deadline_s,
                    poll_s=_POLL_S,
                ),
                steps=options.steps,
                seed=options.seed,
                private=run.private_evaluation(options.rounds),
            )
        if judged is not None:
            log.evaluation(judged, traffic=metered.take())
        guarantee = run.report()
        summary = RunSummary.of(options, result.reports, num_clients=len(nodes), privacy=guarantee)
        promoted = judged is None or judged.verdict.promoted
        digest = None
        if promoted:
            quality = quality_of(judged)
            digest = write_once(settings.out, bundle, result.shared, summary, quality)
        report = {
            "bundle_digest": digest,
            "clients": sorted(nodes),
            "rounds": [asdict(entry) for entry in result.reports],
            "privacy": None if guarantee is None else guarantee.as_json(),
            "evaluation": None if judged is None else asdict(judged),
        }
        log.complete(epsilon=None if guarantee is None else guarantee.epsilon, bundle_digest=digest)
        write_report(settings.report, report)
        if promoted:
            run.remove_checkpoint()


def log_path(settings: ServerSettings) -> Path:
    """Where a run's log is."""
    return Path(settings.run_log or settings.out + SUFFIX)


def judged_before(settings: ServerSettings) -> EvaluationReport | None:
    """How the candidate was judged, where the server died after it wrote the promoted bundle."""
    if not (Path(settings.out).exists() and log_path(settings).exists()):
        return None
    return read_log(log_path(settings)).evaluation


def grid_link(grid: Grid) -> GridLink:
    """The Grid, as masked rounds use it."""
    return GridLink(
        push=partial(push, grid),
        pull=partial(pull, grid),
        poll_s=_POLL_S,
    )


def private_setup(settings: ServerSettings, options: PrivacyOptions | None) -> PrivacySetup | None:
    """What a private run needs; None for one without noise."""
    if options is None:
        return None
    # dp-accounting and scipy, which no other run needs
    from federated.privacy.private_run import PrivacySetup  # noqa: PLC0415

    return PrivacySetup(options=options, ledger=Path(settings.ledger))


def wait_for_clients(grid: Grid, settings: ServerSettings) -> dict[str, int]:
    """Ask every node that comes online who its user is, until there are enough of them.

    Returns:
        Client id to node id. An id that several nodes claim takes no part: nobody can tell which
        of them is right.

    Raises:
        NotEnoughClientsError: The deadline passed first.
    """
    deadline = time.monotonic() + settings.join_deadline_s
    ask_at: dict[int, float] = {}
    answered: set[int] = set()
    pending: dict[str, int] = {}
    claims: dict[str, set[int]] = {}
    while True:
        now = time.monotonic()
        online = sorted(set(grid.get_node_ids()) - answered)
        due = [node for node in online if ask_at.get(node, now) <= now]
        ask_at.update(dict.fromkeys(due, now + _ASK_AGAIN_S))
        pending.update(push(grid, {n: Message(RecordDict(), n, MessageType.QUERY) for n in due}))
        for node, reply in pull(grid, pending):
            try:
                client_id = messages.decode_client(content_of(reply))
            except BadUpdateError as error:
                _log.warning("node %d does not say who its user is: %s", node, error)
                continue
            answered.add(node)
            if not speaks_for(node, client_id, settings):
                _log.warning("node %d says it is a client that it was not registered for", node)
                continue
            claims.setdefault(client_id, set()).add(node)
        clients = {c: min(claimants) for c, claimants in claims.items() if len(claimants) == 1}
        if len(clients) >= settings.min_clients:
            return clients
        if time.monotonic() >= deadline:
            msg = (
                f"{len(clients)} of {settings.min_clients} clients were online after "
                f"{settings.join_deadline_s:g} s ({len(ask_at)} nodes, {len(claims)} client ids); "
                "start more SuperNodes with distinct client ids, or raise join_deadline_s"
            )
            raise NotEnoughClientsError(msg)
        time.sleep(_POLL_S)


def collect(
    grid: Grid, task: RoundTask, nodes: Mapping[str, int], settings: ServerSettings
) -> list[Reply]:
    """Send one round to its cohort and gather replies until there are enough or time is up."""
    content = messages.encode_instruction(
        messages.Instruction(
            server_round=task.server_round,
            bundle_digest=task.bundle_digest,
            clipping_norm=task.clipping_norm,
            steps=task.steps,
            shared=dict(task.shared),
            code=UpdateCode(bits=settings.update_bits, keep=settings.update_keep),
            noise=task.device_noise,
        )
    )
    shapes = {name: value.shape for name, value in task.shared.items()}
    coded = shapes if settings.update_bits else None
    clients = {nodes[client]: client for client in task.cohort}
    pending = push(
        grid,
        {
            node: Message(
                content,
                node,
                MessageType.TRAIN,
                ttl=settings.round_deadline_s + TTL_SLACK_S,
                group_id=str(task.server_round),
            )
            for node in clients
        },
    )
    deadline = time.monotonic() + settings.round_deadline_s  # sending waits for the SuperLink
    wanted = settings.min_replies or task.close_at or len(task.cohort)
    replies: list[Reply] = []
    num_usable = 0
    while pending:
        for node, msg in pull(grid, pending):
            reply = read_reply(clients[node], msg, coded)
            replies.append(reply)
            num_usable += is_usable(reply, task)
        if num_usable >= wanted or time.monotonic() >= deadline:
            break
        time.sleep(_POLL_S)
    return replies


def read_reply(client_id: str, msg: Message | None, coded: Shapes | None = None) -> Reply:
    """Turn one Flower message into a reply; a bad one is a reply too.

    `coded` are the shapes of the tensors where clients were asked to code them.
    """
    if msg is not None and msg.has_error():
        return Reply(client_id=client_id, failure=CRASHED)
    try:
        content = content_of(msg)
        answer = messages.decode_reply(content, coded)
        if isinstance(answer, str):
            return Reply(client_id=client_id, failure=answer)
        answered = messages.decode_answered_round(content)
    except BadUpdateError as error:
        _log.warning("a reply is refused: %s", error)
        return Reply(client_id=client_id, failure=Refusal.MALFORMED)
    return Reply(client_id=client_id, update=answer, server_round=answered)
