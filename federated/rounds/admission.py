"""Which replies of a round are used: each is checked, clipped again, and counted if refused."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.update import clip_to_norm, joint_norm
from federated.rounds.records import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from edge_sdk.update import ModelUpdate
    from federated.rounds.records import Reply, RoundTask, Tensors

CLIP_SLACK = 1e-5
"""A device clips in float32, so an honest update may be this much (relative) above the bound."""


class Admission:
    """Sorts out the replies of a round as they come, so that none of them must be kept.

    Args:
        task: The round.

    Attributes:
        norms: L2 norm of each update that is used, after the clip, by client id; the order is that
            in which they came.
        num_clipped: Updates that the server had to clip.
        refused: Replies not used, by `Refusal`.
        failed: Clients that reported an error, by its code.
    """

    def __init__(self, task: RoundTask) -> None:
        self.norms: dict[str, float] = {}
        self.num_clipped = 0
        self.refused: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._task = task
        self._silent = set(task.cohort)
        self._sampled = frozenset(task.cohort)

    @property
    def num_missing(self) -> int:
        """Sampled clients of which no reply has come."""
        return len(self._silent)

    def usable(self, replies: Iterable[Reply]) -> Iterator[tuple[str, Tensors]]:
        """Give the updates that can be used, clipped, with their clients, in the order they came.

        A client counts once a round, with its first usable update, however many examples it has;
        the bound does not rest on what a client claims.
        """
        bound = self._task.arriving_norm or self._task.clipping_norm
        for reply in replies:
            self._silent.discard(reply.client_id)
            if reply.update is None:
                malformed = reply.failure == Refusal.MALFORMED
                (self.refused if malformed else self.failed)[str(reply.failure or "unknown")] += 1
                continue
            delta = reply.update.delta
            reason = self._refusal(reply, reply.update)
            norm = 0.0 if reason else joint_norm(delta)
            if reason is None and not math.isfinite(norm):
                reason = Refusal.NON_FINITE
            if reason is not None:
                self.refused[str(reason)] += 1
                continue
            if norm > bound:  # an honest update is not copied
                self.num_clipped += norm > bound * (1 + CLIP_SLACK)
                delta = clip_to_norm(delta, bound)
                norm = joint_norm(delta)
            self.norms[reply.client_id] = norm
            yield reply.client_id, delta

    def _refusal(self, reply: Reply, update: ModelUpdate) -> Refusal | None:
        task = self._task
        if reply.client_id not in self._sampled:
            return Refusal.NOT_SAMPLED
        if reply.server_round not in (None, task.server_round):
            return Refusal.STALE
        if reply.client_id in self.norms:
            return Refusal.DUPLICATE
        if task.close_at is not None and len(self.norms) >= task.close_at:
            return Refusal.LATE
        return _check_form(update, task.shared, task.bundle_digest)


def check_update(update: ModelUpdate, shared: Tensors, bundle_digest: str) -> Refusal | None:
    """Say why `update` cannot be used on `shared`, or None if it can."""
    reason = _check_form(update, shared, bundle_digest)
    if reason is None and not math.isfinite(joint_norm(update.delta)):
        return Refusal.NON_FINITE
    return reason


def is_usable(reply: Reply, task: RoundTask) -> bool:
    """Whether a first reply of a client of the cohort has an update that the round can use.

    A driver that waits for some number of updates counts these: one that is refused closes no
    round, or a client could keep others out by being fast and wrong.
    """
    update = reply.update
    return (
        update is not None
        and reply.server_round in (None, task.server_round)
        and check_update(update, task.shared, task.bundle_digest) is None
    )


def _check_form(update: ModelUpdate, shared: Tensors, bundle_digest: str) -> Refusal | None:
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
    return None
