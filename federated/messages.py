"""What crosses between Flower server and clients: every record, key and setting name lives here.

The server sends the round's shared tensors and its bounds; a client sends a clipped delta, or the
code of an error, and nothing else. Both sides read strictly: only what is named here, sizes checked
before anything is allocated, no pickles.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn, TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from edge_sdk.discrete_gaussian import MAX_SIGMA
from edge_sdk.errors import BadUpdateError, InvalidOptionError
from edge_sdk.grid import MAX_STEPS_IN_NORM
from edge_sdk.update import ModelUpdate
from federated.client_id import check_client_id
from federated.compress.coded_update import UpdateCode, decode_update
from federated.privacy.mechanism import DeviceNoise

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edge_sdk.grid import Shapes

TASK = "task"  # ConfigRecord: digest, bounds and number of the round
SHARED = "shared"  # ArrayRecord: the tensors that are averaged
UPDATE = "update"  # ConfigRecord: the bundle that the delta rests on
DELTA = "delta"  # ArrayRecord: adapted minus received, clipped
CODED = "coded"  # ConfigRecord: the same as one piece of code, in fewer bytes
FAILURE = "failure"  # ConfigRecord: a code, never a text, which could hold user data
CLIENT = "client"  # ConfigRecord: the stable id of the node's user

INTERNAL_FAILURE = "internal"

_CODE = re.compile(r"[a-z_]{1,40}")
_NUMPY = "numpy.ndarray"
_MAGIC = b"\x93NUMPY\x01\x00"
_PREFIX_SIZE = len(_MAGIC) + 2
# What numpy writes for at most 8 axes of float32 in C order. Its own reader evaluates the header,
# which a hostile one turns into errors of many kinds.
_HEADER = re.compile(
    rb"\{'descr': '<f4', 'fortran_order': False, "
    rb"'shape': \((|[0-9]{1,9},|[0-9]{1,9}(?:, [0-9]{1,9}){1,7})\), \} *\n"
)
_T = TypeVar("_T")
_OWN_STEPS = 0  # on the wire: as many inner steps as the bundle says


@dataclass(frozen=True, kw_only=True, slots=True)
class Instruction:
    """What a client is asked in one round.

    Attributes:
        server_round: Number of the round, from 0.
        bundle_digest: The bundle that the client must hold.
        clipping_norm: L2 bound on the client's whole update.
        steps: Inner steps, or None for the bundle's own number.
        shared: The shared tensors as they are before the round, float32.
        code: How the reply is coded.
        noise: The noise that the device adds before its update leaves; None for none.
    """

    server_round: int
    bundle_digest: str
    clipping_norm: float
    steps: int | None
    shared: dict[str, NDArray[np.float32]]
    code: UpdateCode = field(default_factory=UpdateCode)
    noise: DeviceNoise | None = None


def encode_instruction(instruction: Instruction) -> RecordDict:
    """Write a round's instruction."""
    task = ConfigRecord(
        {
            "server-round": instruction.server_round,
            "bundle-digest": instruction.bundle_digest,
            "clipping-norm": float(instruction.clipping_norm),
            "steps": _OWN_STEPS if instruction.steps is None else instruction.steps,
            "update-bits": instruction.code.bits,
            "update-keep": float(instruction.code.keep),
            "noise-steps": 0 if instruction.noise is None else instruction.noise.steps_in_norm,
            "noise-sigma": 0 if instruction.noise is None else instruction.noise.sigma,
        }
    )
    return RecordDict({TASK: task, SHARED: _encode_tensors(instruction.shared)})


def decode_instruction(content: RecordDict) -> Instruction:
    """Read a round's instruction; raise `BadUpdateError` where it is malformed."""
    task = record_of(content, TASK, ConfigRecord)
    steps = value_of(task, "steps", int)
    clipping_norm = value_of(task, "clipping-norm", float)
    if steps < 0 or not 0 < clipping_norm < float("inf"):
        malformed("its steps or clipping norm are out of range")
    try:
        code = UpdateCode(
            bits=value_of(task, "update-bits", int), keep=value_of(task, "update-keep", float)
        )
    except InvalidOptionError as error:
        msg = "malformed record: its update cannot be coded so"
        raise BadUpdateError(msg) from error
    return Instruction(
        server_round=value_of(task, "server-round", int),
        bundle_digest=value_of(task, "bundle-digest", str),
        clipping_norm=clipping_norm,
        steps=None if steps == _OWN_STEPS else steps,
        shared=_decode_tensors(content, SHARED),
        code=code,
        noise=_decode_noise(task, code),
    )


def _decode_noise(task: ConfigRecord, code: UpdateCode) -> DeviceNoise | None:
    steps, sigma = value_of(task, "noise-steps", int), value_of(task, "noise-sigma", int)
    if steps == 0 and sigma == 0:
        return None
    if not (1 <= steps <= MAX_STEPS_IN_NORM and 1 <= sigma <= MAX_SIGMA) or code.bits:
        malformed("its noise cannot be had")
    return DeviceNoise(steps_in_norm=steps, sigma=sigma)


def encode_update(update: ModelUpdate, server_round: int) -> RecordDict:
    """Write a client's update: its delta, the digest of its bundle and the round it answers."""
    about = ConfigRecord({"bundle-digest": update.bundle_digest, "server-round": server_round})
    return RecordDict({UPDATE: about, DELTA: _encode_tensors(update.delta)})


def encode_coded(bundle_digest: str, server_round: int, coded: bytes) -> RecordDict:
    """Write a client's update in fewer bytes (`federated.compress.coded_update`)."""
    about = ConfigRecord({"bundle-digest": bundle_digest, "server-round": server_round})
    return RecordDict({UPDATE: about, CODED: ConfigRecord({"data": coded})})


def encode_failure(code: str) -> RecordDict:
    """Write that a client could not take part: the code of an error, no text."""
    return RecordDict({FAILURE: ConfigRecord({"code": code})})


def decode_failure(content: RecordDict) -> str | None:
    """The code of the error that a client reports; None where it reports none.

    Raises:
        BadUpdateError: It is not a code.
    """
    if FAILURE not in content:
        return None
    code = value_of(record_of(content, FAILURE, ConfigRecord), "code", str)
    if not _CODE.fullmatch(code):
        malformed("its failure is not an error code")
    return code


def decode_reply(content: RecordDict, coded: Shapes | None = None) -> ModelUpdate | str:
    """Read a client's reply: its update, or the code of its error.

    Args:
        content: The reply.
        coded: The shapes of the tensors where clients were asked to code them.

    Raises:
        BadUpdateError: The reply is malformed. Names and shapes are `round_core`'s to check.
    """
    failure = decode_failure(content)
    if failure is not None:
        return failure
    about = record_of(content, UPDATE, ConfigRecord)
    digest = value_of(about, "bundle-digest", str)
    if coded is None:
        return ModelUpdate(bundle_digest=digest, delta=_decode_tensors(content, DELTA))
    data = value_of(record_of(content, CODED, ConfigRecord), "data", bytes)
    return ModelUpdate(bundle_digest=digest, delta=decode_update(data, coded))


def decode_answered_round(content: RecordDict) -> int:
    """Read which round an update says it answers; raise `BadUpdateError` where it is malformed."""
    return value_of(record_of(content, UPDATE, ConfigRecord), "server-round", int)


def encode_client(client_id: str) -> RecordDict:
    """Write who a node's user is."""
    return RecordDict({CLIENT: ConfigRecord({"client-id": client_id})})


def decode_client(content: RecordDict) -> str:
    """Read who a node's user is; raise `BadUpdateError` where it is malformed."""
    client_id = value_of(record_of(content, CLIENT, ConfigRecord), "client-id", str)
    try:
        return check_client_id(client_id)
    except InvalidOptionError as error:
        msg = "malformed record: its client id is not valid"
        raise BadUpdateError(msg) from error


def _encode_tensors(tensors: Mapping[str, NDArray[np.float32]]) -> ArrayRecord:
    arrays = {name: Array(np.asarray(tensors[name], order="C")) for name in sorted(tensors)}
    return ArrayRecord(arrays)


def _decode_tensors(content: RecordDict, key: str) -> dict[str, NDArray[np.float32]]:
    record = record_of(content, key, ArrayRecord)
    return {name: _decode_array(record[name]) for name in sorted(record)}


def _decode_array(array: Array) -> NDArray[np.float32]:
    """Read one `.npy` version 1 in memory; the header must account for every byte of it."""
    data = array.data
    if array.stype != _NUMPY:
        malformed("a tensor is not stored as numpy.ndarray")
    if len(data) < _PREFIX_SIZE or not data.startswith(_MAGIC):
        malformed("a tensor is not in version 1.0 of the npy format")
    end = _PREFIX_SIZE + int.from_bytes(data[len(_MAGIC) : _PREFIX_SIZE], "little")
    header = _HEADER.fullmatch(data[_PREFIX_SIZE:end])
    if header is None:
        malformed("a tensor's npy header is not that of little-endian float32 in C order")
    shape = tuple(int(side) for side in re.findall(rb"[0-9]+", header[1]))
    raw = data[end:]
    if len(raw) != 4 * math.prod(shape):
        malformed("a tensor's size does not match its shape")
    try:
        return np.frombuffer(raw, np.dtype("<f4")).reshape(shape).astype(np.float32)
    except ValueError as error:  # without elements, but with sides that no array can have
        msg = "malformed record: a tensor's shape is too large"
        raise BadUpdateError(msg) from error


def record_of(content: RecordDict, key: str, kind: type[_T]) -> _T:
    """The record under a key; raise `BadUpdateError` where there is none of that kind."""
    value = content.get(key)
    if not isinstance(value, kind):
        malformed(f"it has no {kind.__name__} {key!r}")
    return value


def value_of(record: ConfigRecord, key: str, kind: type[_T]) -> _T:
    """The value under a key; raise `BadUpdateError` where it is not of that very type."""
    value = record.get(key)
    if type(value) is not kind:  # bool is an int, and not one here
        malformed(f"{key!r} is not of type {kind.__name__}")
    return value


def malformed(what: str) -> NoReturn:
    """Raise `BadUpdateError`."""
    msg = f"malformed record: {what}"
    raise BadUpdateError(msg)
