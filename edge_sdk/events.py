"""What a personalizer tells the app: events as they happen, and its status at any time."""

from __future__ import annotations

import enum
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_sdk.drift import DriftAdvice

_log = logging.getLogger("edge_sdk.events")


class EventKind(enum.StrEnum):
    """What happened. Later versions may add kinds: ignore those you do not know."""

    ADAPTED = "adapted"
    """`adapt` committed a new state."""
    SHADOWED = "shadowed"
    """`adapt` made a state that is not shown good enough yet; what answered goes on answering."""
    REVERTED = "reverted"
    """`adapt` made a state that is shown harmful; it was dropped."""
    DRIFTED = "drifted"
    """The state that answers fits its user or its inputs no longer; `Status.recommendation`."""
    RECOMPUTED = "recomputed"
    """The stored state was damaged or of another bundle, and was computed again; no loss."""
    FELL_BACK = "fell_back"
    """The current state is lost; the one before it, or the bundle's own, answers instead."""
    STORE_UNREADABLE = "store_unreadable"
    """The store could not be read just now; predictions go on with the state in memory."""
    ROLLED_BACK = "rolled_back"
    """`roll_back` made the generation before current."""
    FORGOT = "forgot"
    """`forget` removed examples and all that was learned from them."""
    ERASED = "erased"
    """`erase` removed everything."""
    AUDIT_FAILED = "audit_failed"
    """An entry waits for its place in the audit log, or the log has lost some; nothing else did."""
    WATCH_RESET = "watch_reset"
    """What drift detection remembered is damaged or could not be kept; it starts afresh."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    Attributes:
        kind: What.
        version: The version of the personal state that is current after it.
        detail: For people; never a label, an example or a feature.
    """

    kind: EventKind
    version: int
    detail: str


class Source(enum.StrEnum):
    """Where the state that answers comes from."""

    BASE = "base"
    """The bundle's own starting state: nothing was adapted yet, or all of it was undone."""
    CURRENT = "current"
    """The last committed state."""
    PREVIOUS = "previous"
    """The generation before the last committed one, because that one is damaged."""
    BASE_BY_DAMAGE = "base_by_damage"
    """The bundle's own starting state, because no stored generation is usable."""


@dataclass(frozen=True, slots=True)
class Status:
    """How a personalizer is.

    Attributes:
        version: The version of the state that answers; 0 is the bundle's own starting state.
        source: Where that state comes from.
        encrypted: Whether labels, features and states are encrypted at rest.
        damage: What is damaged in the store and the remedy, for people; empty when nothing is.
        adapting: Whether an adaptation is under way in this process.
        recommendation: What to offer the user since drift was noticed; None where none was, or a
            state was adapted since.
    """

    version: int
    source: Source
    encrypted: bool
    damage: str
    adapting: bool
    recommendation: DriftAdvice | None = None


def deliver(listener: Callable[[Event], None] | None, event: Event) -> None:
    """Call the app's listener. What it raises is logged by type: what happened has happened."""
    if listener is None:
        return
    try:
        listener(event)
    except Exception as error:  # noqa: BLE001 - see above; its text may hold the app's user data
        _log.error("the listener failed on event %s: %s", event.kind, type(error).__name__)
