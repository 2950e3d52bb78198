from __future__ import annotations

import json
from dataclasses import replace

import pytest

from federated.demo.checks import check_study
from federated.demo.result import as_json
from federated.demo.wording import duration, interval, number, percent, points, size, span
from tests.unit.federated.demo.samples import a_result, a_study, mean


def test_the_json_holds_every_figure_and_no_picture() -> None:
    text = json.dumps(as_json(a_result()), allow_nan=False)
    found = json.loads(text)
    assert found["studies"][0]["few_shot"]["by_shots"][0]["gain"]["mean"] == 0.08
    assert found["studies"][0]["federated"]["lift"]["half_width"] == 0.01
    assert found["studies"][0]["checks"][0]["met"] is True
    assert found["versions"] == {"edge-sdk": "0.1.0"}
    assert "pictures" not in text


def test_a_good_study_meets_all_targets() -> None:
    assert a_result().missed == ()


def test_the_gain_targets_are_five_points_at_one_shot_and_three_at_five() -> None:
    missed = {check.name for check in check_study(a_study(gain=0.04)) if not check.met}
    assert missed == {"1 example a class"}
    missed = {check.name for check in check_study(a_study(gain=0.02)) if not check.met}
    assert missed == {"1 example a class", "5 examples a class"}


def test_a_gain_that_is_not_a_number_is_a_miss() -> None:
    missed = {check.name for check in check_study(a_study(gain=float("nan"))) if not check.met}
    assert missed == {"1 example a class", "5 examples a class"}


@pytest.mark.parametrize(
    ("part", "changes", "name"),
    [
        ("federated", {"lift": mean(0.01, 0.02)}, "federated lift"),
        ("federated", {"unchanged": False}, "same graphs after rounds"),
        ("personal", {"forget_exact": False}, "exact forgetting"),
        ("personal", {"predicted_after": 1}, "forgotten class"),
        ("personal", {"reopened_same": False}, "reopening"),
        ("personal", {"log_whole": False}, "audit log"),
        ("export", {"drop": mean(0.02)}, "cost of int8"),
        ("export", {"parity_update_error": float("nan")}, "parity of the update"),
        ("export", {"parity_logit_error": 0.1}, "parity of the logits"),
    ],
)
def test_each_guard_can_fail(part: str, changes: dict[str, object], name: str) -> None:
    study = a_study()
    broken = replace(study, **{part: replace(getattr(study, part), **changes)})
    assert [check.name for check in check_study(broken) if not check.met] == [name]


def test_no_lift_after_teaching_is_a_miss_and_no_teaching_is_no_check() -> None:
    study = a_study()
    assert study.federated.taught is not None
    taught = replace(study.federated.taught, gain=mean(0.0, 0.05))
    weak = replace(study, federated=replace(study.federated, taught=taught))
    assert [c.name for c in check_study(weak) if not c.met] == ["lift after teaching"]
    names = {check.name for check in check_study(a_study(taught=False))}
    assert "lift after teaching" not in names


def test_how_figures_are_written() -> None:
    assert percent(0.9241) == "92.4 %"
    assert points(0.07, sign=True) == "+7.0 points"
    assert points(-0.07) == "\N{MINUS SIGN}7.0 points"
    assert points(-0.0001) == "0.0 points"
    assert points(-0.105) == "\N{MINUS SIGN}10.5 points"
    assert interval(mean(0.0, 0.05)) == "[\N{MINUS SIGN}5.0, 5.0]"
    assert (size(129_353), size(8_192)) == ("129 kB", "8.2 kB")
    assert (duration(0.308), duration(0.084)) == ("0.31 ms", "84 µs")
    assert (span(74.2), span(125)) == ("1 min 14 s", "2 min 5 s")
    assert number(1000) == "1,000"
