"""What the report of a round says: of single updates, or of a sum and no part of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from federated.errors import TooFewContributorsError
from federated.rounds.records import RoundReport

if TYPE_CHECKING:
    from federated.privacy.mechanism import CohortTotal
    from federated.rounds.admission import Admission
    from federated.rounds.records import RoundTask


def sum_report(task: RoundTask, outcome: CohortTotal) -> RoundReport:
    """What there is to say of a round before its sum is used."""
    counts, num_accepted = outcome.counts, outcome.num_contributors
    missing = counts.num_missing
    if missing is None:
        missing = len(task.cohort) - num_accepted - sum(outcome.failed.values())
    return RoundReport(
        server_round=task.server_round,
        num_sampled=len(task.cohort),
        num_accepted=num_accepted,
        num_missing=missing,
        mean_update_norm=None,
        clipping_norm=task.clipping_norm,
        refused=dict(sorted(counts.refused.items())),
        failed=dict(sorted(outcome.failed.items())),
        given_up=dict(sorted(counts.given_up.items())),
    )


def too_few(report: RoundReport) -> RoundReport:
    """Of a round that is refused: fewer devices than its noise needs, so that nothing is used."""
    given_up = {**report.given_up, TooFewContributorsError.code: 1}
    return replace(report, num_accepted=0, given_up=given_up)


def admitted_report(task: RoundTask, admission: Admission) -> RoundReport:
    """What there is to say of a round's replies once all have been read."""
    return RoundReport(
        server_round=task.server_round,
        num_sampled=len(task.cohort),
        num_accepted=len(admission.norms),
        num_missing=admission.num_missing,
        num_clipped=admission.num_clipped,
        refused=dict(sorted(admission.refused.items())),
        failed=dict(sorted(admission.failed.items())),
        clipping_norm=task.clipping_norm,
    )
