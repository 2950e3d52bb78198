"""Reads a TOML file into dataclasses, strictly: known keys only, values of the fields' types."""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

from edge_sdk.errors import InvalidOptionError

if TYPE_CHECKING:
    from pathlib import Path

_T = TypeVar("_T")


def read_table(path: Path) -> dict[str, Any]:
    """The content of a file.

    Raises:
        InvalidOptionError: It is not TOML.
        FileNotFoundError: There is no such file.
    """
    with path.open("rb") as file:
        try:
            return tomllib.load(file)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            msg = f"{path.name} is not TOML: {error}"
            raise InvalidOptionError(msg) from error


def build(kind: type[_T], values: Any, where: str) -> _T:
    """Make a dataclass of a table; a field that is a dataclass, or a tuple of them, is built too.

    Raises:
        InvalidOptionError: A key is unknown or missing, or a value has the wrong type or is out of
            range; the message begins with `where` and names the key.
    """
    if not isinstance(values, dict):
        msg = f"{where} must be a table"
        raise InvalidOptionError(msg)
    hints = get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        msg = f"{where}: no such key: {', '.join(unknown)}; there are {', '.join(sorted(hints))}"
        raise InvalidOptionError(msg)
    missing = sorted(
        f.name
        for f in fields(kind)  # type: ignore[arg-type]
        if f.default is MISSING and f.default_factory is MISSING and f.name not in values
    )
    if missing:
        msg = f"{where} lacks {', '.join(missing)}"
        raise InvalidOptionError(msg)
    read = {key: _value(value, hints[key], f"{where}: {key}") for key, value in values.items()}
    try:
        return kind(**read)
    except InvalidOptionError as error:
        msg = f"{where}: {error}"
        raise InvalidOptionError(msg) from error


def _value(value: Any, hint: Any, where: str) -> Any:
    if get_origin(hint) is UnionType:  # a table that may be left out
        hint = get_args(hint)[0]
    if isinstance(hint, type) and is_dataclass(hint):
        return build(hint, value, where)
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            msg = f"{where} must be an array"
            raise InvalidOptionError(msg)
        return tuple(
            _value(entry, get_args(hint)[0], f"{where} {i + 1}") for i, entry in enumerate(value)
        )
    wanted = hint if isinstance(hint, type) else str  # a Literal holds strings
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is not wanted:
        msg = f"{where} must be of type {wanted.__name__}, got {type(value).__name__}"
        raise InvalidOptionError(msg)
    return value
