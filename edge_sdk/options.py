"""What a caller may choose, one frozen dataclass for each call, checked where it is built."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sdk.errors import InvalidOptionError
from edge_sdk.provider_options import check_providers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sdk.provider_options import Provider

MAX_LABEL_CHARS = 256
MAX_STEPS = 10_000
MAX_FOLDS = 100
MAX_THREADS = 256  # Engine::kMaxThreads


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineOptions:
    """How a bundle's graphs are run.

    Attributes:
        providers: Execution providers of the frozen graph, first choice first; at least one. A
            name (`cpu`, `qnn`, `xnnpack`, `coreml`, `nnapi`) or a provider with its options.
        threads: Threads of one ONNX Runtime session, at least 1. More than 1 may change the order
            of sums, and with it the last bits of a result.
    """

    providers: Sequence[Provider] = ("cpu",)
    threads: int = 1

    def __post_init__(self) -> None:
        check_providers(self.providers)
        check_count(self.threads, name="threads", largest=MAX_THREADS)


def check_count(value: object, *, name: str, largest: int) -> int:
    """Return an int in `1..largest`, or raise `InvalidOptionError`; bool is not an int here."""
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= largest:
        msg = f"{name} must be an int in 1..{largest}, got {_shown(value)}"
        raise InvalidOptionError(msg)
    return value


def check_seed(seed: object) -> int:
    """Return an int in `0..2**63-1`, or raise `InvalidOptionError`; bool is not an int here."""
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
        msg = "seed must be an int in 0..2**63-1"
        raise InvalidOptionError(msg)
    return seed


def check_label(label: object) -> str:
    """Return a label that the store can hold, or raise `InvalidOptionError` without showing it."""
    if not isinstance(label, str):
        msg = f"label must be a str, got {type(label).__name__}"
        raise InvalidOptionError(msg)
    if not 1 <= len(label) <= MAX_LABEL_CHARS:
        msg = f"label must have 1..{MAX_LABEL_CHARS} characters, got {len(label)}"
        raise InvalidOptionError(msg)
    if any("\ud800" <= char <= "\udfff" for char in label):
        msg = "label must be valid Unicode, got a lone surrogate"
        raise InvalidOptionError(msg)
    return label


def check_clipping_norm(clipping_norm: object) -> float:
    """Return a finite, positive L2 bound, or raise `InvalidOptionError`."""
    if (
        not isinstance(clipping_norm, int | float)
        or isinstance(clipping_norm, bool)
        or not math.isfinite(clipping_norm)
        or clipping_norm <= 0
    ):
        msg = f"clipping_norm must be a finite number > 0, got {_shown(clipping_norm)}"
        raise InvalidOptionError(msg)
    return float(clipping_norm)


def _shown(value: object) -> str:
    """A number as it is; of anything else the type only, it may be user data in a wrong place."""
    return repr(value) if isinstance(value, int | float) else type(value).__name__
