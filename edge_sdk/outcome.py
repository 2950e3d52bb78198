"""What follows from a guardrail's or a drift monitor's report: pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.audit_entries import Adapted, Drifted
from edge_sdk.events import EventKind
from edge_sdk.guardrail import Probe, judge
from edge_sdk.guardrail_rule import Decision, Serve

if TYPE_CHECKING:
    from edge_sdk._core import State
    from edge_sdk.arrays import Float32Array, Int64Array
    from edge_sdk.drift import DriftReport
    from edge_sdk.engine import Engine
    from edge_sdk.guardrail import GuardrailReport
    from edge_sdk.guardrail_rule import GuardrailOptions


def serve_of(report: GuardrailReport | None) -> Serve:
    """Which state users get; the candidate, where no guardrail was asked."""
    return Serve.CANDIDATE if report is None else report.serve


def event_of(report: GuardrailReport | None, num_examples: int) -> tuple[EventKind, str]:
    """The event to tell: its kind and detail."""
    if report is None:
        return EventKind.ADAPTED, f"to {num_examples} examples"
    if report.decision is Decision.KEEP:
        return EventKind.ADAPTED, f"to {num_examples} examples: {report.reason}"
    kind = EventKind.SHADOWED if report.decision is Decision.SHADOW else EventKind.REVERTED
    serves = "the bundle's own state" if report.serve is Serve.BASE else "the state before"
    return kind, f"{report.reason}; {serves} answers"


def entry_of(
    bundle_digest: str, num_examples: int, num_labels: int, report: GuardrailReport | None
) -> Adapted:
    """The entry for the audit log."""
    return Adapted(
        bundle_digest=bundle_digest,
        num_examples=num_examples,
        num_labels=num_labels,
        num_judged=0 if report is None else report.num_judged,
        decision=None if report is None else report.decision.value,
        serve=None if report is None else report.serve.value,
        reason=None if report is None else report.reason.value,
        support_accuracy=None if report is None else report.support_accuracy,
        held_out_accuracy=None if report is None else report.held_out_accuracy,
        base_accuracy=None if report is None else report.base_accuracy,
    )


def judge_again(
    engine: Engine,
    features: Float32Array,
    targets: Int64Array | Float32Array,
    state: State,
    options: GuardrailOptions,
) -> GuardrailReport:
    """Judge a state that answers already, under a new bundle.

    Args:
        engine: The new bundle.
        features: What the state was adapted on, float32 `[n, *features.shape]`, n >= 1.
        targets: Label slots, int64 `[n]`, or values, float32 `[n, outputs]`.
        state: The new bundle's starting state adapted to them.
        options: Thresholds.
    """
    everything = np.ones(len(targets), dtype=bool)
    return judge(
        engine,
        features,
        targets,
        state,
        current=everything,
        probe=Probe.of(engine),
        options=options,
    )


def drift_entry(report: DriftReport, *, fell_back: bool) -> Drifted:
    """The entry for the audit log."""
    return Drifted(
        signal=report.signal.value,
        advice=report.advice.value,
        num_events=report.num_events,
        fell_back=fell_back,
    )
