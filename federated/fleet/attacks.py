"""What attackers do with their labels and their updates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.update import ModelUpdate, joint_norm
from federated.fleet.draws import Stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from federated.fleet.options import AttackOptions


def poison_labels(
    options: AttackOptions, slots: NDArray[np.int64], num_labels: int
) -> NDArray[np.int64]:
    """The labels that an attacker trains on: each the next one, for "label-flip"."""
    return (slots + 1) % num_labels if options.kind == "label-flip" else slots


def tamper(options: AttackOptions, update: ModelUpdate, seed: int, event: int) -> ModelUpdate:
    """The update that an attacker sends in place of `update`; it keeps to no bound.

    Attackers collude: those of one round push in the same direction.
    """
    if options.kind == "sign-flip":
        factor = np.float32(-options.boost)
        return ModelUpdate(
            update.bundle_digest, {name: factor * delta for name, delta in update.delta.items()}
        )
    if options.kind == "boosted":
        rng = np.random.default_rng([seed, int(Stream.ATTACK), event])
        direction = {
            name: rng.standard_normal(update.delta[name].shape, np.float32)
            for name in sorted(update.delta)
        }
        length = options.boost * max(joint_norm(update.delta), 1e-6)
        scale = np.float32(length / max(joint_norm(direction), 1e-12))
        return ModelUpdate(
            update.bundle_digest, {name: scale * delta for name, delta in direction.items()}
        )
    return update
