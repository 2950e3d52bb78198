"""Masked stages as Flower records: what the server asks of a member, and the member's answer.

The bytes of the protocol (`federated.secure.messages`) travel in one field. The stage in which a
member adapts also carries the round's instruction and how its update becomes integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flwr.app import ConfigRecord, RecordDict

from edge_sdk.errors import BadUpdateError, InvalidOptionError
from federated import messages
from federated.compress.grid import SEED_BYTES
from federated.secure.coding import Coding
from federated.secure.messages import Kind

if TYPE_CHECKING:
    from federated.messages import Instruction

ACTION = "masked"  # of the message type: train.masked

_STAGE = "stage"  # ConfigRecord: kind and bytes
_INVITATION = 0
_ANSWERS = (Kind.KEYS, Kind.SHARES, Kind.VECTOR, Kind.TAGS, Kind.REVEALED)
_CODING = "coding"  # ConfigRecord, of the stage VECTOR


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What a member is asked to adapt, and to send.

    Attributes:
        instruction: The round.
        coding: How its update becomes integers.
    """

    instruction: Instruction
    coding: Coding


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One question of the server.

    Attributes:
        kind: The answer that is awaited; None asks whether the device can take part.
        payload: For `KEYS` the session, else the protocol's message; empty for an invitation.
        bundle_digest: The bundle that the round is on.
        work: For `VECTOR` only.
    """

    kind: Kind | None
    payload: bytes
    bundle_digest: str
    work: Work | None = None


def encode_stage(stage: Stage, instruction: RecordDict | None = None) -> RecordDict:
    """Write a question.

    Args:
        stage: What is asked.
        instruction: That of `stage.work` as it was encoded before, for all members of a round.
    """
    record = ConfigRecord(
        {
            "kind": _number(stage.kind),
            "payload": stage.payload,
            "bundle-digest": stage.bundle_digest,
        }
    )
    content = RecordDict({_STAGE: record})
    if stage.work is not None:
        for name, value in (
            instruction or messages.encode_instruction(stage.work.instruction)
        ).items():
            content[name] = value
        content[_CODING] = _encode_coding(stage.work.coding)
    return content


def decode_stage(content: RecordDict) -> Stage:
    """Read a question.

    Raises:
        BadUpdateError: It is malformed.
    """
    record = messages.record_of(content, _STAGE, ConfigRecord)
    number = messages.value_of(record, "kind", int)
    if number not in (_INVITATION, *_ANSWERS):
        messages.malformed("it asks for no answer of the protocol")
    kind = None if number == _INVITATION else Kind(number)
    work = None
    if kind is Kind.VECTOR:
        instruction = messages.decode_instruction(content)
        work = Work(instruction=instruction, coding=_decode_coding(content, instruction))
    return Stage(
        kind=kind,
        payload=messages.value_of(record, "payload", bytes),
        bundle_digest=messages.value_of(record, "bundle-digest", str),
        work=work,
    )


def encode_answer(kind: Kind | None, payload: bytes) -> RecordDict:
    """Write a member's answer to a stage."""
    return RecordDict({_STAGE: ConfigRecord({"kind": _number(kind), "payload": payload})})


def decode_answer(content: RecordDict) -> bytes | str:
    """Read a member's answer: the protocol's bytes, or the code of an error.

    Raises:
        BadUpdateError: It is malformed. What the bytes say is the protocol's to check.
    """
    failure = messages.decode_failure(content)
    if failure is not None:
        return failure
    record = messages.record_of(content, _STAGE, ConfigRecord)
    return messages.value_of(record, "payload", bytes)


def _number(kind: Kind | None) -> int:
    return _INVITATION if kind is None else int(kind)


def _encode_coding(coding: Coding) -> ConfigRecord:
    return ConfigRecord(
        {
            "steps-in-norm": coding.steps_in_norm,
            "sigma": coding.sigma,
            "bits": coding.bits,
            "rotation-seed": coding.rotation_seed,
        }
    )


def _decode_coding(content: RecordDict, instruction: Instruction) -> Coding:
    record = messages.record_of(content, _CODING, ConfigRecord)
    seed = messages.value_of(record, "rotation-seed", bytes)
    if len(seed) not in (0, SEED_BYTES):
        messages.malformed("its rotation seed has the wrong size")
    try:
        return Coding(
            size=sum(value.size for value in instruction.shared.values()),
            clipping_norm=instruction.clipping_norm,
            steps_in_norm=messages.value_of(record, "steps-in-norm", int),
            sigma=messages.value_of(record, "sigma", int),
            bits=messages.value_of(record, "bits", int),
            rotation_seed=seed,
        )
    except InvalidOptionError as error:
        msg = "malformed record: its coding cannot be had"
        raise BadUpdateError(msg) from error
