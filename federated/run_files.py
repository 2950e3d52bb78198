"""The files of one run: its checkpoint, and the ledger where it is private."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from federated.checkpoint import Checkpoint, read_checkpoint, run_fingerprint, write_checkpoint
from federated.errors import CheckpointError
from federated.run_log.records import RunAbout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from federated.evaluation.options import EvaluationOptions
    from federated.evaluation.run import PrivateEvaluation
    from federated.privacy.private_run import PrivacySetup, PrivateRun
    from federated.privacy.report import PrivacyReport
    from federated.round_core import PrivateRounds, RoundOptions, RunState
    from federated.run_log.records import Source


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """An open run.

    Attributes:
        start: Where it goes on; None at the start.
        private_rounds: For the round core; None without noise.
    """

    start: RunState | None
    private_rounds: PrivateRounds | None
    _run_id: str
    _fingerprint: str
    _path: Path
    _private: PrivateRun | None

    def keep(self, state: RunState) -> None:
        """Write the checkpoint of a round."""
        write_checkpoint(
            self._path,
            Checkpoint(run_id=self._run_id, fingerprint=self._fingerprint, state=state),
        )

    def report(self) -> PrivacyReport | None:
        """What has been spent; None without noise."""
        return None if self._private is None else self._private.report()

    def private_evaluation(self, server_round: int) -> PrivateEvaluation | None:
        """What the judging of a candidate is given; None without noise."""
        return None if self._private is None else self._private.evaluation(server_round)

    def epsilon(self, server_round: int) -> float | None:
        """What has been spent after a round, for the log; None without noise, and now and then."""
        return None if self._private is None else self._private.epsilon(server_round)

    def remove_checkpoint(self) -> None:
        """Remove the checkpoint, once what came of the run is written."""
        self._path.unlink(missing_ok=True)


def about_run(
    source: Source,
    bundle_digest: str,
    options: RoundOptions,
    num_clients: int,
    privacy: PrivacySetup | None,
    settings: Mapping[str, Any] | None = None,
) -> RunAbout:
    """What the log of a run says before its first round."""
    return RunAbout(
        source=source,
        bundle_digest=bundle_digest,
        rounds=options.rounds,
        cohort_size=options.cohort_size,
        num_clients=num_clients,
        budget_epsilon=None if privacy is None else privacy.options.epsilon,
        budget_delta=None if privacy is None else privacy.options.delta,
        settings=settings or asdict(options),
    )


@contextmanager
def open_run(
    checkpoint: Path,
    bundle_digest: str,
    options: RoundOptions,
    client_ids: Sequence[str],
    privacy: PrivacySetup | None,
    *,
    resume: bool,
    evaluation: EvaluationOptions | None = None,
) -> Iterator[Run]:
    """Begin a run, or go on with an interrupted one.

    Args:
        checkpoint: The run's checkpoint; written after each round.
        bundle_digest: The bundle that all clients hold.
        options: The rounds.
        client_ids: Who may be asked.
        privacy: Makes the run private.
        resume: Go on from the checkpoint.
        evaluation: How the candidate is judged after the last round; None: it is not.

    Raises:
        CheckpointError: There is nothing to resume, it is of another run, or there is a checkpoint
            of an interrupted run and `resume` is not set.
        BudgetExhaustedError: The privacy budget does not allow the rounds that are left.
        InvalidOptionError: The ledger was begun with another budget.
        LedgerError: The ledger cannot be read or written.
    """
    fingerprint = run_fingerprint(
        bundle_digest, options, None if privacy is None else privacy.options
    )
    kept = None
    if resume:
        kept = read_checkpoint(checkpoint, fingerprint)
    elif checkpoint.exists():
        msg = f"{checkpoint.name} is of an interrupted run: resume it, or remove it to start anew"
        raise CheckpointError(msg)
    start = None if kept is None else kept.state
    if privacy is None:
        run_id = "" if kept is None else kept.run_id
        yield Run(
            start=start,
            private_rounds=None,
            _run_id=run_id,
            _fingerprint=fingerprint,
            _path=checkpoint,
            _private=None,
        )
        return
    # dp-accounting and scipy, which no other run needs
    from federated.privacy.private_run import PrivateRun, new_run_id  # noqa: PLC0415

    run_id = new_run_id() if kept is None else kept.run_id
    done = 0 if start is None else start.next_round
    with PrivateRun(
        privacy, options, client_ids, run_id=run_id, rounds_done=done, evaluation=evaluation
    ) as private:
        yield Run(
            start=start,
            private_rounds=private.rounds(),
            _run_id=run_id,
            _fingerprint=fingerprint,
            _path=checkpoint,
            _private=private,
        )
