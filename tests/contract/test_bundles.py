"""One suite over every learner's bundle: what a device may rely on, whatever the family.

Learners come from the registry alone; each is exported once, tiny and untrained.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk import Engine, Personalizer, State
from edge_sdk.errors import EmptySupportError
from export.gates import GateOptions, check_kernel, check_parity
from export.learners.base import UNUSED_LOGIT, LearnerOptions
from export.learners.registry import LEARNERS, make_learner
from tests.support.exported import Exported, export
from tests.support.learners import SMALL

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (1, 20, 20)
WAYS = 6
OPTIONS = LearnerOptions(input_shape=SHAPE, hidden=8, ways=WAYS, steps=2)
GATE = GateOptions(seeds=(0,), ways=4, shots=2)


@pytest.fixture(scope="module", params=sorted(LEARNERS))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    options = replace(OPTIONS, settings=SMALL.get(request.param, {}))
    learner = make_learner(request.param, options, seed=1)
    return export(learner, tmp_path_factory.mktemp("contract"))


def images(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, *SHAPE), dtype=np.float32)


def taught(engine: Engine, ways: int, shots: int) -> tuple[np.ndarray, np.ndarray]:
    return engine.embed(images(ways * shots)), np.tile(np.arange(ways), shots)


def same(a: State, b: State) -> bool:
    return a.to_bytes() == b.to_bytes()


def test_the_gates_pass(pair: Exported) -> None:
    report = check_parity(pair.learner, pair.engine, GATE)
    assert report.update_error < GATE.update_limit


def test_a_kernel_agrees_with_its_graph(pair: Exported, tmp_path: Path) -> None:
    if pair.learner.kernel() is None:
        pytest.skip("has no kernel")
    graph = export(pair.learner, tmp_path, kernel=False)
    assert check_kernel(pair.engine, graph.engine, GATE) < GATE.kernel_limit


def test_a_state_survives_as_bytes(pair: Exported) -> None:
    features, labels = taught(pair.engine, 3, 2)
    state = pair.engine.adapt(features, labels).state
    again = State.from_bytes(state.to_bytes())
    assert same(again, state)
    want = pair.engine.predict(features, state)
    got = pair.engine.predict(features, again)
    np.testing.assert_array_equal(got.logits, want.logits)
    more = [pair.engine.adapt(features, labels, start=start).state for start in (state, again)]
    assert same(*more)


def test_adapting_is_repeatable_to_the_bit(pair: Exported) -> None:
    features, labels = taught(pair.engine, 4, 2)
    assert same(*(pair.engine.adapt(features, labels).state for _ in range(2)))


def test_an_example_of_weight_zero_is_not_there(pair: Exported) -> None:
    features, labels = taught(pair.engine, 3, 3)
    weights = np.ones(len(labels), np.float32)
    weights[-1] = 0
    padded = pair.engine.adapt(features, labels, weights).state
    absent = pair.engine.adapt(features[:-1], labels[:-1]).state
    if pair.learner.adaptation == "sequential":
        assert same(padded, absent)
    for name in absent.names:  # sums over other numbers of rows may round otherwise
        np.testing.assert_allclose(padded[name], absent[name], rtol=2e-4, atol=2e-5)
    with pytest.raises(EmptySupportError):
        pair.engine.adapt(features, labels, np.zeros_like(weights))


@pytest.mark.parametrize(("ways", "shots"), [(1, 1), (2, 5), (WAYS, 1), (WAYS, 3)])
def test_one_bundle_serves_any_ways_and_shots(pair: Exported, ways: int, shots: int) -> None:
    features, labels = taught(pair.engine, ways, shots)
    state = pair.engine.adapt(features, labels).state
    found = pair.engine.predict(features, state)
    assert found.logits.shape == (ways * shots, WAYS)
    assert (found.logits[:, ways:] == UNUSED_LOGIT).all()
    assert (found.logits[:, :ways] > UNUSED_LOGIT / 2).all()
    assert (np.asarray(state["counts"])[:ways] > 0).all()
    assert (found.variance is not None) == pair.learner.has_variance
    if found.variance is not None:
        assert (found.variance[:, :ways] >= 0).all()


def test_a_later_label_needs_no_old_images(pair: Exported, tmp_path: Path) -> None:
    """Class-incremental: what is kept of old labels are features, and that is enough."""
    with Personalizer(pair.engine.bundle, home=tmp_path / "grown") as person:
        person.teach("a", images(2, seed=1))
        person.teach("b", images(2, seed=2))
        person.adapt()
        person.teach("c", images(2, seed=3))
        person.adapt()
        assert set(person.predict(images(4, seed=4)).names) == {"a", "b", "c"}
        grown = person.state
    with Personalizer(pair.engine.bundle, home=tmp_path / "at-once") as person:
        for seed, label in enumerate("abc", start=1):
            person.teach(label, images(2, seed=seed))
        person.adapt()
        assert same(person.state, grown)


def test_forgetting_leaves_the_state_of_who_never_knew(pair: Exported, tmp_path: Path) -> None:
    with Personalizer(pair.engine.bundle, home=tmp_path / "forgot") as person:
        for seed, label in enumerate("abc", start=1):
            person.teach(label, images(2, seed=seed))
        person.adapt()
        person.forget("b")
        forgot = person.state
    with Personalizer(pair.engine.bundle, home=tmp_path / "never") as person:
        for seed, label in ((1, "a"), (3, "c")):
            person.teach(label, images(2, seed=seed))
        person.adapt()
        assert same(person.state, forgot)
