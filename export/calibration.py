"""Trustworthy confidence at any number of ways and shots: a temperature that depends on both.

A softmax that is right on average at one shot is badly off at five: distances shrink, heads are
sharper, posteriors narrower. Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural
Networks", ICML 2017, divide the logits by one number that is fitted after training. Here the
logarithm of that number is a small polynomial in the logarithms of what every state knows of itself
(`counts`): how many examples a label in use rests on, and how many labels are in use. It is
positive, so it changes no answer, only its confidence; learners know nothing of it.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from edge_sdk.errors import InvalidOptionError
from export.episode_loss import episode_logits
from export.learners.adaptation import predict_both
from export.learners.base import UNUSED_LOGIT
from export.tasks.base import NotEnoughImagesError
from export.tasks.sampler import EpisodeOptions, EpisodeSampler

if TYPE_CHECKING:
    from torch import Tensor

    from export.learners.base import Learner, State
    from export.tasks.base import ImagePool

MOST_SHOTS = 10.0
MOST_WAYS = 32.0
"""Beyond these the temperature stays what it is there: nothing was fitted on more."""

_RIDGE = 1e-4


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationOptions:
    """On which validation episodes the temperature is fitted.

    Attributes:
        ways: Each of these, as far as the learner has slots and the pool has classes.
        shots: With each of these, as far as the pool has images.
        queries: Query images of a class.
        episodes: Episodes of each pair.
        seed: Of the draws.
    """

    ways: tuple[int, ...] = (5, 10, 20)
    shots: tuple[int, ...] = (1, 2, 3, 5)
    queries: int = 5
    episodes: int = 20
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationReport:
    """Mean negative log-likelihood of the episodes' queries in nats, before and after."""

    before: float
    after: float


def predict_calibrated(
    learner: Learner, state: State, features: Tensor
) -> tuple[Tensor, Tensor | None]:
    """What a bundle predicts: `learner.predict`, its logits at the fitted temperature.

    Without a fit the temperature is exactly 1; values have none.
    """
    prediction, variance = predict_both(learner, state, features)
    if learner.options.task == "regression":
        return prediction, variance
    counts = state["counts"]
    used = counts > 0
    num_used = used.to(counts.dtype).sum().clamp(min=1.0)
    shots = counts.sum() / num_used
    scale = torch.exp(_terms(shots, num_used) @ learner.calibration.to(counts.dtype))
    return torch.where(used, prediction * scale, UNUSED_LOGIT), variance


def fit_calibration(
    learner: Learner, pool: ImagePool, options: CalibrationOptions | None = None
) -> CalibrationReport:
    """Fit the temperature of a trained learner; its other weights stay as they are.

    Args:
        learner: In eval mode; `learner.calibration` is set.
        pool: Validation classes.
        options: The episodes.

    Raises:
        InvalidOptionError: The learner learns values.
        NotEnoughImagesError: The pool cannot supply any of the episodes.
    """
    if learner.options.task != "classification":
        msg = "only predictions of labels have a temperature"
        raise InvalidOptionError(msg)
    o = CalibrationOptions() if options is None else options
    cells = _collect(copy.deepcopy(learner).eval(), pool, o)
    coefficients = torch.zeros_like(learner.calibration, dtype=torch.float64).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [coefficients], max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
    )

    def nll() -> Tensor:
        losses = [
            functional.cross_entropy(logits * torch.exp(terms @ coefficients), labels)
            for terms, logits, labels in cells
        ]
        return torch.stack(losses).mean()

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nll() + _RIDGE * (coefficients[1:] ** 2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.no_grad():
        before = nll().item()
    optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        after = nll().item()
        if not math.isfinite(after) or after > before:  # the fit is never worse than none
            coefficients.zero_()
            after = before
        learner.calibration.copy_(coefficients)
    return CalibrationReport(before=before, after=after)


def _collect(
    learner: Learner, pool: ImagePool, o: CalibrationOptions
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """(terms, logits `[n, ways]`, labels `[n]`) of each pair of ways and shots."""
    rng = np.random.default_rng(o.seed)
    cells = []
    missing: NotEnoughImagesError | None = None
    for ways in sorted({min(ways, learner.options.ways) for ways in o.ways}):
        for shots in o.shots:
            try:
                sampler = EpisodeSampler(
                    pool, EpisodeOptions(ways=ways, shots=shots, queries=o.queries)
                )
            except NotEnoughImagesError as error:
                missing = error
                continue
            with torch.no_grad():
                batches = [sampler.draw(rng) for _ in range(o.episodes)]
                logits = [episode_logits(learner, batch).flatten(0, 1) for batch in batches]
            labels = [torch.from_numpy(batch.query_y).flatten() for batch in batches]
            like = torch.tensor
            terms = _terms(like(float(shots)).double(), like(float(ways)).double())
            cells.append((terms, torch.cat(logits).double(), torch.cat(labels)))
    if not cells and missing is not None:
        raise missing
    return cells


def _terms(shots: Tensor, ways: Tensor) -> Tensor:
    """1, log k, log w, (log k)^2, log k log w; `[5]`."""
    k = torch.log(shots.clamp(1.0, MOST_SHOTS))
    w = torch.log(ways.clamp(1.0, MOST_WAYS))
    return torch.stack([torch.ones_like(k), k, w, k * k, k * w])
