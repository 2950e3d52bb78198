from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from edge_sdk.errors import InvalidOptionError
from edge_sdk.judgement import ACCURACY_STEPS, Judgement
from edge_sdk.random_words import SeededWords
from federated.evaluation.counts import BINS, noise_sigma, release, total
from federated.evaluation.options import EvaluationOptions
from federated.evaluation.verdict import Reason, Verdict, decide, worst_decile

OPTIONS = EvaluationOptions(margin=0.01)


def users(
    count: int, gain: float, *, spread: float = 0.1, seed: int = 0
) -> tuple[list[Judgement], np.ndarray]:
    """Users around 60 % whose gains lie around `gain`; and their exact accuracies `[count, 2]`."""
    rng = np.random.default_rng(seed)
    current = np.clip(rng.normal(0.6, 0.15, count), 0.05, 0.95)
    candidate = np.clip(current + gain + spread * rng.normal(size=count), 0, 1)
    steps = np.round(ACCURACY_STEPS * np.stack([current, candidate], axis=1)).astype(int)
    made = [Judgement(current=int(a), candidate=int(b)) for a, b in steps]
    return made, steps / ACCURACY_STEPS


def verdict(
    count: int,
    gain: float,
    *,
    noise: float | None = None,
    seed: int = 0,
    options: EvaluationOptions = OPTIONS,
    spread: float = 0.1,
) -> Verdict:
    words = None if noise is None else SeededWords(np.random.default_rng(seed + 1000))
    exact = total(users(count, gain, seed=seed, spread=spread)[0])
    return decide(release(exact, noise_sigma(noise or 1.0), words), options)


def test_without_noise_the_figures_are_those_of_the_users() -> None:
    made, exact = users(200, 0.05)
    found = decide(release(total(made), 1, None), OPTIONS)
    assert found.promoted
    assert found.reason == Reason.NOT_WORSE
    assert found.devices == 200
    assert found.candidate.mean == pytest.approx(exact[:, 1].mean())
    assert found.current.mean == pytest.approx(exact[:, 0].mean())
    gains = exact[:, 1] - exact[:, 0]
    assert found.gain == pytest.approx(gains.mean())
    half = 1.645 * gains.std(ddof=1) / np.sqrt(200)
    assert found.gain - found.gain_low == pytest.approx(half, rel=0.02)
    for served, column in ((found.current, 0), (found.candidate, 1)):
        worst = np.sort(exact[:, column])[:20].mean()
        assert served.worst_decile == pytest.approx(worst, abs=0.5 / BINS + 0.01)


@pytest.mark.parametrize(
    ("gain", "noise", "count", "reason"),
    [
        (0.05, None, 200, Reason.NOT_WORSE),
        (-0.05, None, 200, Reason.WORSE),
        (-0.01, None, 200, Reason.NOT_SHOWN),
        (0.05, None, 9, Reason.TOO_FEW),
        (0.2, 2.0, 300, Reason.NOT_WORSE),
        (-0.2, 2.0, 300, Reason.WORSE),
        (0.0, 2.0, 5000, Reason.NOT_WORSE),
        (0.2, 50.0, 300, Reason.TOO_FEW),  # the noise on the count is 274 users
    ],
)
def test_a_candidate_is_promoted_only_where_it_is_shown_not_to_be_worse(
    gain: float, noise: float | None, count: int, reason: Reason
) -> None:
    found = verdict(count, gain, noise=noise)
    assert found.reason == reason
    assert found.promoted == (reason == Reason.NOT_WORSE)
    assert found.gain_low <= found.gain <= found.gain_high


def test_a_candidate_on_the_margin_is_promoted_as_rarely_as_the_confidence_says() -> None:
    """The worst case that must be kept out: exactly the margin worse. 200 draws."""
    options = EvaluationOptions(margin=0.05)
    for noise in (None, 2.0):
        wrong = sum(
            verdict(100, -0.05, noise=noise, seed=seed, options=options).promoted
            for seed in range(200)
        )
        assert wrong <= 200 * 0.05 + 4 * np.sqrt(200 * 0.05 * 0.95)


def test_the_interval_holds_the_true_gain() -> None:
    inside = 0
    for seed in range(100):
        found = verdict(200, 0.1, noise=2.0, seed=seed)
        exact = users(200, 0.1, seed=seed)[1]
        inside += found.gain_low <= (exact[:, 1] - exact[:, 0]).mean() <= found.gain_high
    assert inside >= 0.9 * 100 - 4 * np.sqrt(100 * 0.09)


def test_noise_does_not_invent_badly_served_users() -> None:
    """All users are well served; clipping each noised bin at 0 would put hundreds below."""
    made = [Judgement(current=900, candidate=900)] * 2000
    found = [
        decide(
            release(total(made), noise_sigma(2.0), SeededWords(np.random.default_rng(seed))),
            OPTIONS,
        ).candidate.worst_decile
        for seed in range(40)
    ]
    assert np.mean(found) == pytest.approx(900 / 1024, abs=0.06)


def test_the_worst_decile_of_a_histogram() -> None:
    histogram = np.zeros(BINS)
    histogram[2], histogram[15] = 5, 95
    # ten of a hundred: five in bin 2, five in bin 15
    assert worst_decile(histogram) == pytest.approx((2.5 + 15.5) / 2 / BINS)
    assert worst_decile(np.zeros(BINS)) == 0
    assert worst_decile(-np.ones(BINS)) == 0


def test_figures_stay_in_range_whatever_the_noise() -> None:
    for seed in range(50):
        found = verdict(3, 0.1, noise=50.0, seed=seed)
        for value in (found.gain, found.gain_low, found.gain_high):
            assert -1 <= value <= 1
        for served in (found.current, found.candidate):
            assert 0 <= served.mean <= 1
            assert 0 <= served.worst_decile <= 1
        assert found.devices >= 0


def test_a_verdict_survives_json_and_speaks_to_people() -> None:
    found = verdict(200, 0.05)
    assert Verdict.read(asdict(found)) == found
    text = found.for_people()
    assert "was promoted" in text
    assert "Over 200 devices" in text
    assert "least -1.0 was asked for" in text
    assert "ask more devices" in verdict(200, -0.01).for_people()


@pytest.mark.parametrize(
    "bad",
    [
        {"devices": 0}, {"devices": True}, {"margin": -0.1}, {"margin": 1.0}, {"confidence": 0.5},
        {"confidence": 1.0}, {"min_devices": 1}, {"noise_multiplier": 0.0}, {"folds": 1},
        {"noise_multiplier": float("inf")}, {"folds": 101},
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(InvalidOptionError, match=f"^{next(iter(bad))} must be"):
        EvaluationOptions(**bad)  # type: ignore[arg-type]
    with pytest.raises(InvalidOptionError, match="at most"):
        noise_sigma(1e9)
