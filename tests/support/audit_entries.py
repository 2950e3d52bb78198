"""One entry of each kind that the library writes in a user's life."""

from __future__ import annotations

from edge_sdk.audit_entries import (
    Adapted,
    AuditEntry,
    BundleOpened,
    ConsentChanged,
    Drifted,
    EpsilonSpent,
    Erased,
    Forgot,
    JudgementSent,
    RolledBack,
    Taught,
    UpdateSent,
)

DIGEST = "ab" * 32
ENTRIES: tuple[AuditEntry, ...] = (
    BundleOpened(bundle_digest=DIGEST, bundle_version=3),
    Taught(num_examples=5, num_kept=9),
    Adapted(
        bundle_digest=DIGEST,
        num_examples=9,
        num_labels=2,
        num_judged=9,
        decision="keep",
        serve="candidate",
        reason="better_than_base",
        support_accuracy=1.0,
        held_out_accuracy=0.75,
        base_accuracy=None,
    ),
    Drifted(signal="errors_rose", advice="teach_again", num_events=77, fell_back=True),
    Forgot(num_examples=5, num_kept=4),
    RolledBack(num_examples=4),
    JudgementSent(bundle_digest=DIGEST, num_examples=4, consent_id=None),
    UpdateSent(bundle_digest=DIGEST, num_examples=4, clipping_norm=1.5, consent_id=None),
    EpsilonSpent(epsilon=0.5, total_epsilon=2, target_delta=1e-6),
    ConsentChanged(consent_id="0f8fad5b-d9cb-469f-a165-70867728950e", granted=True),
    Erased(num_examples=4),
)
