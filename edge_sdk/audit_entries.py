"""What the audit log can say. No entry has a field that could hold an example, label or feature.

A field is a count, a finite number, a digest, one of a few fixed words, or a consent id (lower-case
hex digits and dashes, such as a UUID). Anything else is refused where the entry is built.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar, get_args, get_type_hints

from edge_sdk.errors import InvalidOptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_COUNT = 2**53
DIGEST = re.compile(r"[0-9a-f]{64}")
CONSENT_ID = re.compile(r"[0-9a-f][0-9a-f-]{7,63}")
WORD = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditEntry:
    """Base of all entries; `KIND` names the type in the file.

    `WORDS` lists, for each field that holds a word, the words that it may hold.

    Raises:
        InvalidOptionError: A field holds something else than its type says. The message does not
            show it.
    """

    KIND: ClassVar[str] = ""
    WORDS: ClassVar[dict[str, tuple[str, ...]]] = {}

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and type(None) in get_args(hints[field.name]):
                continue
            if not self._fits(field.name, value, hints[field.name]):
                msg = f"{self.KIND}.{field.name} does not hold {self._wanted(field.name)}"
                raise InvalidOptionError(msg)

    def to_fields(self) -> dict[str, object]:
        """The fields by name, fit for JSON."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def _fits(self, name: str, value: object, hint: object) -> bool:
        if name in self.WORDS:
            return type(value) is str and value in self.WORDS[name]
        if name.endswith("_digest"):
            return type(value) is str and DIGEST.fullmatch(value) is not None
        if name == "consent_id":
            return type(value) is str and CONSENT_ID.fullmatch(value) is not None
        kinds = get_args(hint) or (hint,)
        if bool in kinds:
            return type(value) is bool
        if int in kinds:
            return type(value) is int and 0 <= value <= MAX_COUNT
        return type(value) in {int, float} and math.isfinite(value)  # type: ignore[arg-type]

    def _wanted(self, name: str) -> str:
        if name in self.WORDS:
            return "one of " + ", ".join(self.WORDS[name])
        if name.endswith("_digest"):
            return "a SHA-256 in 64 lower-case hex digits"
        if name == "consent_id":
            return "8..64 lower-case hex digits and dashes"
        return "a finite number of its type, counts from 0"


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleOpened(AuditEntry):
    """A bundle is in use for this user from now on."""

    KIND: ClassVar[str] = "bundle_opened"
    bundle_digest: str
    bundle_version: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Taught(AuditEntry):
    """Examples of one label were kept."""

    KIND: ClassVar[str] = "taught"
    num_examples: int
    num_kept: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapted(AuditEntry):
    """A candidate state was made, and what the guardrail said of it; None where there was none.

    The words are those of `edge_sdk.guardrail_rule`; a test keeps them equal.
    """

    KIND: ClassVar[str] = "adapted"
    WORDS: ClassVar[dict[str, tuple[str, ...]]] = {
        "decision": ("keep", "shadow", "revert"),
        "serve": ("candidate", "current", "base"),
        "reason": (
            "forgets_base_task",
            "worse_than_base",
            "worse_than_guessing",
            "not_shown_better_than_base",
            "not_shown_better_than_guessing",
            "worse_than_current",
            "better_than_base",
            "better_than_guessing",
            "no_alternative",
        ),
    }
    bundle_digest: str
    num_examples: int
    num_labels: int
    num_judged: int
    decision: str | None
    serve: str | None
    reason: str | None
    support_accuracy: float | None
    held_out_accuracy: float | None
    base_accuracy: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Drifted(AuditEntry):
    """Drift was noticed, and whether users get the base since; the words are `edge_sdk.drift`'s."""

    KIND: ClassVar[str] = "drifted"
    WORDS: ClassVar[dict[str, tuple[str, ...]]] = {
        "signal": ("errors_rose", "features_shifted"),
        "advice": ("teach_again", "adapt_again", "new_bundle"),
    }
    signal: str
    advice: str
    num_events: int
    fell_back: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Forgot(AuditEntry):
    """A label or an example was forgotten."""

    KIND: ClassVar[str] = "forgot"
    num_examples: int
    num_kept: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RolledBack(AuditEntry):
    """The state before was made current again; it rests on so many examples."""

    KIND: ClassVar[str] = "rolled_back"
    num_examples: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Recovered(AuditEntry):
    """A damaged store was noticed, and what serves since; so many examples were given up."""

    KIND: ClassVar[str] = "recovered"
    WORDS: ClassVar[dict[str, tuple[str, ...]]] = {
        "serve": ("current", "previous_generation", "base")
    }
    serve: str
    num_lost: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Erased(AuditEntry):
    """All of a user's data was destroyed; None where the store was too damaged to be counted."""

    KIND: ClassVar[str] = "erased"
    num_examples: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class UpdateSent(AuditEntry):
    """A `ModelUpdate` left the device under a consent."""

    KIND: ClassVar[str] = "update_sent"
    bundle_digest: str
    num_examples: int
    clipping_norm: float
    consent_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgementSent(AuditEntry):
    """How well a candidate bundle serves this user left the device: two shares, and no example."""

    KIND: ClassVar[str] = "judgement_sent"
    bundle_digest: str
    num_examples: int
    consent_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class EpsilonSpent(AuditEntry):
    """Privacy budget was spent: now, and in all, at `target_delta`."""

    KIND: ClassVar[str] = "epsilon_spent"
    epsilon: float
    total_epsilon: float
    target_delta: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsentChanged(AuditEntry):
    """A consent was given or taken back."""

    KIND: ClassVar[str] = "consent_changed"
    consent_id: str
    granted: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class LogRepaired(AuditEntry):
    """The torn last line of the log itself was cut off: how many bytes, and their SHA-256."""

    KIND: ClassVar[str] = "log_repaired"
    num_bytes: int
    removed_digest: str


ENTRY_TYPES: tuple[type[AuditEntry], ...] = (
    BundleOpened,
    Taught,
    Adapted,
    Drifted,
    Forgot,
    RolledBack,
    Recovered,
    Erased,
    UpdateSent,
    JudgementSent,
    EpsilonSpent,
    ConsentChanged,
    LogRepaired,
)
_BY_KIND = {entry_type.KIND: entry_type for entry_type in ENTRY_TYPES}


def entry_from(kind: str, values: Mapping[str, object]) -> AuditEntry:
    """The entry that `to_fields` gave.

    Raises:
        InvalidOptionError: There is no such kind, or these are not its fields.
    """
    entry_type = _BY_KIND.get(kind)
    if entry_type is None or set(values) != {field.name for field in fields(entry_type)}:
        msg = "no kind of entry with these fields is known to this version"
        raise InvalidOptionError(msg)
    return entry_type(**values)
