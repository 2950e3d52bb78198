from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk import Engine, Personalizer, open_bundle
from edge_sdk.errors import CapacityError, InvalidOptionError
from export.tasks.base import NotEnoughImagesError
from export.taught_bundle import TeachOptions, base_examples, taught_state, write_taught_bundle
from tests.support.people import SIGNS, drawn

if TYPE_CHECKING:
    from pathlib import Path

POOL = drawn(5, 4)


def taught(path: Path, out: Path, options: TeachOptions) -> Engine:
    engine = Engine(path)
    features, slots = base_examples(engine, POOL, per_label=6, seed=0)
    state = taught_state(engine, features, slots, options)
    write_taught_bundle(out, engine.bundle, SIGNS, state, options, examples=len(slots))
    return Engine(out)


def test_it_names_its_labels_and_answers_at_once(tiny_bundle: Path, tmp_path: Path) -> None:
    engine = taught(tiny_bundle, tmp_path / "new", TeachOptions(prior_count=2.5))
    old, new = open_bundle(tiny_bundle), engine.bundle
    assert new.manifest.labels == SIGNS
    assert (new.manifest.version, new.manifest.parent) == (2, old.digest)
    for name in ("embed.onnx", "adapt.onnx", "predict.onnx"):
        assert new.files[name] == old.files[name]
    said = new.manifest.provenance["taught"]
    assert said == {"prior_count": 2.5, "steps": 20, "user_steps": None, "examples": 18}
    assert "taught 18 examples" in new.files["MODEL_CARD.md"].decode()
    counts = engine.initial_state()["counts"]
    np.testing.assert_allclose(counts, [2.5, 2.5, 2.5, 0], rtol=1e-6)
    asked = drawn(2, 3, first_user=70)
    with Personalizer(new, home=tmp_path / "home") as user:
        labels = user.predict(asked.inputs(np.arange(len(asked.classes)))).labels
    truth = [SIGNS[cls] for cls in asked.classes]
    assert np.mean([a == b for a, b in zip(labels, truth, strict=True)]) > 0.9


def test_the_prototypes_are_the_means_whatever_they_weigh(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    engine = Engine(tiny_bundle)
    features, slots = base_examples(engine, POOL, per_label=6, seed=0)
    assert slots.tolist() == [0, 1, 2] * 6
    for prior_count in (0.5, 30.0):
        new = taught(
            tiny_bundle, tmp_path / str(prior_count), TeachOptions(prior_count=prior_count)
        )
        prototypes = new.initial_state()["prototypes"]
        for slot in range(3):
            mean = features[slots == slot].mean(axis=0)
            np.testing.assert_allclose(prototypes[slot], mean, rtol=1e-4, atol=1e-5)


def test_a_gradient_learner_takes_its_steps_and_its_users_theirs(
    tiny_gradient_bundle: Path, tmp_path: Path
) -> None:
    old = Engine(tiny_gradient_bundle)
    features, slots = base_examples(old, POOL, per_label=6, seed=0)
    new = taught(tiny_gradient_bundle, tmp_path / "new", TeachOptions(steps=7, user_steps=2))
    expected = old.adapt(features, slots, steps=7).state
    assert new.initial_state() == expected
    assert new.bundle.manifest.steps == 2
    assert len(new.adapt(features, slots).losses) == 2
    same = taught(tiny_gradient_bundle, tmp_path / "same", TeachOptions(steps=7))
    assert same.bundle.manifest.steps == old.bundle.manifest.steps


def test_a_sequential_learner_reads_the_labels_in_turn(
    tiny_sequential_bundle: Path, tmp_path: Path
) -> None:
    engine = taught(tiny_sequential_bundle, tmp_path / "new", TeachOptions())
    assert (engine.initial_state()["counts"][:3] > 0).all()


def test_same_input_same_bytes(tiny_bundle: Path, tmp_path: Path) -> None:
    digests = {taught(tiny_bundle, tmp_path / n, TeachOptions()).bundle.digest for n in "ab"}
    assert len(digests) == 1


@pytest.mark.parametrize("changes", [{"prior_count": 0}, {"prior_count": np.inf}, {"steps": 0},
                                     {"user_steps": 0}])  # fmt: skip
def test_options_that_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(InvalidOptionError, match=f"{next(iter(changes))} must be"):
        TeachOptions(**changes)  # type: ignore[arg-type]


def test_examples_that_do_not_fit(tiny_bundle: Path) -> None:
    engine = Engine(tiny_bundle)
    with pytest.raises(NotEnoughImagesError, match="no image of the bundle's label 1"):
        base_examples(engine, POOL.take(np.flatnonzero(POOL.classes != 1)), per_label=1, seed=0)
    five = replace(POOL, class_names=[*SIGNS, "ring", "cross"])
    with pytest.raises(CapacityError, match="has 4 slots, the tasks have 5"):
        base_examples(engine, five, per_label=1, seed=0)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("dot", "bar"), "2 labels need as many slots in use"),
        (("dot", "bar", "box", "ring"), "4 labels need as many slots in use"),
        (("dot", "bar", "dot"), "distinct"),
        (("dot", "bar", ""), "distinct"),
        ((), "distinct"),
    ],
)
def test_labels_that_do_not_fit_the_state(
    tiny_bundle: Path, tmp_path: Path, labels: tuple[str, ...], message: str
) -> None:
    engine = Engine(tiny_bundle)
    features, slots = base_examples(engine, POOL, per_label=2, seed=0)
    state = taught_state(engine, features, slots, TeachOptions())
    with pytest.raises(InvalidOptionError, match=message):
        write_taught_bundle(
            tmp_path / "new", engine.bundle, labels, state, TeachOptions(), examples=6
        )
    assert not (tmp_path / "new").exists()


def test_a_bundle_that_names_labels_is_not_taught_others(
    tiny_labelled_bundle: Path, tmp_path: Path
) -> None:
    engine = Engine(tiny_labelled_bundle)
    state = engine.initial_state()
    with pytest.raises(InvalidOptionError, match="names its labels already"):
        write_taught_bundle(
            tmp_path / "new", engine.bundle, ("a", "b"), state, TeachOptions(), examples=1
        )
