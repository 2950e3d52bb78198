"""Dtype, shape and finiteness checks of arrays that the package itself works on."""

from __future__ import annotations

from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from edge_sdk.errors import (
    DtypeMismatchError,
    LabelRangeError,
    NonFiniteError,
    ShapeMismatchError,
)

Float32Array: TypeAlias = npt.NDArray[np.float32]
Int64Array: TypeAlias = npt.NDArray[np.int64]

_Scalar = TypeVar("_Scalar", bound=np.generic)


def as_rows(x: object, *, shape: tuple[int, ...], name: str) -> Float32Array:
    """Check a finite float32 `[n, *shape]` array. Strided views are copied, nothing is cast.

    Raises:
        DtypeMismatchError: Not a float32 NumPy array.
        ShapeMismatchError: Another shape.
        NonFiniteError: It holds NaN or infinity.
    """
    array = _as_array(x, np.float32, name)
    if array.ndim != 1 + len(shape) or array.shape[1:] != shape:
        msg = f"{name} must have shape {_rows_text(shape)}, got {list(array.shape)}"
        raise ShapeMismatchError(msg)
    finite = np.isfinite(array)
    if not finite.all():
        row = int(np.argwhere(~finite)[0][0])
        msg = f"{name} holds NaN or infinity in row {row}"
        raise NonFiniteError(msg)
    return np.ascontiguousarray(array)


def as_batch(x: object, *, shape: tuple[int, ...]) -> object:
    """One example `[*shape]` as a batch of one; anything else as it is, not yet checked."""
    return x[np.newaxis] if isinstance(x, np.ndarray) and x.shape == shape else x


def as_examples(x: object, *, shape: tuple[int, ...], name: str) -> Float32Array:
    """Check as `as_rows`, but take one example `[*shape]` as a batch of one, and refuse n = 0."""
    rows = as_rows(as_batch(x, shape=shape), shape=shape, name=name)
    if len(rows) == 0:
        msg = f"{name} must hold at least one example, got shape {list(rows.shape)}"
        raise ShapeMismatchError(msg)
    return rows


def as_slots(labels: object, *, num_rows: int, ways: int, name: str) -> Int64Array:
    """Check int64 `[num_rows]` label slots, each in `0..ways-1`.

    Raises:
        DtypeMismatchError: Not an int64 NumPy array.
        ShapeMismatchError: Another shape.
        LabelRangeError: A slot is out of range; the message gives its place, not its value.
    """
    array = _as_vector(labels, np.int64, num_rows, name)
    outside = (array < 0) | (array >= ways)
    if outside.any():
        msg = f"{name}[{int(np.argmax(outside))}] is outside 0..{ways - 1}"
        raise LabelRangeError(msg)
    return np.ascontiguousarray(array)


def as_finite(x: object, *, name: str) -> Float32Array:
    """Check a finite float32 array of any shape; a NumPy float32 scalar is one of shape `[]`.

    Raises:
        DtypeMismatchError: Not a float32 NumPy array.
        NonFiniteError: It holds NaN or infinity.
    """
    array = as_float32(x, name=name)
    if not np.isfinite(array).all():
        msg = f"{name} holds NaN or infinity"
        raise NonFiniteError(msg)
    return array


def as_float32(x: object, *, name: str) -> Float32Array:
    """Check a float32 array of any shape; a NumPy float32 scalar is one of shape `[]`.

    Raises:
        DtypeMismatchError: Not a float32 NumPy array.
    """
    return _as_array(np.asarray(x) if isinstance(x, np.generic) else x, np.float32, name)


def _as_vector(x: object, dtype: type[_Scalar], num_rows: int, name: str) -> npt.NDArray[_Scalar]:
    array = _as_array(x, dtype, name)
    if array.shape != (num_rows,):
        msg = f"{name} must have shape [{num_rows}], got {list(array.shape)}"
        raise ShapeMismatchError(msg)
    return array


def _as_array(x: object, dtype: type[_Scalar], name: str) -> npt.NDArray[_Scalar]:
    if not isinstance(x, np.ndarray):
        msg = f"{name} must be a {dtype.__name__} NumPy array, got {type(x).__name__}"
        raise DtypeMismatchError(msg)
    if isinstance(x, np.ma.MaskedArray):  # what it hides would be used
        msg = f"{name} must not be a masked array; fill it or leave masked rows out"
        raise DtypeMismatchError(msg)
    if x.dtype != dtype:
        msg = f"{name} must be {dtype.__name__}, got {x.dtype}; convert it first, nothing is cast"
        raise DtypeMismatchError(msg)
    return x


def _rows_text(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join(["n", *map(str, shape)]) + "]"
