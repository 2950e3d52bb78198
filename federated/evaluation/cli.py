"""What `edge-sdk federated` asks and says about the judging of a candidate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from federated.evaluation.options import EvaluationOptions

if TYPE_CHECKING:
    from federated.evaluation.run import EvaluationReport

_DEFAULTS = EvaluationOptions()

Judges = Annotated[
    int,
    typer.Option(
        "--judges", help="Devices that judge the candidate before it is promoted; 0: none do."
    ),
]
Margin = Annotated[
    float, typer.Option("--margin", help="How much worse it may be: a share of right answers.")
]
MinJudges = Annotated[
    int, typer.Option("--min-judges", help="Judgements without which it is not promoted.")
]
JudgeNoise = Annotated[
    float,
    typer.Option(
        "--judge-noise", help="In private rounds: noise over what one user changes in the counts."
    ),
]

MARGIN = _DEFAULTS.margin
MIN_JUDGES = _DEFAULTS.min_devices
JUDGE_NOISE = _DEFAULTS.noise_multiplier


def evaluation_options(
    judges: int, margin: float, min_judges: int, judge_noise: float
) -> EvaluationOptions | None:
    """What the options on the command line ask for; None where nobody judges.

    Raises:
        InvalidOptionError: A value is out of range.
    """
    if not judges:
        return None
    return EvaluationOptions(
        devices=judges, margin=margin, min_devices=min_judges, noise_multiplier=judge_noise
    )


def outcome(report: EvaluationReport | None, bundle: object) -> str:
    """The last lines of a run: how the candidate was judged, and which bundle is current."""
    if report is None:
        return f"new bundle: {bundle}"
    said = report.verdict.for_people()
    if report.verdict.promoted:
        return f"{said}\nnew bundle: {bundle}"
    return f"{said}\nThe old bundle stays current; the checkpoint is kept for more rounds."
