"""Between signed values and the words of a modulus, and masks on them in the C++ core."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_sdk import _core
from edge_sdk.errors import DtypeMismatchError, InvalidOptionError, ShapeMismatchError
from federated.secure.errors import ImplausibleSumError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TypeAlias

    from numpy.typing import NDArray

    from federated.secure.session import Session

    Words: TypeAlias = NDArray[np.unsignedinteger[Any]]


def as_words(values: object, session: Session) -> Words:
    """Signed values as words of the session's modulus.

    Args:
        values: int32 or int64, `[length]`, each in `-limit..limit`.
        session: The session.

    Raises:
        DtypeMismatchError: Another dtype.
        ShapeMismatchError: Another shape.
        InvalidOptionError: A value is out of range; the message gives its place.
    """
    if not isinstance(values, np.ndarray) or values.dtype not in (np.int32, np.int64):
        found = getattr(values, "dtype", type(values).__name__)
        msg = f"values must be an int32 or int64 NumPy array, got {found}"
        raise DtypeMismatchError(msg)
    if values.shape != (session.length,):
        msg = f"values must have shape [{session.length}], got {list(values.shape)}"
        raise ShapeMismatchError(msg)
    outside = (values > session.limit) | (values < -session.limit)
    if outside.any():
        msg = f"values[{int(np.argmax(outside))}] is outside -{session.limit}..{session.limit}"
        raise InvalidOptionError(msg)
    return values.astype(session.word)


def masked(words: Words, add: Iterable[bytes], subtract: Iterable[bytes]) -> Words:
    """Words with the masks of seeds of 32 bytes added and subtracted, modulo 2^bits."""
    result: Words = _core.apply_masks(words, add=b"".join(add), subtract=b"".join(subtract))
    return result


def total_of(words: Words, session: Session, num_members: int) -> NDArray[np.int64]:
    """The sum as signed values.

    Raises:
        ImplausibleSumError: It is larger than so many members can make it.
    """
    total = words.view(f"<i{words.dtype.itemsize}").astype(np.int64)
    bound = num_members * session.limit
    if ((total > bound) | (total < -bound)).any():
        msg = "the sum is larger than its members could make it: masks did not cancel"
        raise ImplausibleSumError(msg)
    return total
