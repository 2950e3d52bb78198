"""Which replies of a round are used: each is checked, clipped again, and counted if refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.update import clip_to_norm, joint_norm
from federated.rounds.records import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge_sdk.update import ModelUpdate
    from federated.rounds.records import Reply, RoundTask, Tensors

CLIP_SLACK = 1e-5
"""A device clips in float32, so an honest update may be this much (relative) above the bound."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Admitted:
    """The replies of a round, sorted out.

    Attributes:
        updates: Clipped deltas by client id, in the order of the ids.
        num_clipped: Updates that the server had to clip.
        refused: Replies not used, by `Refusal`.
        failed: Clients that reported an error, by its code.
        num_missing: Sampled clients of which no reply was there.
    """

    updates: Mapping[str, Tensors]
    num_clipped: int
    refused: dict[str, int]
    failed: dict[str, int]
    num_missing: int


def admit(task: RoundTask, replies: Sequence[Reply]) -> Admitted:
    """Take the replies that can be used, in the order they came, until the round closes.

    A client counts once a round, with its first usable update, however many examples it has; the
    bound does not rest on what a client claims.
    """
    refused: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    accepted: dict[str, Tensors] = {}
    num_clipped = 0
    sampled = frozenset(task.cohort)
    bound = task.arriving_norm or task.clipping_norm
    for reply in replies:
        if reply.update is None:
            malformed = reply.failure == Refusal.MALFORMED
            (refused if malformed else failed)[str(reply.failure or "unknown")] += 1
            continue
        reason = _refusal(reply, reply.update, task, sampled, accepted)
        if reason is not None:
            refused[str(reason)] += 1
            continue
        delta = reply.update.delta
        norm = joint_norm(delta)
        num_clipped += norm > bound * (1 + CLIP_SLACK)
        # An honest update is not copied: of a large cohort, the copies are most of the work.
        accepted[reply.client_id] = delta if norm <= bound else clip_to_norm(delta, bound)
    answered = {reply.client_id for reply in replies}
    return Admitted(
        updates={client: accepted[client] for client in sorted(accepted)},
        num_clipped=num_clipped,
        refused=dict(sorted(refused.items())),
        failed=dict(sorted(failed.items())),
        num_missing=len(sampled - answered),
    )


def check_update(update: ModelUpdate, shared: Tensors, bundle_digest: str) -> Refusal | None:
    """Say why `update` cannot be used on `shared`, or None if it can."""
    if update.bundle_digest != bundle_digest:
        return Refusal.WRONG_BUNDLE
    if set(update.delta) != set(shared):
        return Refusal.WRONG_NAMES
    for name, reference in shared.items():
        delta = update.delta[name]
        if getattr(delta, "dtype", None) != np.float32:
            return Refusal.WRONG_DTYPE
        if delta.shape != reference.shape:
            return Refusal.WRONG_SHAPE
        if not np.isfinite(delta).all():
            return Refusal.NON_FINITE
    return None


def _refusal(
    reply: Reply,
    update: ModelUpdate,
    task: RoundTask,
    sampled: frozenset[str],
    accepted: Mapping[str, Tensors],
) -> Refusal | None:
    if reply.client_id not in sampled:
        return Refusal.NOT_SAMPLED
    if reply.server_round not in (None, task.server_round):
        return Refusal.STALE
    if reply.client_id in accepted:
        return Refusal.DUPLICATE
    if task.close_at is not None and len(accepted) >= task.close_at:
        return Refusal.LATE
    return check_update(update, task.shared, task.bundle_digest)
