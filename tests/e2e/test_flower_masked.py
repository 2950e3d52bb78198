"""A masked round over real Flower processes, with a member that leaves: the in-process result."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk import Engine, Personalizer, open_bundle
from edge_sdk.grid import Grid, flatten, unflatten
from edge_sdk.signing import SigningKey
from federated.deploy import DeployOptions, run_on_loopback
from federated.local_round import shared_tensors
from federated.round_core import DecodedSum, RoundOptions, run_rounds
from federated.secure.coding import FINE_STEPS
from federated.secure.options import MaskingOptions
from federated.secure.roster import Roster
from tests.support.tiny import class_examples

if TYPE_CHECKING:
    from pathlib import Path

NODES = ("ann", "bob", "cat", "dan")
LEAVES = "dan"  # taught nothing, which it finds out when it has shared its secrets
OPTIONS = RoundOptions(rounds=1, cohort_size=4, clipping_norm=0.5)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="what is left is looked up in /proc"),
]


def test_a_masked_round_with_a_member_that_leaves_is_exact_to_the_bit(
    tiny_labelled_bundle: Path, tmp_path: Path
) -> None:
    bundle = open_bundle(tiny_labelled_bundle)
    rng = np.random.default_rng(0)
    updates = {}
    for node in NODES:
        with Personalizer(bundle, home=tmp_path / "homes" / node) as personalizer:
            if node != LEAVES:
                for slot, label in enumerate(bundle.manifest.labels):
                    personalizer.teach(label, class_examples(rng, 2, seed=slot))
                updates[node] = dict(personalizer.update(OPTIONS.clipping_norm).delta)
    authority, keys = SigningKey.generate(), {node: SigningKey.generate() for node in NODES}
    (tmp_path / "keys").mkdir()
    for node, key in keys.items():
        key.write(tmp_path / "keys" / f"{node}.pem")
    authority.write(tmp_path / "authority")
    Roster({node: key.public_key for node, key in keys.items()}).write(
        tmp_path / "roster", authority
    )

    report = run_on_loopback(
        tiny_labelled_bundle,
        [tmp_path / "homes" / node for node in NODES],
        tmp_path / "new",
        OPTIONS,
        DeployOptions(
            environment={"OMP_NUM_THREADS": "1", "EDGE_SDK_TEST": str(os.getpid())},
            masking=MaskingOptions(
                roster=str(tmp_path / "roster"), authority=str(tmp_path / "authority.pub")
            ),
            identities=tmp_path / "keys",
        ),
    )
    (entry,) = report["rounds"]
    assert (entry["num_accepted"], entry["num_missing"]) == (3, 0)
    assert entry["failed"] == {"nothing_taught": 1}
    assert (entry["refused"], entry["given_up"]) == ({}, {})

    # The same round in this process, without Flower and without masks.
    shared = shared_tensors(bundle, Engine(bundle).initial_state())
    shapes = {name: value.shape for name, value in shared.items()}
    size = sum(value.size for value in shared.values())
    grid = Grid(clipping_norm=OPTIONS.clipping_norm, steps_in_norm=FINE_STEPS, size=size)
    total = np.zeros(size, np.int64)
    for update in updates.values():
        grid.add_toward_zero(update, total)
    summed = DecodedSum(total=total * grid.step, num_contributors=3, failed={"nothing_taught": 1})
    expected = run_rounds(shared, NODES, bundle.digest, OPTIONS, lambda _: summed)
    new = open_bundle(tmp_path / "new")
    got = shared_tensors(new, Engine(new).initial_state())
    for name, value in expected.shared.items():
        np.testing.assert_array_equal(got[name], value)
    assert np.abs(flatten(got) - flatten(shared)).max() > 0.01
    assert unflatten(flatten(got), shapes).keys() == got.keys()

    # Nothing of the session is left on a device that stayed.
    left = {node for node in NODES if (tmp_path / "homes" / node / "masked-session").exists()}
    assert left == {LEAVES}
