"""Writes a coordinator's file with every key, its default and what it means.

Keys, defaults and words come from the dataclasses that the file is read into, so that the file and
the code cannot say different things.
"""

from __future__ import annotations

import inspect
import json
import re
import textwrap
import tomllib
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_sdk.errors import InvalidOptionError
from federated.evaluation.options import EvaluationOptions
from federated.privacy.options import PrivacyOptions
from federated.round_core import RoundOptions
from federated.secure.options import MaskingOptions
from federated.service.config import SERVER_DEFAULTS, DeploymentOptions, parse_config
from federated.settings import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTH = 98
_HEAD = """\
# Federated rounds: everything a coordinator sets. Paths are relative to this file.
# A key that is left out, or that is a comment, has the value shown here.
"""
_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)
_CHANGE = re.compile(r"(\w+)\.(\w+)\s*=\s*(.+)", re.DOTALL)
_SET_BY_SERVE = "nodes"
_MASKING_FILES = {"roster": "roster.json", "authority": "authority.pem.pub"}
_OPTIONAL = {
    "privacy": "To make the rounds private, uncomment [privacy] and what you set in it.",
    "masking": "To hide single updates from this host, uncomment [masking] likewise.",
    "evaluation": "To have devices judge the new bundle first, uncomment [evaluation] likewise.",
}


def default_config(changes: Sequence[str] = ()) -> str:
    """The text of the file; as it stands it is read back into the defaults.

    Args:
        changes: `SECTION.KEY=VALUE`, a value as in TOML, or a text without its quotes: what to
            write in place of a default. A section that is a comment otherwise is written out.

    Raises:
        InvalidOptionError: A change is malformed, or the file would not be read.
    """
    text = _text({})
    if not changes:
        return text
    changed = _parsed(changes)
    parse_config(changed, "--set", Path())
    return _text(changed)


def _parsed(changes: Sequence[str]) -> dict[str, dict[str, Any]]:
    changed: dict[str, dict[str, Any]] = {}
    for change in changes:
        match = _CHANGE.fullmatch(change)
        if match is None:
            msg = f"--set {change}: it must be SECTION.KEY=VALUE"
            raise InvalidOptionError(msg)
        section, key, value = match.groups()
        changed.setdefault(section, {})[key] = _value(value)
    return changed


def _value(text: str) -> Any:
    """As in TOML; what is no value there is a text that lost its quotes to the shell."""
    try:
        values = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return values["value"] if len(values) == 1 else text


def _text(changed: dict[str, dict[str, Any]]) -> str:
    parts = [_HEAD]
    for name, kind, defaults in (
        ("server", ServerSettings, SERVER_DEFAULTS),
        ("rounds", RoundOptions, {}),
        ("privacy", PrivacyOptions, {}),
        ("masking", MaskingOptions, _MASKING_FILES),
        ("evaluation", EvaluationOptions, {}),
        ("deployment", DeploymentOptions, {}),
    ):
        values = changed.get(name, {})
        note = None if name in changed else _OPTIONAL.get(name)
        parts.append(f"[{name}]" if note is None else f"# {note}\n# [{name}]")
        parts.extend(_keys(kind, {**defaults, **values}, commented=note is not None))
        parts.append("")
    return "\n".join(parts)


def attribute_docs(kind: type) -> dict[str, str]:
    """What the `Attributes:` section of a dataclass says of each, on one line."""
    text = inspect.getdoc(kind) or ""
    _, _, section = text.partition("Attributes:\n")
    return {name: " ".join(words.split()) for name, words in _ATTRIBUTE.findall(section)}


def _keys(kind: type[Any], defaults: dict[str, Any], *, commented: bool) -> list[str]:
    lines = []
    docs = attribute_docs(kind)
    for one in fields(kind):
        if one.name == _SET_BY_SERVE:
            continue
        value = defaults.get(one.name, None if one.default is MISSING else one.default)
        lines += textwrap.wrap(
            docs.get(one.name, one.name), _WIDTH, initial_indent="# ", subsequent_indent="# "
        )
        if value is None:
            lines.append(f"# {one.name} =")
        else:
            lines.append(f"{'# ' if commented else ''}{one.name} = {_toml(value)}")
    return lines


def _toml(value: str | bool | float | tuple[str, ...] | list[str]) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(_toml(entry) for entry in value)}]"
    if isinstance(value, str | bool):
        return json.dumps(value)
    return repr(value)
