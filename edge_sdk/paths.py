"""The only check of paths that an app gives."""

from __future__ import annotations

import os
from pathlib import Path

from edge_sdk.errors import InvalidOptionError


def as_path(path: object, *, name: str) -> Path:
    """Return `path` as a `Path` that the system can be asked for.

    Raises:
        InvalidOptionError: It is no path, or holds a zero byte or a lone surrogate.
    """
    try:
        text = os.fspath(path)  # type: ignore[call-overload]  # what is no path is caught
        is_path = isinstance(text, str) and b"\0" not in os.fsencode(text)
    except (TypeError, UnicodeEncodeError):
        text, is_path = "", False
    if not is_path:
        msg = f"{name} must be a path: a str or os.PathLike without zero bytes and lone surrogates"
        raise InvalidOptionError(msg)
    return Path(text)
