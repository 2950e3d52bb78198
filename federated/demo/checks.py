"""The targets and guards of a study: what was asked, what was found, whether it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from federated.demo.result import Check
from federated.demo.wording import interval, percent, points

if TYPE_CHECKING:
    from federated.demo.result import StudyResult

GAIN_TARGETS = {1: 0.05, 5: 0.03}
"""Shots to the least mean gain over the better baseline, 0..1."""


def check_study(study: StudyResult) -> tuple[Check, ...]:
    """All targets and guards of `study`, its own `checks` left aside."""
    return (*_gains(study), *_rounds(study), *_export(study), *_personal(study))


def _gains(study: StudyResult) -> list[Check]:
    checks = []
    for shots, least in GAIN_TARGETS.items():
        found = study.few_shot.at(shots)
        checks.append(
            Check(
                name=f"{shots} example{'s' if shots > 1 else ''} a class",
                asked=f"at least {points(least)} over the better baseline",
                found=f"{points(found.gain.mean, sign=True)} {interval(found.gain)} "
                f"over {found.better}",
                met=found.gain.mean >= least,
            )
        )
    return checks


def _rounds(study: StudyResult) -> list[Check]:
    federated = study.federated
    checks = [
        Check(
            name="federated lift",
            asked="interval excludes zero",
            found=f"{points(federated.lift.mean, sign=True)} {interval(federated.lift)}",
            met=federated.lift.low > 0,
        )
    ]
    if federated.taught is not None:
        gain = federated.taught.gain
        checks.append(
            Check(
                name="lift after teaching",
                asked="interval excludes zero",
                found=f"{points(gain.mean, sign=True)} {interval(gain)}",
                met=gain.low > 0,
            )
        )
    checks.append(
        Check(
            name="same graphs after rounds",
            asked="only the starting state changes",
            found="byte for byte" if federated.unchanged else "a graph changed",
            met=federated.unchanged,
        )
    )
    return checks


def _export(study: StudyResult) -> list[Check]:
    export = study.export
    return [
        Check(
            name="parity of the update",
            asked=f"relative error within {export.parity_update_limit:.0e} of float64",
            found=f"{export.parity_update_error:.1e}",
            met=export.parity_update_error <= export.parity_update_limit,
        ),
        Check(
            name="parity of the logits",
            asked=f"relative error within {export.parity_logit_limit:.0e} of float64",
            found=f"{export.parity_logit_error:.1e}",
            met=export.parity_logit_error <= export.parity_logit_limit,
        ),
        Check(
            name="cost of int8",
            asked=f"at most {points(export.max_drop)}",
            found=f"{points(export.drop.mean)} {interval(export.drop)}; "
            f"{percent(export.int8.mean)} on validation",
            met=export.drop.mean <= export.max_drop,
        ),
    ]


def _personal(study: StudyResult) -> list[Check]:
    personal = study.personal
    return [
        Check(
            name="exact forgetting",
            asked="bits of a state never taught the class",
            found="identical" if personal.forget_exact else "different",
            met=personal.forget_exact,
        ),
        Check(
            name="forgotten class",
            asked="not predicted any more",
            found=f"{personal.predicted_before} predictions before, "
            f"{personal.predicted_after} after",
            met=personal.predicted_after == 0,
        ),
        Check(
            name="reopening",
            asked="same state bits",
            found="identical" if personal.reopened_same else "different",
            met=personal.reopened_same,
        ),
        Check(
            name="audit log",
            asked="verifies from its first entry to its last",
            found=f"{personal.logged} entries, {'whole' if personal.log_whole else 'damaged'}",
            met=personal.log_whole and personal.logged > 0,
        ),
    ]
