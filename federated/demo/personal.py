"""One user's story through the real Personalizer: teach, adapt, predict, forget, reopen."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk import Personalizer
from federated.demo.result import LatencyResult, PersonalResult

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edge_sdk import Bundle, Engine
    from edge_sdk.guardrail import GuardrailReport

Examples = dict[str, "NDArray[np.float32]"]
"""Label to model inputs, `[n, *input.shape]`."""


def as_inputs(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 `[n, 28, 28]` (ink 255) to model inputs, float32 `[n, 1, 28, 28]` (ink 1)."""
    return (images[:, None].astype(np.float32)) / np.float32(255)


def tell_story(
    bundle: Bundle, taught: Examples, asked: Examples, folder: Path, *, forget: str
) -> PersonalResult:
    """Live through one user's days with the SDK.

    Args:
        bundle: The bundle on the device; it names no labels.
        taught: Examples of each label, as many of each.
        asked: Further examples of the same labels.
        folder: Empty folder for the homes of two users.
        forget: The label to forget.
    """
    truth = np.array([label for label, x in asked.items() for _ in range(len(x))])
    x = np.concatenate(list(asked.values()))
    rest = truth != forget
    home = folder / "user"
    with Personalizer(bundle, home=home) as user:
        judged = _teach(user, taught)
        before = np.array(user.predict(x).labels)
        taught_state = user.state
    with Personalizer(bundle, home=home) as user:
        kept = user.state == taught_state
        user.forget(forget)
        after = np.array(user.predict(x).labels)
        forgotten_state = user.state
    with Personalizer(bundle, home=home) as user:
        kept = kept and user.state == forgotten_state
        log = user.audit_log.verify()
    with Personalizer(bundle, home=folder / "never-taught") as other:
        _teach(other, {label: x for label, x in taught.items() if label != forget})
        exact = other.state == forgotten_state
    return PersonalResult(
        shots=len(next(iter(taught.values()))),
        num_queries=len(x),
        accuracy=float((before == truth).mean()),
        forgotten=forget,
        predicted_before=int((before == forget).sum()),
        predicted_after=int((after == forget).sum()),
        accuracy_rest_before=float((before == truth)[rest].mean()),
        accuracy_rest_after=float((after == truth)[rest].mean()),
        forget_exact=exact,
        reopened_same=kept,
        judged=judged.num_judged,
        judged_accuracy=judged.held_out_accuracy or 0.0,
        logged=log.num_entries,
        log_whole=log.ok,
    )


def measure_latency(
    engine: Engine, x: NDArray[np.float32], labels: NDArray[np.int64], *, repeats: int
) -> LatencyResult:
    """Time single calls on the examples `x` `[n, *input.shape]` with their slots `[n]`."""
    features = engine.embed(x)
    state = engine.adapt(features, labels).state
    one, one_feature = x[:1], features[:1]
    return LatencyResult(
        embed_ms=_median_ms(lambda: engine.embed(one), repeats),
        adapt_ms=_median_ms(lambda: engine.adapt(features, labels), repeats),
        predict_ms=_median_ms(lambda: engine.predict(one_feature, state), repeats),
        adapt_examples=len(x),
        repeats=repeats,
    )


def _teach(user: Personalizer, examples: Examples) -> GuardrailReport:
    for label, x in examples.items():
        user.teach(label, x)
    report = user.adapt().guardrail
    assert report is not None  # noqa: S101 - it is on by default
    return report


def _median_ms(call: Callable[[], object], repeats: int) -> float:
    times: Sequence[float] = [_timed(call) for _ in range(repeats)]
    return float(np.median(times)) * 1e3


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
