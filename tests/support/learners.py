"""Learners as tests build them: the smallest of each kind, since exporting takes seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_TRANSFORMER = {"depth": 1, "heads": 2}

SMALL: Mapping[str, Mapping[str, int | float]] = {
    "incontext": {"width": 16, "heads": 2, "layers": 1, "capacity": 40},
    "lora": _TRANSFORMER,
    "lstm": {"width": 16},
    "mann": {"width": 16, "rows": 40},
    "prompt_tuning": {"depth": 2, "heads": 2},
    "qlora": _TRANSFORMER,
}
"""Settings by learner; those that are not here are small as they are."""
