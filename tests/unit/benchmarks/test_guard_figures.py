"""How benchmarks/guard counts: on outcomes made up so that the answers are known."""

from __future__ import annotations

import pytest

pytest.importorskip("onnx", reason="needs the extra export")

from benchmarks.guard.drift import per_thousand
from benchmarks.guard.figures import Cell, by_user, harm, keep_rates, pooled_harm, power
from benchmarks.guard.guardrail import verdicts
from benchmarks.guard.simulation import Outcome


def outcome(user: int, difference: float, *, kept: bool, **more: float) -> Outcome:
    return Outcome(
        user=user,
        base=0.5,
        personal=0.5 + difference,
        served=0.5 + difference * kept,
        decision="keep" if kept else "shadow",
        reason="",
        gap=0.0,
        suspect_share=0.0,
        num_taught=int(more.get("num_taught", 80)),
        p_worse=more.get("p_worse", 1.0),
    )


def cells(poison: float, *outcomes: Outcome) -> list[Cell]:
    return by_user(poison, outcomes)


def test_models_are_counted_by_the_mean_difference_over_splits() -> None:
    # 4 and 16 points better: 10 on average; and one who is 10 points worse, and one 30
    found = keep_rates(
        cells(
            0.0,
            outcome(0, 0.04, kept=False),
            outcome(0, 0.16, kept=True),
            outcome(1, -0.1, kept=True),
            outcome(2, -0.3, kept=False),
        )
    )
    assert (found["+10"]["mean"], found["+10"]["models"]) == (0.5, 2)
    assert (found["-10"]["mean"], found["-10"]["models"]) == (1.0, 1)
    assert (found["-30"]["mean"], found["-30"]["models"]) == (0.0, 1)


def test_honest_teachers_are_counted_apart_from_poisoned_ones() -> None:
    both = cells(0.0, outcome(0, 0.1, kept=True)) + cells(0.3, outcome(1, 0.1, kept=False))
    found = keep_rates(both)
    assert found["+10"]["mean"] == 0.5
    assert found["+10, honest labels"]["mean"] == 1
    assert found["-10, honest labels"] == {"models": 0, "users": 0}


def test_power_is_by_how_many_examples_were_taught() -> None:
    found = power(
        cells(0.0, outcome(0, 0.1, kept=False, num_taught=20))
        + cells(0.0, outcome(1, 0.1, kept=True, num_taught=150))
        + cells(0.5, outcome(2, 0.1, kept=False, num_taught=150))
    )
    assert [rate.get("mean") for rate in found.values()] == [0.0, None, 1.0]


def test_harm_is_of_what_users_get_and_names_the_worst() -> None:
    found = harm(
        cells(
            0.3,
            outcome(0, -0.4, kept=False),
            outcome(1, -0.04, kept=True, p_worse=0.01),
            outcome(2, 0.1, kept=True),
        )
    )
    assert found["served minus base"]["mean"] == pytest.approx(0.02)
    assert (found["worst"], found["more than 1 point under"], found["of"]) == (-0.04, 1, 3)
    assert (found["kept models"], found["kept models shown worse"]) == (2, 1)
    assert found["without guardrail"]["worst"] == -0.4
    assert found["users more than 1 point under over all of these"] == 1


def test_the_worst_scenario_is_found_and_the_verdict_rests_on_it() -> None:
    scenarios = {"good": cells(0.3, outcome(0, 0.2, kept=True))}
    for share in (0.1, 0.5):
        scenarios[f"{share}"] = cells(share, outcome(0, 0.0, kept=False))
    scenarios["bad"] = cells(0.3, outcome(0, -0.02, kept=True))
    got = pooled_harm(scenarios)
    assert got["0.3 poisoned"]["worst scenario"]["which"] == "bad"
    rates = keep_rates(cells(0.0, outcome(0, 0.1, kept=True)))
    found = verdicts(rates, got)
    met = {name: verdict["met"] for name, verdict in found.items()}
    assert met == {
        "kept of those 30 points worse, at most": False,  # none was seen
        "kept of those 10 points worse, at most": False,
        "kept of those 10 points better, at least": True,
        "served minus base with 0.1 poisoned, at least": True,
        "served minus base with 0.3 poisoned, at least": False,
        "served minus base with 0.5 poisoned, at least": True,
    }


def test_the_upper_end_of_a_rate_is_the_poisson_interval_of_the_tables() -> None:
    for alarms, high in ((0, 3.689), (1, 5.572), (5, 11.668), (10, 18.390)):  # Garwood's table
        found = per_thousand(alarms, 1000)
        assert found["high"] == pytest.approx(high, abs=1e-3)
        assert found["per 1000"] == alarms
