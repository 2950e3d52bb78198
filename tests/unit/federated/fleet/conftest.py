"""A fleet without a model: devices, and work whose updates are easy to check."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk import Engine, open_bundle
from edge_sdk.update import ModelUpdate
from federated.fleet.config import FleetConfig
from federated.fleet.devices import Devices
from federated.fleet.options import (
    AvailabilityOptions,
    DropoutOptions,
    FleetRoundOptions,
    PopulationOptions,
)
from federated.fleet.timeline import Load
from federated.fleet.users import FleetData, People
from federated.next_bundle import name_labels
from federated.round_core import Reply

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from federated.round_core import RoundTask
    from federated.rounds.records import Tensors

ALWAYS = AvailabilityOptions(require_charging=False, require_wifi=False)
NO_DROPOUT = DropoutOptions(before_start=0.0, training=0.0, upload=0.0, stragglers=0.0)
LOAD = Load(steps=5, bytes_down=1000, bytes_up=1000)
LABELS = ("a", "b", "c")


@dataclass
class Ones:
    """Every device sends ones; remembers who worked, from which tensors."""

    devices: Devices
    calls: list[tuple[list[int], float]] = field(default_factory=list)

    def __call__(
        self, task: RoundTask, shared: Tensors, chosen: NDArray[np.int64], event: NDArray[np.int64]
    ) -> list[Reply]:
        assert len(event) == len(chosen)
        self.calls.append((chosen.tolist(), float(shared["w"][0])))
        return [
            Reply(
                client_id=self.devices.ids[device],
                update=ModelUpdate(task.bundle_digest, {"w": np.ones(4, np.float32)}),
            )
            for device in chosen
        ]


def a_fleet(config: FleetConfig, num_devices: int = 200) -> Devices:
    return Devices(config, np.full(num_devices, 10))


def quiet(**round_options: float) -> FleetConfig:
    """Devices that are always there and never get lost."""
    return FleetConfig(
        availability=ALWAYS, dropout=NO_DROPOUT, round=FleetRoundOptions(**round_options)
    )


@pytest.fixture
def gradient_engine(tiny_gradient_bundle: Path, tmp_path: Path) -> Engine:
    """Five steps; a shared tensor, two slot tensors and counts; three of four slots are named."""
    name_labels(tmp_path / "named", open_bundle(tiny_gradient_bundle), LABELS, prior_count=1.0)
    return Engine(tmp_path / "named")


def some_people(engine: Engine, count: int, seed: int) -> People:
    """People whose three classes lie elsewhere for each of them."""
    rng = np.random.default_rng(seed)
    per_class = 6
    slots = np.tile(np.arange(3).repeat(per_class), count)
    persons = np.arange(count).repeat(3 * per_class)
    centres = np.random.default_rng(0).normal(size=(3, 8)) + 0.3 * rng.normal(size=(count, 3, 8))
    features = centres[persons, slots] + 0.1 * rng.normal(size=(len(slots), 8))
    assert engine.bundle.manifest.features.shape == (8,)
    return People(features.astype(np.float32), slots, persons)


def some_data(engine: Engine, options: PopulationOptions) -> FleetData:
    return FleetData(some_people(engine, 8, 1), some_people(engine, 6, 2), options, seed=3)
