from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk import Engine, open_bundle
from edge_sdk.errors import InvalidOptionError
from export.tasks.base import ImagePool
from federated.next_bundle import name_labels
from federated.round_core import RoundOptions
from federated.simulate import SimulatedClient, clients_of, simulate

if TYPE_CHECKING:
    from pathlib import Path

LABELS = ("a", "b", "c")


@pytest.fixture
def engine(tiny_bundle: Path, tmp_path: Path) -> Engine:
    name_labels(tmp_path / "named", open_bundle(tiny_bundle), LABELS, prior_count=1.0)
    return Engine(tmp_path / "named")


def a_client(engine: Engine, number: int, shots: int = 4) -> SimulatedClient:
    rng = np.random.default_rng(number)
    slots = np.repeat(np.arange(len(LABELS)), shots)
    x = (
        rng.normal(size=(len(slots), *engine.bundle.manifest.input.shape))
        + slots[:, None, None, None]
    )
    return SimulatedClient(
        client_id=f"user-{number}", features=engine.embed(x.astype(np.float32)), slots=slots
    )


def test_rounds_contract_geometrically_to_the_mean_of_the_clients(engine: Engine) -> None:
    shots, prior, rounds = 4, 1.0, 4
    clients = [a_client(engine, number, shots) for number in range(5)]
    want = np.mean(
        [
            [client.features[client.slots == slot].mean(0) for slot in range(len(LABELS))]
            for client in clients
        ],
        axis=0,
    )
    options = RoundOptions(rounds=rounds, cohort_size=5, clipping_norm=1e6)
    result = simulate(engine, clients, options)

    # Each round leaves prior / (prior + shots) of the way, and the prototypes start at zero.
    left = (prior / (prior + shots)) ** rounds
    np.testing.assert_allclose(
        result.shared["prototypes"][: len(LABELS)], (1 - left) * want, atol=1e-5
    )
    # The slot without a name is in no update, and counts never leave.
    np.testing.assert_array_equal(result.shared["prototypes"][len(LABELS) :], 0)
    np.testing.assert_array_equal(result.state["counts"], [prior] * len(LABELS) + [0])
    assert [report.num_accepted for report in result.reports] == [5] * rounds


def test_the_same_run_gives_the_same_bits_and_another_seed_others(engine: Engine) -> None:
    clients = [a_client(engine, number) for number in range(6)]

    def run(order: int, seed: int) -> np.ndarray:
        options = RoundOptions(rounds=3, cohort_size=2, clipping_norm=0.5, seed=seed)
        return simulate(engine, clients[::order], options).shared["prototypes"]

    np.testing.assert_array_equal(run(1, 0), run(-1, 0))
    assert np.any(run(1, 0) != run(1, 1))


def test_a_user_without_examples_is_counted_and_the_round_goes_on(engine: Engine) -> None:
    empty = SimulatedClient(
        client_id="silent",
        features=np.zeros((0, *engine.bundle.manifest.features.shape), np.float32),
        slots=np.zeros(0, np.int64),
    )
    result = simulate(engine, [a_client(engine, 1), empty], RoundOptions(rounds=1, cohort_size=2))
    (report,) = result.reports
    assert (report.num_accepted, report.failed) == (1, {"empty_support": 1})


def test_the_callback_sees_each_rounds_starting_state(engine: Engine) -> None:
    options = RoundOptions(rounds=3, cohort_size=1, clipping_norm=1e6)
    result = simulate(
        engine,
        [a_client(engine, 1)],
        options,
        lambda state: float(np.abs(state["prototypes"]).sum()),
    )
    assert len(result.evaluations) == 3
    assert list(result.evaluations) == sorted(result.evaluations)
    assert result.evaluations[-1] == pytest.approx(np.abs(result.state["prototypes"]).sum())


def test_two_clients_with_one_id_are_refused(engine: Engine) -> None:
    with pytest.raises(InvalidOptionError, match="same id"):
        simulate(engine, [a_client(engine, 1), a_client(engine, 1)], RoundOptions())


def a_pool(num_classes: int) -> ImagePool:
    rng = np.random.default_rng(3)
    return ImagePool(
        images=rng.integers(0, 256, size=(600, 4, 4)).astype(np.uint8),
        classes=np.arange(600) % num_classes,
        users=np.arange(600) // 300,
        class_names=[str(i) for i in range(num_classes)],
    )


def test_each_user_of_a_pool_becomes_a_client_with_ink_from_0_to_1(engine: Engine) -> None:
    pool = a_pool(3)
    first, second = clients_of(engine, pool, [0, 1])
    assert (first.client_id, second.client_id) == ("user-00000", "user-00001")
    x = (pool.images[300:] / np.float32(255)).astype(np.float32).reshape(300, 1, 4, 4)
    np.testing.assert_allclose(second.features, engine.embed(x), atol=1e-6)
    np.testing.assert_array_equal(second.slots, pool.classes[300:])


def test_a_pool_that_does_not_fit_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidOptionError, match="5 classes, the bundle has 4 slots"):
        clients_of(engine, a_pool(5), [0])
    with pytest.raises(InvalidOptionError, match="user 7 has no image"):
        clients_of(engine, a_pool(3), [7])
