"""Strict JSON: no duplicate keys, NaN, infinity or lone surrogates; checks name the place."""

from __future__ import annotations

import datetime as dt
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from edge_sdk.errors import BadBundleError

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Mapping

MAX_RANK = 8
MAX_KEYS = 4096

_T = TypeVar("_T")


def decode(data: bytes, *, file_name: str) -> Place:
    """Parse UTF-8 JSON from an untrusted file.

    Raises:
        BadBundleError: Not strict JSON; the message names `file_name`.
    """
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_distinct,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # a lone surrogate fails here
    except (ValueError, RecursionError) as error:
        reason = "is nested too deep" if isinstance(error, RecursionError) else _reason(error)
        msg = f"{file_name} is not strict JSON: {reason}"
        raise BadBundleError(msg) from None
    return Place(file_name=file_name, path="", value=value)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A JSON value and where it stands; each method checks one thing or raises `BadBundleError`."""

    file_name: str
    path: str
    value: Any

    def refuse(self, reason: str) -> NoReturn:
        """Raise `BadBundleError` naming this place."""
        msg = f"{self.file_name}: {self.path or 'the top level'} {reason}"
        raise BadBundleError(msg)

    def look(self, key: str) -> Place:
        """The value under `key` of an object."""
        if not isinstance(self.value, dict):
            self.refuse("must be an object")
        if key not in self.value:
            self.refuse(f"lacks the key {_shown(key)}")
        return self._at(f".{key}" if self.path else key, self.value[key])

    def record(
        self,
        fields: Mapping[str, Callable[[Place], object]],
        *,
        optional: Mapping[str, Callable[[Place], object]] | None = None,
    ) -> dict[str, Any]:
        """An object with exactly these keys, each value checked by its function.

        Keys of `optional` may be absent, and then are in the result neither.
        """
        values = {key: check(self.look(key)) for key, check in fields.items()}
        for key, check in (optional or {}).items():
            if key in self.value:
                values[key] = check(self.look(key))
        for key in self.value:
            if key not in values:
                self.refuse(f"has the unknown key {_shown(key)}")
        return values

    def mapping(self, item: Callable[[Place], _T]) -> dict[str, _T]:
        """An object with any keys of 1..128 characters."""
        if not isinstance(self.value, dict):
            self.refuse("must be an object")
        if len(self.value) > MAX_KEYS:
            self.refuse(f"must have at most {MAX_KEYS} keys")
        for key in self.value:
            if not 1 <= len(key) <= 128:
                self.refuse("must have keys of 1..128 characters")
        return {key: item(self._at(f"[{_shown(key)}]", v)) for key, v in self.value.items()}

    def sequence(self, item: Callable[[Place], _T], longest: int) -> tuple[_T, ...]:
        """A list of at most `longest` items."""
        if not isinstance(self.value, list) or len(self.value) > longest:
            self.refuse(f"must be a list of at most {longest} items")
        return tuple(item(self._at(f"[{i}]", v)) for i, v in enumerate(self.value))

    def integer(self, smallest: int, largest: int) -> int:
        """An int in a range; true and 1.0 are not ints."""
        if type(self.value) is not int or not smallest <= self.value <= largest:
            self.refuse(f"must be an integer in {smallest}..{largest}")
        return self.value

    def boolean(self) -> bool:
        """True or false."""
        if type(self.value) is not bool:
            self.refuse("must be true or false")
        return self.value

    def number(self) -> float:
        """A finite int or float, as a float."""
        if type(self.value) not in {int, float} or abs(self.value) > 1e300:
            self.refuse("must be a finite number")
        return float(self.value)

    def text(self, shortest: int, longest: int) -> str:
        """A string whose length is in a range."""
        if not isinstance(self.value, str) or not shortest <= len(self.value) <= longest:
            self.refuse(f"must be a string of {shortest}..{longest} characters")
        return self.value

    def match(self, pattern: re.Pattern[str]) -> str:
        """A string that matches the whole pattern."""
        if not isinstance(self.value, str) or not pattern.fullmatch(self.value):
            self.refuse(f"must be a string that matches {pattern.pattern}")
        return self.value

    def date(self) -> dt.date:
        """A day of the calendar, `YYYY-MM-DD`."""
        text = self.text(10, 10)
        try:
            day = dt.date.fromisoformat(text)
        except ValueError:
            self.refuse("must be a date YYYY-MM-DD")
        if day.isoformat() != text:  # ISO 8601 has other ways to write one
            self.refuse("must be a date YYYY-MM-DD")
        return day

    def choice(self, allowed: tuple[str, ...]) -> str:
        """One of a few strings."""
        if not isinstance(self.value, str) or self.value not in allowed:
            self.refuse(f"must be one of {', '.join(allowed)}")
        return self.value

    def shape(self, *, shortest: int, max_elements: int) -> tuple[int, ...]:
        """A list of positive sizes whose product is at most `max_elements`."""
        sizes = self.sequence(lambda p: p.integer(1, max_elements), MAX_RANK)
        if len(sizes) < shortest or math.prod(sizes) > max_elements:
            self.refuse(f"must have at least {shortest} axes and at most {max_elements} numbers")
        return sizes

    def _at(self, suffix: str, value: object) -> Place:
        return Place(file_name=self.file_name, path=self.path + suffix, value=value)


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        msg = "an object has the same key twice"
        raise ValueError(msg)
    return found


def _no_constant(text: str) -> NoReturn:
    msg = f"{text} is not a JSON number"
    raise ValueError(msg)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        msg = "a number is too large"
        raise ValueError(msg)
    return value


def _reason(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at line {error.lineno}"
    if isinstance(error, UnicodeError):
        return "a byte or character is not valid UTF-8"
    return str(error)


def _shown(key: str) -> str:
    return ascii(key if len(key) <= 64 else key[:64] + "...")
