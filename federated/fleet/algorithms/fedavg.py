"""FedAvg over few-step adaptations, and FedAvg without personalization beside it.

McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", AISTATS
2017. Averaged over few local steps it is Reptile, and a first-order Per-FedAvg: Nichol, Achiam and
Schulman, 2018; Fallah, Mokhtari and Ozdaglar, NeurIPS 2020.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from federated.fleet.algorithms.base import Algorithm, Pupil

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sdk import State
    from edge_sdk.errors import EdgeError
    from federated.rounds.records import Tensors


class FedAvg(Algorithm):
    """All tensors that may leave are averaged; a user adapts what comes back."""

    name: ClassVar[str] = "fedavg"

    def train(
        self, shared: Tensors, pupils: Sequence[Pupil], steps: int | None
    ) -> list[State | EdgeError]:
        """Adapt from the shared state."""
        return self.adapt(pupils, [self.start(shared)] * len(pupils), steps)

    def personalize(
        self, shared: Tensors, pupils: Sequence[Pupil], steps: int | None
    ) -> list[State | EdgeError]:
        """Adapt from the shared state."""
        return self.train(shared, pupils, steps)


class FedAvgGlobal(FedAvg):
    """The same rounds; but everybody predicts with the one shared model."""

    name: ClassVar[str] = "fedavg-global"

    def personalize(
        self, shared: Tensors, pupils: Sequence[Pupil], steps: int | None
    ) -> list[State | EdgeError]:
        """Take the shared state as it is, whatever a user teaches."""
        del steps
        return [self.start(shared)] * len(pupils)
