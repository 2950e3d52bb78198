"""Apple's pfl-research on the same work, in its own environment: `peer_pfl.py MODE CLIENTS ROUNDS`.

Modes: "plain" (mean), "private" (clip, and the Gaussian mechanism on the sum). There is no churn.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import FederatedAlgorithm
from pfl.common_types import Population
from pfl.context import CentralContext
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam.base import AlgorithmHyperParams, ModelHyperParams
from pfl.metrics import Metrics
from pfl.model.base import Model
from pfl.privacy.gaussian_mechanism import GaussianMechanism
from pfl.privacy.privacy_mechanism import CentrallyAppliedPrivacyMechanism
from pfl.stats import MappedVectorStatistics
from work import CLIPPING_NORM, DIM, NOISE_MULTIPLIER, local_update


@dataclass(frozen=True)
class Params(AlgorithmHyperParams):
    """What the algorithm is told."""

    rounds: int
    cohort: int


class Vector(Model):
    """One vector."""

    def __init__(self) -> None:
        self.values = np.zeros(DIM, np.float32)

    def apply_model_update(self, statistics: Any) -> tuple[Vector, Metrics]:
        """Move by the mean."""
        self.values = self.values + statistics["w"].astype(np.float32)
        return self, Metrics()


class Mean(FederatedAlgorithm):
    """Every client's update counts the same."""

    def get_next_central_contexts(
        self,
        model: Vector,
        iteration: int,
        algorithm_params: Params,
        model_train_params: Any,
        model_eval_params: Any = None,
    ) -> Any:
        """One training context a round."""
        if iteration == algorithm_params.rounds:
            return None, model, Metrics()
        context = CentralContext(
            current_central_iteration=iteration,
            do_evaluation=False,
            cohort_size=algorithm_params.cohort,
            population=Population.TRAIN,
            algorithm_params=algorithm_params,
            model_train_params=model_train_params,
            model_eval_params=model_eval_params,
            seed=self._get_seed(),
        )
        return (context,), model, Metrics()

    def simulate_one_user(self, model: Vector, user_dataset: Any, central_context: Any) -> Any:
        """The client's work."""
        del central_context
        delta = local_update(model.values, int(user_dataset.user_id))
        return MappedVectorStatistics({"w": delta}, weight=1), Metrics()

    def process_aggregated_statistics(
        self, central_context: Any, aggregate_metrics: Any, model: Vector, statistics: Any
    ) -> tuple[Vector, Metrics]:
        """The server's step."""
        del central_context, aggregate_metrics
        statistics.average()
        return model.apply_model_update(statistics)


def run(mode: str, clients: int, rounds: int) -> dict[str, float]:
    """Run `rounds` rounds of `clients` clients."""
    sampler = get_user_sampler("minimize_reuse", list(range(clients)))
    data = FederatedDataset(
        lambda user: Dataset(raw_data=(np.zeros(1),), user_id=str(user)), sampler
    )
    mechanism = CentrallyAppliedPrivacyMechanism(GaussianMechanism(CLIPPING_NORM, NOISE_MULTIPLIER))
    backend = SimulatedBackend(
        training_data=data,
        val_data=data,
        postprocessors=[mechanism] if mode == "private" else [],
    )
    begun = time.process_time()
    Mean().run(
        algorithm_params=Params(rounds, clients),
        backend=backend,
        model=Vector(),
        model_train_params=ModelHyperParams(),
        send_metrics_to_platform=False,
    )
    return {"updates": clients * rounds, "cpu_s": time.process_time() - begun}


if __name__ == "__main__":
    json.dump(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])), sys.stdout)
