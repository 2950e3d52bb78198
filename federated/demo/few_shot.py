"""A new user: teach a few examples of each class through the bundle, beside pixel baselines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from export.baselines import logistic_regression, nearest_neighbour
from export.intervals import mean_interval
from export.tasks.base import NotEnoughImagesError
from federated.demo.result import LOGISTIC, NEAREST, Confusion, FewShotResult, ShotsResult
from federated.simulate import embed_images

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from edge_sdk import Engine
    from export.tasks.base import ImagePool

_STREAM = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class FewShotOptions:
    """What the new user teaches.

    Attributes:
        ways: Classes.
        shots: Examples of each, ascending; larger ones hold the smaller.
        queries: Further images of each class to predict, the same ones for all shots.
        seeds: Draws.
        seed: Of the draws.
    """

    ways: int = 10
    shots: tuple[int, ...] = (1, 2, 3, 5, 10)
    queries: int = 100
    seeds: int = 20
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """One user's classes `[ways]`, and uint8 images `[ways, n, 28, 28]` to teach and to ask."""

    classes: NDArray[np.int64]
    support: NDArray[np.uint8]
    query: NDArray[np.uint8]


def draws(pool: ImagePool, options: FewShotOptions) -> Iterator[Draw]:
    """Draw each seed's classes and images; no image is both taught and asked.

    Raises:
        NotEnoughImagesError: The pool has too few classes, or images of a class.
    """
    o, known = options, np.unique(pool.classes)
    if len(known) < o.ways:
        msg = f"{o.ways} ways need as many classes, the pool has {len(known)}"
        raise NotEnoughImagesError(msg)
    each = max(o.shots) + o.queries
    for i in range(o.seeds):
        rng = np.random.default_rng([o.seed, _STREAM, i])
        classes = np.sort(rng.choice(known, o.ways, replace=False))
        rows = np.stack([_some(pool.rows_of(int(cls)), each, rng) for cls in classes])
        support, query = np.split(pool.images[rows], [max(o.shots)], axis=1)
        yield Draw(classes=classes, support=support, query=query)


def run_few_shot(engine: Engine, pool: ImagePool, options: FewShotOptions) -> FewShotResult:
    """Adapt and predict through the C++ runtime for every draw; score the baselines beside it."""
    o = options
    scores = np.empty((o.seeds, len(o.shots), 3))
    counts = np.zeros((len(o.shots), o.ways, o.ways), np.int64)
    truth = np.arange(o.ways, dtype=np.int64).repeat(o.queries)
    for i, draw in enumerate(draws(pool, o)):
        flat_query = draw.query.reshape(-1, *draw.query.shape[2:])
        query_features = embed_images(engine, flat_query)
        for j, shots in enumerate(o.shots):
            images = draw.support[:, :shots].reshape(-1, *draw.support.shape[2:])
            labels = np.arange(o.ways, dtype=np.int64).repeat(shots)
            state = engine.adapt(embed_images(engine, images), labels).state
            found = engine.predict(query_features, state).logits.argmax(1)
            np.add.at(counts[j], (truth, found), 1)
            pixels, asked = (_pixels(x) for x in (images, flat_query))
            scores[i, j] = [
                float((guess == truth).mean())
                for guess in (
                    found,
                    nearest_neighbour(pixels, labels, asked),
                    logistic_regression(pixels, labels, asked),
                )
            ]
    fixed = len(np.unique(pool.classes)) == o.ways
    return FewShotResult(
        ways=o.ways,
        queries=o.ways * o.queries,
        seeds=o.seeds,
        by_shots=tuple(_compare(shots, scores[:, j]) for j, shots in enumerate(o.shots)),
        confusions={shots: as_confusion(counts[j]) for j, shots in enumerate(o.shots) if fixed},
        class_names=tuple(pool.class_names) if fixed else (),
    )


def as_confusion(counts: NDArray[np.int64]) -> Confusion:
    """Plain integers of a `[classes, classes]` array."""
    return tuple(tuple(row) for row in counts.tolist())


def _compare(shots: int, scores: NDArray[np.float64]) -> ShotsResult:
    """`scores` `[seeds, 3]`: adapted, nearest, logistic."""
    adapted, nearest, logistic = scores.T
    better, best = (NEAREST, nearest) if nearest.mean() >= logistic.mean() else (LOGISTIC, logistic)
    return ShotsResult(
        shots=shots,
        adapted=mean_interval(adapted),
        nearest=mean_interval(nearest),
        logistic=mean_interval(logistic),
        better=better,
        gain=mean_interval(adapted - best),
    )


def _some(rows: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    if len(rows) < count:
        msg = f"each class needs {count} images, one has {len(rows)}; ask for fewer queries"
        raise NotEnoughImagesError(msg)
    return rng.choice(rows, count, replace=False)


def _pixels(images: NDArray[np.uint8] | Sequence[int]) -> NDArray[np.float32]:
    return np.asarray(images, np.float32) / np.float32(255)
