"""Engine on the tiny bundles: the numbers of the float64 reference, and typed errors."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_sdk import Engine, State, errors, open_bundle
from tests.support import onnx_wire as wire
from tests.support import tiny

if TYPE_CHECKING:
    from pathlib import Path

# One float32 step of sums of at most 16 products of size ~1: some 1e-6; five steps, five times.
ATOL = 1e-5

SLOTS = np.array([0, 1, 2, 0, 1, 3], np.int64)
WEIGHTS = np.array([1, 1, 0.5, 1, 0, 2], np.float32)


def arrays_of(state: State) -> dict[str, Any]:
    return {name: state[name] for name in state.names}


def test_a_path_and_an_open_bundle_give_the_same_engine(tiny_bundle: Path) -> None:
    by_path, by_bundle = Engine(tiny_bundle), Engine(open_bundle(tiny_bundle))
    assert by_path.bundle == by_bundle.bundle
    assert by_path.initial_state() == by_bundle.initial_state()
    assert by_path.runtime_version[0].isdigit()


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_closed_form_agrees_with_float64(
    tiny_labelled_bundle: Path, rng: np.random.Generator, weights: Any
) -> None:
    engine = Engine(tiny_labelled_bundle)
    features = engine.embed(tiny.examples(rng, 6))
    got = engine.adapt(features, SLOTS, weights)
    used = np.ones(6) if weights is None else weights
    want, loss = tiny.prototypical_adapt(arrays_of(engine.initial_state()), features, SLOTS, used)
    for name, value in want.items():
        np.testing.assert_allclose(got.state[name], value, atol=ATOL)
    np.testing.assert_allclose(got.losses, [loss], atol=ATOL)
    logits = engine.predict(features, got.state).logits
    np.testing.assert_allclose(logits, tiny.prototypical_logits(want, features), atol=10 * ATOL)


@pytest.mark.parametrize("steps", [None, 1, 7])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_gradient_agrees_with_float64(
    tiny_gradient_bundle: Path, rng: np.random.Generator, steps: int | None, weights: Any
) -> None:
    engine = Engine(tiny_gradient_bundle)
    features = engine.embed(tiny.examples(rng, 6))
    got = engine.adapt(features, SLOTS, weights, steps)
    used = np.ones(6) if weights is None else weights
    want, losses = tiny.gradient_adapt(
        arrays_of(engine.initial_state()), features, SLOTS, used, steps=steps or 5
    )
    for name, value in want.items():
        np.testing.assert_allclose(got.state[name], value, atol=ATOL)
    np.testing.assert_allclose(got.losses, losses, atol=ATOL)
    logits = engine.predict(features, got.state).logits
    np.testing.assert_allclose(logits, tiny.gradient_logits(want, features), atol=ATOL)


def test_steps_and_start_compose(tiny_gradient_bundle: Path, rng: np.random.Generator) -> None:
    engine = Engine(tiny_gradient_bundle)
    features = engine.embed(tiny.examples(rng, 6))
    whole = engine.adapt(features, SLOTS, steps=5)
    half = engine.adapt(features, SLOTS, steps=2)
    rest = engine.adapt(features, SLOTS, steps=3, start=half.state)
    assert rest.state == whole.state
    np.testing.assert_array_equal(np.concatenate([half.losses, rest.losses]), whole.losses)


def test_embedding_and_predicting_in_one_call_gives_the_same_bits(
    tiny_gradient_bundle: Path, rng: np.random.Generator
) -> None:
    engine = Engine(tiny_gradient_bundle)
    x = tiny.examples(rng, 6)
    features = engine.embed(x)
    state = engine.adapt(features, SLOTS).state
    for inputs, n in ((x, 6), (x[0], 1)):
        got, prediction = engine.embed_and_predict(inputs, state)
        np.testing.assert_array_equal(got, features[:n])
        np.testing.assert_array_equal(prediction.logits, engine.predict(got, state).logits)
    with pytest.raises(errors.ShapeMismatchError, match="x must have shape"):
        engine.embed_and_predict(x[:, :, :3], state)
    with pytest.raises(errors.BadStateError):
        engine.embed_and_predict(x, None)  # type: ignore[arg-type]


def test_unused_slots_stay_out(tiny_gradient_bundle: Path, rng: np.random.Generator) -> None:
    engine = Engine(tiny_gradient_bundle)
    features = engine.embed(tiny.examples(rng, 3))
    state = engine.adapt(features, np.array([0, 2, 2], np.int64)).state
    np.testing.assert_array_equal(state["counts"], [1, 0, 2, 0])
    logits = engine.predict(features, state).logits
    assert (logits[:, [1, 3]] == np.float32(-1e9)).all()


def test_a_weight_of_zero_leaves_an_example_out(
    tiny_gradient_bundle: Path, rng: np.random.Generator
) -> None:
    engine = Engine(tiny_gradient_bundle)
    features = engine.embed(tiny.examples(rng, 6))
    mask = np.array([1, 1, 1, 1, 0, 0], np.float32)
    padded = engine.adapt(features, SLOTS, mask).state
    alone = engine.adapt(features[:4], SLOTS[:4]).state
    for name in alone.names:
        np.testing.assert_allclose(padded[name], alone[name], atol=1e-6)


def test_without_embed_features_are_the_input(
    tiny_bundle: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    # The graphs take features [8]: an input of that shape needs no embed.onnx.
    source = open_bundle(tiny_bundle).manifest
    bare = tiny.rewrite(
        tiny_bundle,
        tmp_path / "bare",
        graphs={"embed.onnx": None},
        input=type(source.input)(shape=(8,), description="features"),
    )
    x = rng.normal(size=(3, 8)).astype(np.float32)
    engine = Engine(bare)
    np.testing.assert_array_equal(engine.embed(x), x)
    assert engine.embed(x[0]).shape == (1, 8)


def test_bad_arrays_are_typed_errors(tiny_bundle: Path, rng: np.random.Generator) -> None:
    engine = Engine(tiny_bundle)
    x = tiny.examples(rng, 6)
    features = engine.embed(x)
    state = engine.initial_state()
    with pytest.raises(errors.DtypeMismatchError):
        engine.embed(x.astype(np.float64))
    with pytest.raises(errors.ShapeMismatchError):
        engine.embed(x[:, :, :, :3])
    with pytest.raises(errors.NonFiniteError):
        engine.embed(x / np.float32("inf") * np.float32("nan"))
    with pytest.raises(errors.ShapeMismatchError):
        engine.predict(features[:0], state)
    with pytest.raises(errors.EmptySupportError):
        engine.adapt(features[:0], SLOTS[:0])
    with pytest.raises(errors.EmptySupportError):
        engine.adapt(features, SLOTS, np.zeros(6, np.float32))
    with pytest.raises(errors.LabelRangeError):
        engine.adapt(features, SLOTS + 1)
    with pytest.raises(errors.DtypeMismatchError):
        engine.adapt(features, SLOTS.astype(np.int32))
    with pytest.raises(errors.ShapeMismatchError):
        engine.adapt(features, SLOTS[:5])
    with pytest.raises(errors.InvalidOptionError):
        engine.adapt(features, SLOTS, -WEIGHTS)


@pytest.mark.parametrize("steps", [0, -1, True, 1.0, 2, 10**9])
def test_bad_steps_are_refused(tiny_bundle: Path, rng: np.random.Generator, steps: Any) -> None:
    engine = Engine(tiny_bundle)
    with pytest.raises(errors.InvalidOptionError, match="steps"):
        engine.adapt(engine.embed(tiny.examples(rng, 6)), SLOTS, steps=steps)


@pytest.mark.parametrize("state", [None, {"counts": 1}, "state"])
def test_what_is_not_a_state_is_refused(tiny_bundle: Path, state: Any) -> None:
    with pytest.raises(errors.BadStateError, match=r"edge_sdk\.State"):
        Engine(tiny_bundle).predict(np.zeros((1, 8), np.float32), state)


def test_a_state_of_another_bundle_is_refused(
    tiny_bundle: Path, tiny_gradient_bundle: Path
) -> None:
    engine, other = Engine(tiny_bundle), Engine(tiny_gradient_bundle).initial_state()
    features = np.ones((1, 8), np.float32)
    with pytest.raises(errors.BadStateError):
        engine.predict(features, other)
    with pytest.raises(errors.BadStateError):
        engine.adapt(features, np.zeros(1, np.int64), start=other)


def test_divergence_is_an_error(tiny_gradient_bundle: Path) -> None:
    engine = Engine(tiny_gradient_bundle)
    huge = np.full((2, 8), 1e30, np.float32)
    with pytest.raises(errors.DivergedError):
        engine.adapt(huge, np.array([0, 1], np.int64))


def test_graphs_that_do_not_fit_their_manifest_are_refused(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    files = open_bundle(tiny_bundle).files
    swapped = tiny.rewrite(
        tiny_bundle, tmp_path / "swapped", graphs={"predict.onnx": files["embed.onnx"]}
    )
    with pytest.raises(errors.BadBundleError, match=r"predict\.onnx"):
        Engine(swapped)
    nonsense = wire.model(wire.graph([wire.node("Relu", ["nothing"], "loss")]))
    senseless = tiny.rewrite(tiny_bundle, tmp_path / "senseless", graphs={"adapt.onnx": nonsense})
    with pytest.raises(errors.EdgeError, match=r"adapt\.onnx"):
        Engine(senseless)


def test_an_unknown_provider_is_refused(tiny_bundle: Path) -> None:
    with pytest.raises(errors.InvalidOptionError):
        Engine(tiny_bundle, providers=("abacus",))


def test_threads_share_an_engine(tiny_gradient_bundle: Path, rng: np.random.Generator) -> None:
    engine = Engine(tiny_gradient_bundle)
    x = tiny.examples(rng, 6)
    want = engine.adapt(engine.embed(x), SLOTS).state

    def work(_: int) -> bool:
        return engine.adapt(engine.embed(x), SLOTS).state == want

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(200)))
