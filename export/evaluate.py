"""Few-shot accuracy of a bundle on unseen classes, measured through the device runtime."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.errors import InvalidOptionError
from export.intervals import Mean, mean_interval
from export.tasks.sampler import EpisodeOptions, EpisodeSampler

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from edge_sdk import Engine
    from export.tasks.base import ImagePool


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateOptions:
    """Which episodes to judge a bundle on.

    Attributes:
        ways: Classes in an episode, at most the bundle's slots.
        shots: Support images of a class.
        queries: Query images of a class.
        episodes: How many episodes; the interval is over them.
        seed: Of the draws; same seed, same episodes for every bundle.
        steps: Inner steps; None: the bundle's own.
        per_user: Each episode takes all its images from one user.
    """

    ways: int = 5
    shots: int = 1
    queries: int = 15
    episodes: int = 600
    seed: int = 0
    steps: int | None = None
    per_user: bool = False

    def __post_init__(self) -> None:
        if self.episodes < 2:
            msg = f"episodes must be >= 2, got {self.episodes}"
            raise InvalidOptionError(msg)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evaluation:
    """What an evaluation found.

    Attributes:
        accuracies: float64 `[episodes]`, query accuracy of each, 0..1.
        accuracy: Their mean and 95 % interval.
        embed_ms: Median wall time of embedding an episode's images, divided by their number.
        adapt_ms: Median wall time of one adaptation on embedded examples.
        predict_ms: Median wall time of predicting one episode's queries from features.
    """

    accuracies: NDArray[np.float64]
    accuracy: Mean
    embed_ms: float
    adapt_ms: float
    predict_ms: float


def evaluate(
    engine: Engine,
    pool: ImagePool,
    options: EvaluateOptions,
    *,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Adapt to each support set and score its queries, one episode at a time, as a device would.

    Args:
        engine: The loaded bundle.
        pool: Images of classes that training never saw.
        options: The episodes.
        progress: Told the number of episodes done.

    Raises:
        InvalidOptionError: There are more ways than the bundle has slots.
        NotEnoughImagesError: The pool cannot supply the episodes.
    """
    o = options
    slots = engine.bundle.manifest.ways
    if o.ways > slots:
        msg = f"ways must be <= {slots}, the bundle's slots, got {o.ways}"
        raise InvalidOptionError(msg)
    sampler = EpisodeSampler(
        pool, EpisodeOptions(ways=o.ways, shots=o.shots, queries=o.queries, per_user=o.per_user)
    )
    rng = np.random.default_rng(o.seed)
    accuracies = np.empty(o.episodes)
    times = np.empty((o.episodes, 3))
    for i in range(o.episodes):
        batch = sampler.draw(rng)
        support, query = batch.support[0], batch.query[0]
        marks = [time.perf_counter()]
        features = engine.embed(batch.images)
        marks.append(time.perf_counter())
        state = engine.adapt(features[support], batch.support_y[0], steps=o.steps).state
        marks.append(time.perf_counter())
        logits = engine.predict(features[query], state).logits
        marks.append(time.perf_counter())
        accuracies[i] = (logits.argmax(1) == batch.query_y[0]).mean()
        times[i] = np.diff(marks) * 1e3 / (len(batch.images), 1, 1)
        if progress is not None:
            progress(i + 1)
    embed_ms, adapt_ms, predict_ms = np.median(times, axis=0).tolist()
    return Evaluation(
        accuracies=accuracies,
        accuracy=mean_interval(accuracies),
        embed_ms=embed_ms,
        adapt_ms=adapt_ms,
        predict_ms=predict_ms,
    )
