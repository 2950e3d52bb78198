"""A round with masks from a bundle to its next version on a device: nobody's update is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk import Engine, open_bundle
from edge_sdk.signing import SigningKey
from federated.bundle_changes import apply_changes, changes
from federated.compress.grid import GridOptions
from federated.local_round import local_round, round_start, shared_tensors
from federated.next_bundle import RunSummary, write_next_bundle
from federated.secure.errors import ModulusTooSmallError
from federated.secure.groups import GroupOptions
from federated.secure.messages import Kind
from federated.secure.roster import Roster
from federated.secure.update_sum import Enrolment, sum_updates
from tests.support.secure import seeded_bytes
from tests.support.tiny import class_examples

if TYPE_CHECKING:
    from pathlib import Path

CLIENTS = 20
CLIPPING_NORM = 4.0
ROTATION = b"public and new in each round....."[:32]


def test_a_round_with_masks_ends_in_the_next_version_of_a_bundle(
    tiny_labelled_bundle: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    engine = Engine(tiny_labelled_bundle)
    bundle, initial = engine.bundle, engine.initial_state()
    shared = shared_tensors(bundle, initial)
    shapes = {name: value.shape for name, value in shared.items()}
    length = sum(value.size for value in shared.values())
    ids = [f"user-{i:02d}" for i in range(CLIENTS)]

    # An authority enrols the clients; each device reads the roster that it signed.
    authority = SigningKey.generate()
    keys = {client: SigningKey.generate() for client in ids}
    Roster({c: k.public_key for c, k in keys.items()}).write(tmp_path / "roster", authority)
    enrolment = Enrolment(keys=keys, roster=Roster.read(tmp_path / "roster", authority.public_key))

    updates = {}
    for client in ids:
        images = np.concatenate([class_examples(rng, 3, seed=slot) for slot in (0, 1)])
        slots = np.repeat(np.arange(2), 3)
        start = round_start(bundle, initial, shared)
        update = local_round(
            engine, start, engine.embed(images), slots, clipping_norm=CLIPPING_NORM
        )
        updates[client] = dict(update.delta)

    grid = GridOptions(length=length, clipping_norm=CLIPPING_NORM, bits=16, rotation_seed=ROTATION)
    groups = GroupOptions(size=10, modulus_bits=32)
    leaves = {ids[3]: Kind.SHARES, ids[8]: Kind.VECTOR, ids[15]: Kind.REVEALED}
    result = sum_updates(
        updates,
        enrolment,
        shapes,
        grid,
        groups,
        server_round=0,
        rng=rng,
        leaves=leaves,
        random_bytes=seeded_bytes(4),
    )
    contributors = [c for c in ids if c not in (ids[3], ids[8])]
    assert list(result.cohort.contributors) == contributors
    assert not result.cohort.failed
    for name in shapes:
        exact = np.sum([updates[c][name] for c in contributors], axis=0)
        rounding = np.sum([result.residuals[c][name] for c in contributors], axis=0)
        np.testing.assert_allclose(result.delta[name] + rounding, exact, atol=1e-4)
        assert np.abs(rounding).max() < CLIENTS * grid.step
    # 4 bytes for each entry, and what the protocol costs a member of a group of ten
    assert max(result.cohort.traffic.sent.values()) < 4 * length + 4000

    mean = {name: shared[name] + delta / CLIENTS for name, delta in result.delta.items()}
    summary = RunSummary(
        rounds=1,
        num_clients=CLIENTS,
        cohort_size=CLIENTS,
        num_updates=len(contributors),
        clipping_norm=CLIPPING_NORM,
        server_lr=1.0,
        seed=0,
    )
    write_next_bundle(tmp_path / "next", bundle, mean, summary)

    new = open_bundle(tmp_path / "next")
    on_device = apply_changes(bundle, changes(bundle, new), tmp_path / "on-device")
    assert on_device.digest == new.digest
    queries = engine.embed(np.concatenate([class_examples(rng, 20, seed=s) for s in (0, 1)]))
    answers = Engine(on_device)
    scores = answers.predict(queries, answers.initial_state()).logits[:, :2]
    assert (scores.argmax(1) == np.repeat([0, 1], 20)).all()
    before = engine.predict(queries, initial).logits[:, :2]
    assert (before.argmax(1) != np.repeat([0, 1], 20)).any(), "there was nothing to learn"

    with pytest.raises(ModulusTooSmallError):
        sum_updates(
            updates,
            enrolment,
            shapes,
            grid,
            GroupOptions(size=10, modulus_bits=16),
            server_round=1,
            rng=rng,
        )
