"""A compressed update by itself, for rounds without masks: largest entries, rotation, 8 or 16 bits.

What the code takes from an update is the device's residual: added to the next update, it is sent
later and not lost (error feedback: Karimireddy et al., Error Feedback Fixes SignSGD, ICML 2019).
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from edge_sdk import _core
from edge_sdk.errors import BadUpdateError, InvalidOptionError
from federated.compress.grid import BITS, SEED_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_sdk.arrays import Float32Array, Int64Array

_MAGIC = b"ESCU"
_VERSION = 1
_HEAD = struct.Struct("<4sBBBxQQd")  # magic, version, bits, flags, length, entries, step
_ROTATED, _PLACES, _BITMAP = 1, 2, 4
_PLACE = np.dtype("<u4")


@dataclass(frozen=True, kw_only=True, slots=True)
class CodeOptions:
    """How an update is compressed.

    Attributes:
        bits: 8 or 16 for each entry that is sent.
        keep: Share of the entries that are sent, the largest, in (0, 1]; 1 sends all.
        rotation_seed: 32 bytes; rotate before rounding. Only where all entries are sent: it makes
            them equally large. None does not rotate.
    """

    bits: int = 8
    keep: float = 1.0
    rotation_seed: bytes | None = None

    def __post_init__(self) -> None:
        if self.bits not in BITS:
            msg = f"bits must be one of {list(BITS)}, got {self.bits!r}"
            raise InvalidOptionError(msg)
        if not 0 < self.keep <= 1:
            msg = f"keep must be in (0, 1], got {self.keep!r}"
            raise InvalidOptionError(msg)
        if self.rotation_seed is not None and (
            len(self.rotation_seed) != SEED_BYTES or self.keep < 1
        ):
            msg = f"rotation_seed must be {SEED_BYTES} bytes, and keep 1 with it"
            raise InvalidOptionError(msg)


def compress(
    values: Float32Array, options: CodeOptions, *, seed: bytes
) -> tuple[bytes, Float32Array]:
    """Code an update; returns the bytes, and what the code took from it, float32 `[n]`.

    Args:
        values: float32 `[n]`, finite, n >= 1; the residual of the time before is in it already.
        options: How.
        seed: 32 random bytes, used once: rounding is at random and without bias.

    Raises:
        DtypeMismatchError, ShapeMismatchError, NonFiniteError: `values` is not as above.
    """
    num = max(1, math.ceil(options.keep * len(values)))
    places = _core.largest_entries(values, num) if num < len(values) else None
    sent = values if places is None else values[places]
    flags, extra = _encode_places(places, len(values))
    if options.rotation_seed is not None:
        sent = _core.rotate(sent, seed=options.rotation_seed)
        flags, extra = flags | _ROTATED, options.rotation_seed
    limit = (1 << (options.bits - 1)) - 1
    largest = float(np.max(np.abs(sent), initial=0))
    step = largest / limit if largest > 0 else 1.0
    rounded, rest = _core.round_to_grid(sent, step=step, limit=limit, seed=seed)
    if options.rotation_seed is not None:
        rest = _core.rotate(rest, seed=options.rotation_seed, back=True)
    residual = rest
    if places is not None:
        residual = values.copy()
        residual[places] = rest
    head = _HEAD.pack(_MAGIC, _VERSION, options.bits, flags, len(values), num, step)
    return head + extra + rounded.astype(f"<i{options.bits // 8}").tobytes(), residual


def decompress(raw: bytes, *, length: int) -> Float32Array:
    """Read what `compress` wrote, float32 `[length]`.

    Args:
        raw: Bytes from a stranger.
        length: Entries that the update must have.

    Raises:
        BadUpdateError: They are not the code of an update of that length.
    """
    if len(raw) < _HEAD.size:
        _malformed("it is too short")
    magic, version, bits, flags, coded, num, step = _HEAD.unpack_from(raw)
    if magic != _MAGIC or version != _VERSION or bits not in BITS:
        _malformed("it does not start as version 1 does")
    if coded != length or not 1 <= num <= length or not (math.isfinite(step) and step > 0):
        _malformed(f"it is not of {length} entries with a finite step")
    size = num * bits // 8
    extra = raw[_HEAD.size : len(raw) - size]
    data = raw[len(raw) - size :]
    sparse = num < length
    if len(raw) < _HEAD.size + size or len(extra) != _extra_size(flags, length, num, sparse=sparse):
        _malformed("its size does not match its header")
    with np.errstate(over="ignore"):
        values = (np.frombuffer(data, f"<i{bits // 8}") * step).astype(np.float32)
    if not np.isfinite(values).all():
        _malformed("its values are not finite")
    if not sparse:
        return _core.rotate(values, seed=extra, back=True) if flags & _ROTATED else values
    restored = np.zeros(length, np.float32)
    restored[_decode_places(flags, extra, length, num)] = values
    return restored


def _encode_places(places: Int64Array | None, length: int) -> tuple[int, bytes]:
    if places is None:
        return 0, b""
    if len(places) * _PLACE.itemsize <= -(-length // 8):
        return _PLACES, places.astype(_PLACE).tobytes()
    chosen = np.zeros(length, np.bool_)
    chosen[places] = True
    return _BITMAP, np.packbits(chosen, bitorder="little").tobytes()


def _extra_size(flags: int, length: int, num: int, *, sparse: bool) -> int:
    sizes = {
        (0, False): 0,
        (_ROTATED, False): SEED_BYTES,
        (_PLACES, True): num * _PLACE.itemsize,
        (_BITMAP, True): -(-length // 8),
    }
    return sizes.get((flags, sparse), -1)


def _decode_places(flags: int, extra: bytes, length: int, num: int) -> NDArray[np.int64]:
    if flags == _PLACES:
        places = np.frombuffer(extra, _PLACE).astype(np.int64)
        if (np.diff(places) <= 0).any() or places[-1] >= length:
            _malformed("its places are not ascending, or beyond its length")
        return places
    bits = np.unpackbits(np.frombuffer(extra, np.uint8), bitorder="little")
    if bits[length:].any() or bits.sum() != num:
        _malformed("its bitmap does not have as many places as it says")
    return np.flatnonzero(bits)


def _malformed(what: str) -> NoReturn:
    msg = f"malformed compressed update: {what}"
    raise BadUpdateError(msg)
