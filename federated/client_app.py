"""The Flower ClientApp: one user's device. No torch here, and no export: only what a device has.

The node config names the bundle, the user's `Personalizer` home and the user's stable id. Examples,
labels and features stay in the home; the reply is a clipped update, or the code of an error.
"""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING

from flwr.app import Message
from flwr.clientapp import ClientApp

from edge_sdk import Personalizer
from edge_sdk.errors import EdgeError
from edge_sdk.random_words import SystemWords
from edge_sdk.shared_update import ShareTerms
from edge_sdk.update import ModelUpdate
from federated import messages
from federated.device_home import held_bundle, home_key
from federated.errors import UnprotectedRoundError, WeakNoiseError
from federated.evaluation.device import judge_candidate
from federated.local_round import round_start
from federated.privacy.local_budget import LocalBudget
from federated.privacy.mechanism import local_rho, noised_update
from federated.secure.grid_client import answer_stage
from federated.secure.stage_records import ACTION
from federated.settings import ClientSettings, decode_client_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from flwr.app import Context, RecordDict

    from edge_sdk import KeyStore
    from edge_sdk.arrays import Float32Array
    from edge_sdk.audit_entries import EpsilonSpent

_log = logging.getLogger(__name__)

app = ClientApp()


@app.query()
def who(msg: Message, context: Context) -> Message:
    """Reply with the stable id of this node's user."""
    settings = decode_client_settings(context.node_config)
    return Message(messages.encode_client(settings.client_id), reply_to=msg)


@app.train()
def train(msg: Message, context: Context) -> Message:
    """Adapt on this user's examples and reply with a clipped update, or with an error's code.

    Nothing is raised: Flower would send the exception's text, which may quote user data.
    """
    return _answered(
        msg, lambda: take_part(msg.content, decode_client_settings(context.node_config))
    )


@app.train(ACTION)
def masked(msg: Message, context: Context) -> Message:
    """Answer one stage of a masked round, or reply with an error's code; nothing is raised."""
    return _answered(
        msg,
        lambda: answer_stage(
            msg.content, decode_client_settings(context.node_config), context.state
        ),
    )


@app.evaluate()
def evaluate(msg: Message, context: Context) -> Message:
    """Judge a candidate bundle, or reply with an error's code; nothing is raised."""
    return _answered(msg, lambda: judge(msg.content, decode_client_settings(context.node_config)))


def _answered(msg: Message, answer: Callable[[], RecordDict]) -> Message:
    try:
        content = answer()
    except EdgeError as error:
        _log.warning("this device takes no part in the round: %s", error)
        content = messages.encode_failure(error.code)
    except Exception as error:  # noqa: BLE001 - Flower would send the text; it is not logged either
        frames = "".join(traceback.format_tb(error.__traceback__))
        _log.error("the round failed on this device: %s\n%s", type(error).__name__, frames)
        content = messages.encode_failure(messages.INTERNAL_FAILURE)
    return Message(content, reply_to=msg)


def refuse_unmasked(settings: ClientSettings) -> None:
    """Refuse what the server would see by itself, where this device wants masks.

    Raises:
        UnprotectedRoundError: Its node config names a roster.
    """
    if settings.roster:  # or a server that wants to see updates would ask for them unmasked
        msg = "this device takes part in masked rounds only, as its roster says"
        raise UnprotectedRoundError(msg)


def judge(content: RecordDict, settings: ClientSettings) -> RecordDict:
    """Judge a candidate, unless this device's answers may not be seen by themselves."""
    refuse_unmasked(settings)
    if settings.local_epsilon:
        msg = "this device answers with local noise only, which a judgement has not"
        raise WeakNoiseError(msg)
    return judge_candidate(content, settings)


def take_part(
    content: RecordDict, settings: ClientSettings, *, key: KeyStore | None = None
) -> RecordDict:
    """Run one round on the user's kept examples, which are only read; the audit log says so.

    `key` is where the home's key is, in place of `settings.key_file`.
    """
    refuse_unmasked(settings)
    instruction = messages.decode_instruction(content)
    bundle = held_bundle(settings, instruction.bundle_digest)
    with Personalizer(bundle, home=settings.home, key=home_key(settings, key)) as personalizer:
        start = round_start(bundle, personalizer.initial_state, instruction.shared)
        terms = ShareTerms(
            clipping_norm=instruction.clipping_norm,
            steps=instruction.steps,
            consent_id=settings.consent_id or None,
            spent=spend(settings, instruction),
        )
        return personalizer.share(lambda made: encode_reply(made, instruction), terms, start=start)


def spend(settings: ClientSettings, asked: messages.Instruction) -> EpsilonSpent | None:
    """What a round costs of this device's own budget, recorded before anything leaves.

    Raises:
        WeakNoiseError: The device has a budget, and the round no local noise.
        BudgetExhaustedError: The round would cost more than is left.
    """
    if not settings.local_epsilon:
        return None
    if asked.noise is None:
        msg = "this device takes part in rounds with local noise only"
        raise WeakNoiseError(msg)
    size = sum(value.size for value in asked.shared.values())
    rho = local_rho(asked.noise, asked.clipping_norm, size)
    budget = LocalBudget(settings.home, settings.local_epsilon, settings.local_delta)
    return budget.spend(rho)


def encode_reply(
    made: ModelUpdate, asked: messages.Instruction
) -> tuple[RecordDict, dict[str, Float32Array] | None]:
    """The reply, and what coding it took from the update; None where it is sent as it is."""
    if asked.noise is not None:
        noised = noised_update(made.delta, asked.clipping_norm, asked.noise, SystemWords())
        made = ModelUpdate(made.bundle_digest, noised)
    if not asked.code.bits:
        return messages.encode_update(made, asked.server_round), None
    coded, residual = asked.code.encode(made.delta, SystemWords())
    return messages.encode_coded(made.bundle_digest, asked.server_round, coded), residual
