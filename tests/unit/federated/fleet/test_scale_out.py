"""Training in several processes: the numbers of one, whoever trains what."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_sdk.errors import InvalidOptionError, MissingExtraError
from federated.fleet.algorithms import make_algorithm
from federated.fleet.config import FleetConfig
from federated.fleet.devices import Devices
from federated.fleet.options import (
    AlgorithmOptions,
    AttackOptions,
    FleetRoundOptions,
    PopulationOptions,
    RayOptions,
)
from federated.fleet.run import run_fleet
from federated.fleet.scale_out import SpreadTraining, Worker, WorkerRecipe
from federated.fleet.training import Training
from federated.round_core import RoundTask
from tests.unit.federated.fleet.conftest import some_data

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_sdk import Engine
    from federated.round_core import Reply
    from federated.rounds.records import Tensors

PEOPLE = PopulationOptions(devices=40, examples=9)
CONFIG = FleetConfig(
    round=FleetRoundOptions(rounds=3, replies=20),
    evaluate_every=0,
    attack=AttackOptions(kind="boosted", share=0.1),
)


class CrewHere:
    """Workers in this process; remembers who was asked about which devices."""

    def __init__(self, recipe: WorkerRecipe, size: int) -> None:
        self.size = size
        self.asked: list[tuple[int, list[int]]] = []
        self._workers = [Worker(recipe) for _ in range(size)]

    def hold(self, shared: Tensors) -> Any:
        return shared

    def ask(
        self,
        worker: int,
        task: RoundTask,
        held: Any,
        chosen: NDArray[np.int64],
        event: NDArray[np.int64],
    ) -> Any:
        self.asked.append((worker, chosen.tolist()))
        return self._workers[worker].replies(task, held, chosen, event)

    def answer(self, asked: Any) -> list[Reply]:
        found: list[Reply] = asked
        return found


@pytest.mark.parametrize("name", ["fedavg", "fedper", "ditto"])
def test_a_crew_sends_what_one_process_sends(
    gradient_engine: Engine, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("federated.fleet.scale_out._AT_ONCE", 4)
    config = replace(CONFIG, algorithm=AlgorithmOptions(name=name))
    data = some_data(gradient_engine, PEOPLE)
    algorithm = make_algorithm(gradient_engine, config.algorithm, threads=1)
    devices = Devices(config, data.counts)
    alone = Training(gradient_engine, algorithm, data, devices, config.attack, config.seed)
    crew = CrewHere(WorkerRecipe.of(gradient_engine.bundle, config, data), 3)
    spread = SpreadTraining(crew)
    for number in range(2):  # in the second, what was kept in the first counts
        task = RoundTask(
            server_round=number,
            cohort=devices.ids,
            shared=algorithm.shared(),
            bundle_digest=gradient_engine.bundle.digest,
            clipping_norm=1.0,
            steps=None,
        )
        chosen = np.array([1, 4, 5, 7, 8, 13, 17, 21, 22, 30, 31, 32, 33, 38])
        event = np.full(len(chosen), number)
        want = list(alone(task, task.shared, chosen, event))
        found = list(spread(task, task.shared, chosen, event))
        assert [reply.client_id for reply in found] == [reply.client_id for reply in want]
        for one, other in zip(want, found, strict=True):
            assert one.update is not None
            assert other.update is not None
            for tensor, delta in one.update.delta.items():
                np.testing.assert_array_equal(delta, other.update.delta[tensor])
    assert all(device % 3 == worker for worker, asked in crew.asked for device in asked)
    assert len(crew.asked) > 6  # several requests each


def test_an_algorithm_in_hand_is_refused_with_ray(gradient_engine: Engine) -> None:
    config = replace(CONFIG, ray=RayOptions())
    algorithm = make_algorithm(gradient_engine, config.algorithm, threads=1)
    with pytest.raises(InvalidOptionError, match="leave algorithm out"):
        run_fleet(gradient_engine, some_data(gradient_engine, PEOPLE), config, algorithm=algorithm)


def test_without_ray_the_error_names_the_extra(
    gradient_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    config = replace(CONFIG, ray=RayOptions())
    with pytest.raises(MissingExtraError, match=r"edge-sdk\[ray\]"):
        run_fleet(gradient_engine, some_data(gradient_engine, PEOPLE), config)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
@pytest.mark.parametrize("asynchronous", [False, True])
def test_ray_s_processes_give_the_bits_of_one(gradient_engine: Engine, asynchronous: bool) -> None:
    pytest.importorskip("ray", reason="ray is not installed (the extra ray)")
    algorithm = AlgorithmOptions(name="fedper", asynchronous=asynchronous)
    config = replace(CONFIG, algorithm=algorithm)
    data = some_data(gradient_engine, PEOPLE)
    want = run_fleet(gradient_engine, data, config)
    found = run_fleet(gradient_engine, data, replace(config, ray=RayOptions(processes=2)))
    assert found.reports == want.reports
    assert found.visits == want.visits
    for name, value in want.shared.items():
        np.testing.assert_array_equal(value, found.shared[name])
