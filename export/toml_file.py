"""Reads what a TOML file asks for into dataclasses, strictly: no unknown key, no wrong type."""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, TypeVar

from edge_sdk.errors import InvalidOptionError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

_TYPES: dict[str, type | tuple[type, ...]] = {
    "int": int,
    "int | None": int,
    "float": (int, float),
    "float | None": (int, float),
    "str": str,
    "str | None": str,
    "bool": bool,
}
"""What TOML has for a field of a type; fields of other types are built before."""

_T = TypeVar("_T")


def read_toml(path: Path, known: Collection[str]) -> dict[str, Any]:
    """The content of a file whose top-level keys are among `known`.

    Raises:
        InvalidOptionError: It is not TOML, or has another key.
        FileNotFoundError: There is no such file.
    """
    with path.open("rb") as file:
        try:
            content = tomllib.load(file)
        except tomllib.TOMLDecodeError as error:
            msg = f"{path.name} is not TOML: {error}"
            raise InvalidOptionError(msg) from error
    check_keys(content, known, path.name)
    return content


def tables(values: dict[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    """The tables `[[key]]`, at least one.

    Raises:
        InvalidOptionError: There is none, or something else.
    """
    found = values.get(key)
    if not isinstance(found, list) or not found or not all(isinstance(t, dict) for t in found):
        msg = f"{where} needs at least one [[{key}]]"
        raise InvalidOptionError(msg)
    return found


def build(kind: type[_T], values: dict[str, Any], where: str) -> _T:
    """A dataclass from a table; fields of simple types are checked.

    Raises:
        InvalidOptionError: A key is unknown or missing, or a value has the wrong type.
    """
    allowed = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]  # a dataclass
    check_keys(values, allowed, where)
    for name, value in values.items():
        types = _TYPES.get(str(allowed[name].type))
        if types is not None:
            of_type(value, types, f"{where}: {name}")
    missing = sorted(
        name
        for name, f in allowed.items()
        if name not in values and f.default is MISSING and f.default_factory is MISSING
    )
    if missing:
        msg = f"{where} lacks {', '.join(missing)}"
        raise InvalidOptionError(msg)
    return kind(**values)


def check_keys(values: dict[str, Any], known: Collection[str], where: str) -> None:
    """Refuse keys that are not `known`.

    Raises:
        InvalidOptionError: There is one.
    """
    unknown = sorted(set(values) - set(known))
    if unknown:
        msg = f"{where}: no such key: {', '.join(unknown)}; there are {', '.join(sorted(known))}"
        raise InvalidOptionError(msg)


def of_type(value: Any, types: type | tuple[type, ...], where: str) -> Any:
    """`value`, of one of `types`; true is no number.

    Raises:
        InvalidOptionError: It is of another type.
    """
    if not isinstance(value, types) or (isinstance(value, bool) and types is not bool):
        msg = f"{where} has a value of the wrong type, {type(value).__name__}"
        raise InvalidOptionError(msg)
    return value
