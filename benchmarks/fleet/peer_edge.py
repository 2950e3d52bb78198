"""Ours: the round core behind a fleet on its virtual clock. `peer_edge.py MODE CLIENTS ROUNDS`.

Modes: "plain" (always there, mean), "clip" (churn, clipped on the device and again on the server),
"private" (churn, clip, exact sum on a grid, discrete Gaussian noise of the operating system).
Prints updates used, and CPU seconds of all but imports.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
from work import CLIPPING_NORM, DIM, NOISE_MULTIPLIER, local_update

from edge_sdk.random_words import SystemWords
from edge_sdk.update import ModelUpdate, clip_to_norm
from federated.fleet.config import FleetConfig
from federated.fleet.devices import Devices
from federated.fleet.driver import SynchronousDriver
from federated.fleet.options import AvailabilityOptions, DropoutOptions, FleetRoundOptions
from federated.fleet.timeline import Load
from federated.privacy.options import PrivacyOptions
from federated.round_core import Reply, RoundOptions, run_rounds
from federated.rounds.planning import PrivateRounds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from federated.round_core import RoundReport, RoundTask
    from federated.rounds.records import Tensors

CHURN = DropoutOptions(before_start=0.1, training=0.06, upload=0.05)  # a fifth in all
STEADY = DropoutOptions(before_start=0.0, training=0.0, upload=0.0, stragglers=0.0)


def run(mode: str, clients: int, rounds: int) -> dict[str, float]:
    """Run `rounds` rounds of which each asks `clients` devices."""
    config = FleetConfig(
        availability=AvailabilityOptions(require_charging=False, require_wifi=False),
        dropout=STEADY if mode == "plain" else CHURN,
        round=FleetRoundOptions(replies=clients, over_selection=1.0, clipping_norm=CLIPPING_NORM),
    )
    devices = Devices(config, np.ones(clients, np.int64))

    def work(
        task: RoundTask, shared: Tensors, chosen: NDArray[np.int64], event: NDArray[np.int64]
    ) -> Iterator[Reply]:
        del event
        for device in chosen.tolist():
            delta = {"w": local_update(shared["w"], device)}
            if mode != "plain":
                delta = clip_to_norm(delta, task.clipping_norm)
            update = ModelUpdate(task.bundle_digest, delta)
            yield Reply(client_id=devices.ids[device], update=update)

    load = Load(steps=1, bytes_down=4 * DIM, bytes_up=4 * DIM)
    driver = SynchronousDriver(devices, config, load, work, everyone=mode == "private")
    options = RoundOptions(
        rounds=rounds,
        cohort_size=clients,
        clipping_norm=1e9 if mode == "plain" else CLIPPING_NORM,
    )
    privacy = PrivateRounds(
        options=PrivacyOptions(noise_multiplier=NOISE_MULTIPLIER, sampling="poisson"),
        charge=lambda _: None,
        settle=lambda _: None,
        words=lambda _round, _what: SystemWords(),
    )

    def after_round(_: RoundReport, __: Tensors) -> None:
        driver.candidates.forget()

    begun = time.process_time()
    result = run_rounds(
        {"w": np.zeros(DIM, np.float32)},
        driver.candidates,
        "digest",
        options,
        driver.collect,
        after_round,
        privacy=privacy if mode == "private" else None,
    )
    return {
        "updates": sum(report.num_accepted for report in result.reports),
        "asked": sum(report.num_sampled for report in result.reports),
        "cpu_s": time.process_time() - begun,
    }


if __name__ == "__main__":
    json.dump(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])), sys.stdout)
