"""Examples for the tiny bundles, variants of them, and their learners in float64 NumPy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_sdk.bundle import open_bundle
from edge_sdk.manifest import MODEL_CARD_NAME
from export.bundle_writer import write_bundle

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Float64 = NDArray[np.float64]
    Reference = dict[str, Float64]

INPUT_SHAPE = (1, 4, 4)
DIM = 8
WAYS = 4
LEARNING_RATE = 0.5
UNUSED_LOGIT = -1e9
RECENCY = 0.5
OUTPUTS = 2
NOISE = 0.25


def examples(rng: np.random.Generator, n: int, *, centre: float = 0.0) -> NDArray[np.float32]:
    """`[n, 1, 4, 4]` random inputs around `centre`."""
    return (centre + rng.normal(size=(n, *INPUT_SHAPE))).astype(np.float32)


def class_examples(rng: np.random.Generator, n: int, *, seed: int) -> NDArray[np.float32]:
    """`[n, 1, 4, 4]` inputs near a point that `seed` picks: easy to tell from other seeds'."""
    centre = 3 * np.random.default_rng(seed).normal(size=INPUT_SHAPE)
    return (centre + 0.1 * rng.normal(size=(n, *INPUT_SHAPE))).astype(np.float32)


def rewrite(
    source: Path,
    target: Path,
    *,
    graphs: Mapping[str, bytes | None] | None = None,
    **changes: Any,
) -> Path:
    """Write `source` again with some manifest fields and graphs changed; None leaves one out."""
    bundle = open_bundle(source)
    kept = {name: data for name, data in bundle.files.items() if name != MODEL_CARD_NAME}
    merged = {**kept, **(graphs or {})}
    write_bundle(
        target,
        manifest_fields=replace(bundle.manifest.draft(), **changes),
        graphs={name: data for name, data in merged.items() if data is not None},
        model_card="# variant\n",
    )
    return target


def prototypical_adapt(
    state: Mapping[str, Any], features: Any, labels: Any, weights: Any
) -> tuple[Reference, float]:
    """The closed form; `state` as `init` gives it, shapes as in the bundle."""
    state = {name: np.asarray(value, np.float64) for name, value in state.items()}
    features, weights = np.asarray(features, np.float64), np.asarray(weights, np.float64)
    weighted = np.eye(WAYS)[labels] * weights[:, None]
    counts = state["counts"] + weighted.sum(0)
    sums = state["prototypes"] * state["counts"][:, None] + weighted.T @ features
    prototypes = sums / np.where(counts > 0, counts, 1)[:, None]
    after = {"prototypes": prototypes, "counts": counts}
    return after, _loss(prototypical_logits(after, features), weighted, weights)


def prototypical_logits(state: Mapping[str, Any], features: Any) -> Float64:
    """`[n, ways]`."""
    prototypes = np.asarray(state["prototypes"], np.float64)
    closeness = 2 * np.asarray(features, np.float64) @ prototypes.T - (prototypes**2).sum(1)
    return np.where(np.asarray(state["counts"]) > 0, closeness, UNUSED_LOGIT)


def gradient_adapt(
    state: Mapping[str, Any], features: Any, labels: Any, weights: Any, *, steps: int
) -> tuple[Reference, list[float]]:
    """`steps` steps, each derivative by hand in float64."""
    now = {name: np.asarray(value, np.float64) for name, value in state.items()}
    features, weights = np.asarray(features, np.float64), np.asarray(weights, np.float64)
    hot = np.eye(WAYS)[labels]
    losses = []
    for _ in range(steps):
        counts = np.maximum(now["counts"], (hot * weights[:, None]).sum(0))
        logits = gradient_logits({**now, "counts": counts}, features)
        losses.append(_loss(logits, hot * weights[:, None], weights))
        d_logits = weights[:, None] * (np.exp(_log_softmax(logits)) - hot) / weights.sum()
        d_mixing = ((d_logits @ now["weight"]) * features).sum(0)
        now = {
            "mixing": now["mixing"] - LEARNING_RATE * d_mixing,
            "weight": now["weight"] - LEARNING_RATE * d_logits.T @ (features * now["mixing"]),
            "bias": now["bias"] - LEARNING_RATE * d_logits.sum(0),
            "counts": counts,
        }
    return now, losses


def gradient_logits(state: Mapping[str, Any], features: Any) -> Float64:
    """`[n, ways]`."""
    scores = (np.asarray(features) * state["mixing"]) @ np.asarray(state["weight"]).T
    return np.where(np.asarray(state["counts"]) > 0, scores + state["bias"], UNUSED_LOGIT)


def recency_adapt(
    state: Mapping[str, Any], features: Any, labels: Any, weights: Any
) -> tuple[Reference, list[float]]:
    """One example after the other, those of weight 0 left out."""
    now = {name: np.asarray(value, np.float64).copy() for name, value in state.items()}
    losses = []
    for row, slot, weight in zip(np.asarray(features, np.float64), labels, weights, strict=True):
        if weight == 0:
            continue
        pull = (RECENCY if now["counts"][slot] > 0 else 1.0) * weight
        now["prototypes"][slot] += pull * (row - now["prototypes"][slot])
        now["counts"][slot] += weight
        hot = np.eye(WAYS)[[slot]] * weight
        losses.append(_loss(prototypical_logits(now, row[None]), hot, np.array([weight])))
    return now, losses


def regression_adapt(
    state: Mapping[str, Any], features: Any, targets: Any, weights: Any, *, steps: int
) -> tuple[Reference, list[float]]:
    """`steps` steps down half the weighted mean squared error."""
    weight = np.asarray(state["weight"], np.float64)
    features, weights = np.asarray(features, np.float64), np.asarray(weights, np.float64)
    losses = []
    for _ in range(steps):
        gap = features @ weight - targets
        d_mean = gap * weights[:, None] / weights.sum()
        losses.append(float((gap * d_mean).sum() / 2))
        weight = weight - LEARNING_RATE * features.T @ d_mean
    counts = np.maximum(np.asarray(state["counts"], np.float64), weights.sum())
    return {"weight": weight, "counts": counts}, losses


def regression_values(state: Mapping[str, Any], features: Any) -> tuple[Float64, Float64]:
    """Mean and variance, `[n, outputs]` each."""
    features = np.asarray(features, np.float64)
    mean = features @ np.asarray(state["weight"], np.float64)
    spread = (features**2).sum(1, keepdims=True) / (1 + np.asarray(state["counts"], np.float64))
    return mean, np.broadcast_to(NOISE + spread, mean.shape)


def _loss(logits: Float64, weighted: Float64, weights: Float64) -> float:
    return float(-(weighted * _log_softmax(logits)).sum() / weights.sum())


def _log_softmax(logits: Float64) -> Float64:
    shifted = logits - logits.max(1, keepdims=True)
    log_p: Float64 = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return log_p
