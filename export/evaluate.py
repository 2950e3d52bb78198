"""Few-shot accuracy of a bundle on unseen classes, measured through the device runtime."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from edge_sdk.errors import InvalidOptionError
from export.intervals import Mean, mean_interval
from export.metrics import (
    QueryScores,
    calibration_error,
    mean_nll,
    score_labels,
    score_values,
)
from export.tasks.base import ImagePool
from export.tasks.lake import LakeSampler
from export.tasks.sampler import EpisodeOptions, EpisodeSampler

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from edge_sdk import Engine
    from export.feature_table import FeatureTable
    from export.tasks.functions import FunctionPool


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
        protocol: "random" episodes, or "lake": Lake's one-shot task (`export.tasks.lake`), for
            which `shots`, `queries` and `per_user` have no meaning.
        control: What is held against the learner. "permuted": the labels of the support set change
            places, so that whoever learns from it can only guess. "unadapted": nothing is taught.

    Of a regression `shots` and `queries` are points on a function; `ways`, `per_user` and
    `protocol` have no meaning.
    """

    ways: int = 5
    shots: int = 1
    queries: int = 15
    episodes: int = 600
    seed: int = 0
    steps: int | None = None
    per_user: bool = False
    protocol: Literal["random", "lake"] = "random"
    control: Literal["none", "permuted", "unadapted"] = "none"

    def __post_init__(self) -> None:
        if self.episodes < 2:
            msg = f"episodes must be >= 2, got {self.episodes}"
            raise InvalidOptionError(msg)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evaluation:
    """What an evaluation found.

    Attributes:
        accuracies: float64 `[episodes]`, query accuracy of each, 0..1; of a regression the share
            of the values' mean square that is explained, at most 1.
        accuracy: Their mean and 95 % interval.
        nll: Negative log-likelihood of a query, in nats; None of a regression without variance.
        calibration_error: ECE over all queries, 0..1 (`export.metrics`); None of a regression.
        embed_ms: Median wall time of embedding an episode's images, divided by their number.
        adapt_ms: Median wall time of one adaptation on embedded examples.
        predict_ms: Median wall time of predicting one episode's queries from features.
    """

    accuracies: NDArray[np.float64]
    accuracy: Mean
    nll: Mean | None
    calibration_error: float | None
    embed_ms: float
    adapt_ms: float
    predict_ms: float


def evaluate(
    engine: Engine,
    pool: ImagePool | FunctionPool,
    options: EvaluateOptions,
    *,
    table: FeatureTable | None = None,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Adapt to each support set and score its queries, one episode at a time, as a device would.

    Args:
        engine: The loaded bundle.
        pool: Images of classes that training never saw.
        options: The episodes.
        table: The pool's features from this engine, to share among evaluations; None: every
            episode's images are embedded for it.
        progress: Told the number of episodes done.

    Raises:
        InvalidOptionError: There are more ways than the bundle has slots, or it does not learn
            what the pool has to teach.
        NotEnoughImagesError: The pool cannot supply the episodes.
    """
    o = options
    manifest = engine.bundle.manifest
    if manifest.task != pool.task:
        msg = f"this bundle does {manifest.task}, these tasks are {pool.task}"
        raise InvalidOptionError(msg)
    if manifest.task == "classification" and o.ways > manifest.ways:
        msg = f"ways must be <= {manifest.ways}, the bundle's slots, got {o.ways}"
        raise InvalidOptionError(msg)
    sampler = _sampler(pool, o)
    rng = np.random.default_rng(o.seed)
    shuffler = np.random.default_rng([o.seed, 1])  # a control sees the same episodes
    scores: list[QueryScores] = []
    times = np.empty((o.episodes, 3))
    for i in range(o.episodes):
        batch = sampler.draw(rng)
        support, query = batch.support[0], batch.query[0]
        marks = [time.perf_counter()]
        features = engine.embed(batch.images) if table is None else table.of(batch)
        marks.append(time.perf_counter())
        labels = batch.support_y[0]
        if o.control == "permuted":
            labels = shuffler.permutation(labels)
        state = engine.initial_state()
        if o.control != "unadapted":
            state = engine.adapt(features[support], labels, steps=o.steps).state
        marks.append(time.perf_counter())
        if manifest.task == "regression":
            values = engine.predict_values(features[query], state)
            marks.append(time.perf_counter())
            scores.append(score_values(values.mean, values.variance, batch.query_y[0]))
        else:
            classes = engine.predict(features[query], state)
            marks.append(time.perf_counter())
            scores.append(score_labels(classes.logits, batch.query_y[0]))
        times[i] = np.diff(marks) * 1e3 / (len(batch.images), 1, 1)
        if progress is not None:
            progress(i + 1)
    embed_ms, adapt_ms, predict_ms = np.median(times, axis=0).tolist()
    if table is not None:
        embed_ms = table.embed_ms
    accuracies = np.array([score.right.mean() for score in scores])
    if manifest.task == "regression":
        accuracies = 1 - accuracies / np.mean([score.power for score in scores])
    return Evaluation(
        accuracies=accuracies,
        accuracy=mean_interval(accuracies),
        nll=mean_nll(scores),
        calibration_error=None if manifest.task == "regression" else calibration_error(scores),
        embed_ms=embed_ms,
        adapt_ms=adapt_ms,
        predict_ms=predict_ms,
    )


def _sampler(pool: ImagePool | FunctionPool, o: EvaluateOptions) -> EpisodeSampler | LakeSampler:
    if o.protocol == "lake":
        if not isinstance(pool, ImagePool):
            msg = "the lake protocol is for images"
            raise InvalidOptionError(msg)
        return LakeSampler(pool, ways=o.ways)
    return EpisodeSampler(
        pool, EpisodeOptions(ways=o.ways, shots=o.shots, queries=o.queries, per_user=o.per_user)
    )
