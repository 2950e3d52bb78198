"""Attacks on what federated rounds release: who took part (LiRA), and with which image.

Users hold a few images of scikit-learn's digits and adapt a softmax head on standardized pixels, as
a device with a frozen backbone would; the rounds are those of the round core.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from sklearn.datasets import load_digits

from edge_sdk.grid import flatten
from edge_sdk.update import ModelUpdate, clip_to_norm
from federated.privacy.mechanism import plan_noise, release, sum_on_grid
from federated.round_core import PrivateRounds, Reply, RoundOptions, RoundTask, run_rounds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_DIGEST = "0" * 64
_WAYS, _DIM = 10, 64
_RELEASES = 5


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """Users and their images.

    Attributes:
        x: Standardized pixels, float64 `[users, images, 64]`.
        y: Digits, int64 `[users, images]`.
        options: The rounds that they take part in.
        learning_rate: Of the head on the device.
        steps: Of the head on the device.
    """

    x: NDArray[np.float64]
    y: NDArray[np.int64]
    options: RoundOptions = field(default_factory=RoundOptions)
    learning_rate: float = 0.5
    steps: int = 10


def digit_users(users: int, images: int, seed: int, options: RoundOptions) -> Crowd:
    """Share out digits at random; no image is anybody else's."""
    digits = load_digits()
    x = digits.data.astype(np.float64)
    x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1.0)
    rows = np.random.default_rng(seed).permutation(len(x))[: users * images]
    return Crowd(
        x=x[rows].reshape(users, images, _DIM),
        y=digits.target[rows].reshape(users, images).astype(np.int64),
        options=options,
    )


def adapted(
    shared: Mapping[str, NDArray[np.float32]],
    x: NDArray[np.float64],
    y: NDArray[np.int64],
    learning_rate: float,
    steps: int,
) -> dict[str, NDArray[np.float32]]:
    """The change of a softmax head by gradient descent on one user's images, not clipped yet."""
    weight, bias = (shared[name].astype(np.float64) for name in ("weight", "bias"))
    target = np.eye(_WAYS)[y]
    for _ in range(steps):
        gap = (softmax(x @ weight.T + bias) - target) / len(x)
        weight = weight - learning_rate * gap.T @ x
        bias = bias - learning_rate * gap.sum(axis=0)
    return {
        "weight": (weight - shared["weight"]).astype(np.float32),
        "bias": (bias - shared["bias"]).astype(np.float32),
    }


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Row by row."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def start() -> dict[str, NDArray[np.float32]]:
    """A head that knows nothing."""
    return {"weight": np.zeros((_WAYS, _DIM), np.float32), "bias": np.zeros(_WAYS, np.float32)}


def trained(
    crowd: Crowd, members: NDArray[np.bool_], private: PrivateRounds | None, seed: int
) -> dict[str, NDArray[np.float32]]:
    """The head after rounds over the members."""
    names = [f"{i:05d}" for i in np.flatnonzero(members)]

    def collect(task: RoundTask) -> list[Reply]:
        replies = []
        for client in task.cohort:
            x, y = crowd.x[int(client)], crowd.y[int(client)]
            delta = adapted(task.shared, x, y, crowd.learning_rate, crowd.steps)
            clipped = clip_to_norm(delta, task.clipping_norm)
            replies.append(Reply(client_id=client, update=ModelUpdate(_DIGEST, clipped)))
        return replies

    options = RoundOptions(
        rounds=crowd.options.rounds,
        cohort_size=crowd.options.cohort_size,
        clipping_norm=crowd.options.clipping_norm,
        seed=seed,
    )
    return run_rounds(start(), names, _DIGEST, options, collect, privacy=private).shared


def confidences(crowd: Crowd, shared: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float64]:
    """Mean logit of the right label's probability, for each user: what LiRA compares; `[users]`."""
    flat = crowd.x.reshape(-1, _DIM)
    chances = softmax(flat @ shared["weight"].astype(np.float64).T + shared["bias"])
    right = chances[np.arange(len(flat)), crowd.y.reshape(-1)]
    right = np.clip(right, 1e-9, 1 - 1e-9)
    return np.log(right / (1 - right)).reshape(crowd.y.shape).mean(axis=1)


def lira(scores: NDArray[np.float64], members: NDArray[np.bool_], rate: float) -> dict[str, float]:
    """Membership inference by likelihood ratios (Carlini et al., IEEE S&P 2022).

    Each run in turn is the target, and all others are its shadows.

    Args:
        scores: Confidences, `[runs, users]`.
        members: Who took part, `[runs, users]`.
        rate: False positive rate.

    Returns:
        The true positive rate at it, over all users and runs, and the area under the curve.
    """
    ratios = np.empty_like(scores)
    for run in range(len(scores)):
        others = np.arange(len(scores)) != run
        inside, known = members[others], scores[others]
        center_in = np.nanmean(np.where(inside, known, np.nan), axis=0)
        center_out = np.nanmean(np.where(inside, np.nan, known), axis=0)
        spread = np.where(inside, known - center_in, known - center_out).std() + 1e-12
        ratios[run] = (scores[run] - center_out) ** 2 - (scores[run] - center_in) ** 2
        ratios[run] /= 2 * spread**2
    positives, negatives = np.sort(ratios[members]), np.sort(ratios[~members])
    threshold = np.quantile(negatives, 1 - rate)
    below = np.searchsorted(negatives, positives) / len(negatives)
    return {
        "true_positive_rate": float(np.mean(positives > threshold)),
        "area_under_curve": float(below.mean()),
        "members": int(members.sum()),
    }


def recovery(
    crowd: Crowd, private: PrivateRounds | None, victims: int, *, present: bool, company: int = 0
) -> dict[str, float]:
    """Cosine of the image that an attacker reads from a release of one user's first step.

    The user has one image, and the attacker knows its label: the row of that label is the image,
    scaled, and what else is in the sum. Alone in the round is the worst case.

    Args:
        crowd: Whose images.
        private: The noise of the release; None for none.
        victims: How many users are attacked, each in `_RELEASES` releases.
        present: False leaves the victim out: what the attack finds in the rest of the release.
        company: Other users in the round, who adapt as usual.

    Returns:
        Mean and standard deviation of the cosine over releases, and how many there were.
    """
    norm = crowd.options.clipping_norm
    others = [
        clip_to_norm(adapted(start(), x, y, crowd.learning_rate, crowd.steps), norm)
        for x, y in (zip(crowd.x, crowd.y, strict=True) if company else ())
    ]
    found = []
    for release_number in range(victims * _RELEASES):
        victim = release_number // _RELEASES
        x, label = crowd.x[victim, :1], crowd.y[victim, :1]
        delta = adapted(start(), x, label, crowd.learning_rate, 1)
        rng = np.random.default_rng(release_number)
        drawn = rng.choice(len(others) - 1, company, replace=False) if company else ()
        updates = [others[user + (user >= victim)] for user in drawn]
        updates += [clip_to_norm(delta, norm)] if present else []
        flat = _released(updates, private, norm, f"recovery {present} {release_number}")
        row = flat[_WAYS:].reshape(_WAYS, _DIM)[label[0]]  # after the bias, by name
        found.append(float(row @ x[0] / (np.linalg.norm(row) * np.linalg.norm(x[0]))))
    return {
        "mean": float(np.mean(found)),
        "deviation": float(np.std(found)),
        "releases": len(found),
    }


def _released(
    updates: list[dict[str, NDArray[np.float32]]],
    private: PrivateRounds | None,
    norm: float,
    purpose: str,
) -> NDArray[np.float64]:
    """What a round of these clipped updates releases, as `flatten` orders it."""
    if private is None:
        exact: NDArray[np.float64] = np.sum([flatten(one).astype(np.float64) for one in updates], 0)
        return exact
    plan = plan_noise(private.options, norm, _WAYS * (_DIM + 1))
    return release(sum_on_grid(updates, plan.grid), plan, private.words(0, purpose))
