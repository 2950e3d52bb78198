"""The bound Engine: results, one Python class for each error code, and no user data in messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_sdk import errors
from edge_sdk._core import ERROR_CODES, Engine, State

if TYPE_CHECKING:
    from collections.abc import Callable

WAYS, DIM = 4, 8
SECRET = 987654  # stands for user data: must never be in a message


def support(rng: np.random.Generator, n: int = 10) -> tuple[Any, Any]:
    return rng.normal(size=(n, DIM)).astype(np.float32), np.arange(n) % WAYS


def test_every_core_code_has_its_class() -> None:
    for code in ERROR_CODES:
        error = errors.from_code(code, "text")
        assert type(error) is not errors.EdgeError
        assert error.code == code


def test_adapt_gives_a_state_and_a_loss_a_step(
    gradient_engine: Engine, rng: np.random.Generator
) -> None:
    features, labels = support(rng)
    start = gradient_engine.initial_state()
    before = start.to_bytes()
    state, losses = gradient_engine.adapt(features, labels)
    assert losses.dtype == np.float32
    assert losses.shape == (5,)
    assert losses[-1] < losses[0]
    assert state.names == start.names
    assert state != start
    assert gradient_engine.initial_state().to_bytes() == before


def test_steps_add_up(gradient_engine: Engine, rng: np.random.Generator) -> None:
    features, labels = support(rng)
    weights = rng.uniform(0, 1, len(labels)).astype(np.float32)
    two, _ = gradient_engine.adapt(features, labels, weights, 2)
    five, _ = gradient_engine.adapt(features, labels, weights, steps=3, start=two)
    assert five == gradient_engine.adapt(features, labels, weights, 5)[0]


def test_the_bits_do_not_depend_on_memory_layout(
    gradient_engine: Engine, rng: np.random.Generator
) -> None:
    features, labels = support(rng)
    want, _ = gradient_engine.adapt(features, labels)
    strided = np.repeat(features, 2, axis=1)[:, ::2]
    shifted = np.frombuffer(b"\0" * 4 + features.tobytes(), np.float32)[1:].reshape(features.shape)
    read_only = features.copy()
    read_only.setflags(write=False)
    for same in (strided, np.asfortranarray(features), shifted, read_only):
        assert gradient_engine.adapt(same, labels)[0] == want


def test_embed_and_predict_give_arrays_of_their_own(
    gradient_engine: Engine, rng: np.random.Generator
) -> None:
    x = rng.normal(size=(3, 1, 4, 4)).astype(np.float32)
    features = gradient_engine.embed(x)
    assert features.shape == (3, DIM)
    assert features.dtype == np.float32
    logits, _ = gradient_engine.predict(features, gradient_engine.initial_state())
    assert logits.shape == (3, WAYS)
    for array in (features, logits):
        assert array.flags.writeable
        assert array.flags.c_contiguous
        assert not np.shares_memory(array, x)


def test_without_embed_the_features_are_a_copy_of_the_input(
    engine_with: Callable[..., Engine], rng: np.random.Generator
) -> None:
    engine = engine_with(embed=None, input_shape=(DIM,))
    x, _ = support(rng)
    features = engine.embed(x)
    assert np.array_equal(features, x)
    assert not np.shares_memory(features, x)


def test_closed_form_takes_one_step(closed_form_engine: Engine, rng: np.random.Generator) -> None:
    features, labels = support(rng)
    _, losses = closed_form_engine.adapt(features, labels)
    assert losses.shape == (1,)
    with pytest.raises(errors.InvalidOptionError, match="steps must be 1"):
        closed_form_engine.adapt(features, labels, None, 2)


def test_the_runtime_names_itself(gradient_engine: Engine) -> None:
    assert gradient_engine.runtime_version.count(".") == 2


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda x, y, w: (x[:, :5], y, w), errors.ShapeMismatchError, r"\[n, 8\], got \[10, 5\]"),
        (lambda x, y, w: (x, y[:4], w), errors.ShapeMismatchError, r"labels .* \[10\], got \[4\]"),
        (lambda x, y, w: (x, y, w[:4]), errors.ShapeMismatchError, r"weights .* \[10\]"),
        (lambda x, y, w: (x[:0], y[:0], w[:0]), errors.EmptySupportError, "at least one"),
        (lambda x, y, w: (x, y, w * 0), errors.EmptySupportError, "weights are zero"),
        (lambda x, y, w: (x, y, w - 2), errors.InvalidOptionError, r"weights\[0\] must be >= 0"),
        (lambda x, y, w: (x, y + SECRET, w), errors.LabelRangeError, r"labels\[0\] .* 0\.\.3"),
        (lambda x, y, w: (x, y - 1, w), errors.LabelRangeError, r"labels\[0\] is outside"),
        (lambda x, y, w: (x * np.float32(np.inf), y, w), errors.NonFiniteError, "features"),
        (lambda x, y, w: (x, y, w * np.float32(np.nan)), errors.NonFiniteError, "weights"),
        (lambda x, y, w: (x.astype(np.float64), y, w), errors.DtypeMismatchError, "float64"),
        (lambda x, y, w: (x, y.astype(np.int32), w), errors.DtypeMismatchError, "int32"),
        (lambda x, y, w: (x, y, w.astype(np.int64)), errors.DtypeMismatchError, "int64"),
        (lambda x, y, w: (x.tolist(), y, w), errors.DtypeMismatchError, "got list"),
        (lambda x, _y, w: (x, [SECRET], w), errors.DtypeMismatchError, "got list"),
        (lambda x, y, _w: (x, y, SECRET), errors.DtypeMismatchError, "got int"),
    ],
)
def test_a_bad_support_set_changes_nothing(
    gradient_engine: Engine,
    rng: np.random.Generator,
    change: Callable[[Any, Any, Any], tuple[Any, Any, Any]],
    error: type[errors.EdgeError],
    text: str,
) -> None:
    features, labels = support(rng)
    start, _ = gradient_engine.adapt(features, labels)
    before = start.to_bytes(), gradient_engine.initial_state().to_bytes()
    weights = np.ones(len(labels), np.float32)
    with pytest.raises(error, match=text) as caught:
        gradient_engine.adapt(*change(features, labels, weights), start=start)
    assert str(SECRET) not in str(caught.value)
    assert (start.to_bytes(), gradient_engine.initial_state().to_bytes()) == before


@pytest.mark.parametrize("steps", [0, -1, 10**6 + 1, 10**30, True, 2.0, "3"])
def test_steps_must_be_a_sensible_int(
    gradient_engine: Engine, rng: np.random.Generator, steps: Any
) -> None:
    features, labels = support(rng)
    with pytest.raises(errors.InvalidOptionError, match="steps"):
        gradient_engine.adapt(features, labels, None, steps)


def test_divergence_names_the_step(gradient_engine: Engine, rng: np.random.Generator) -> None:
    features, labels = support(rng)
    with pytest.raises(errors.DivergedError, match="at step 2"):
        gradient_engine.adapt(features * np.float32(1e30), labels)


@pytest.mark.parametrize("method", ["embed", "predict"])
@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda a: a[:0], errors.ShapeMismatchError),
        (lambda a: a[0], errors.ShapeMismatchError),
        (lambda a: a[..., :2], errors.ShapeMismatchError),
        (lambda a: a * np.float32(np.nan), errors.NonFiniteError),
        (lambda a: a.astype(np.float16), errors.DtypeMismatchError),
        (lambda a: a.tolist(), errors.DtypeMismatchError),
    ],
)
def test_bad_examples_are_refused(
    gradient_engine: Engine,
    method: str,
    change: Callable[[Any], Any],
    error: type[errors.EdgeError],
) -> None:
    shape = (2, 1, 4, 4) if method == "embed" else (2, DIM)
    bad = change(np.ones(shape, np.float32))
    state = gradient_engine.initial_state()
    with pytest.raises(error):
        gradient_engine.embed(bad) if method == "embed" else gradient_engine.predict(bad, state)


def test_states_of_other_bundles_are_refused(
    gradient_engine: Engine, closed_form_engine: Engine, rng: np.random.Generator
) -> None:
    features, labels = support(rng)
    other = closed_form_engine.initial_state()
    with pytest.raises(errors.BadStateError, match="tensors"):
        gradient_engine.predict(features, other)
    with pytest.raises(errors.BadStateError, match="tensors"):
        gradient_engine.adapt(features, labels, start=other)
    initial = gradient_engine.initial_state()
    broken = State.from_arrays({name: initial[name] * np.float32(np.nan) for name in initial.names})
    with pytest.raises(errors.NonFiniteError, match="state tensor"):
        gradient_engine.predict(features, broken)
    for not_a_state in (None, {"w": features}, SECRET):
        with pytest.raises(errors.DtypeMismatchError, match="state must be a State"):
            gradient_engine.predict(features, not_a_state)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"threads": 0}, errors.InvalidOptionError, "threads"),
        ({"providers": []}, errors.InvalidOptionError, "cpu"),
        ({"providers": ["qnn"]}, errors.InvalidOptionError, "qnn is not available; available: cpu"),
        ({"library": "/nowhere/libonnxruntime.so"}, errors.RuntimeLibraryError, "install"),
        ({"library": ""}, errors.RuntimeLibraryError, "no path"),
        ({"ways": 5}, errors.BadBundleError, r"predict\.onnx: output logits"),
        ({"feature_shape": (9,)}, errors.BadBundleError, r"adapt\.onnx: input features"),
        ({"input_shape": (16,)}, errors.BadBundleError, r"embed\.onnx: input x"),
        ({"embed": None}, errors.BadBundleError, r"without embed\.onnx"),
        ({"state": []}, errors.BadBundleError, r"manifest\.json"),
        ({"adapt": b"nonsense"}, errors.BadBundleError, r"adapt\.onnx"),
        ({"init": b""}, errors.BadBundleError, r"init\.onnx"),
        ({"init": b":\x00"}, errors.RuntimeFailedError, r"init\.onnx"),  # a graph, no operator set
    ],
)
def test_what_cannot_be_loaded_is_refused(
    engine_with: Callable[..., Engine],
    changes: dict[str, Any],
    error: type[errors.EdgeError],
    text: str,
) -> None:
    with pytest.raises(error, match=text):
        engine_with(**changes)


def test_a_name_of_any_bytes_in_a_graph_is_a_typed_error_too(
    gradient_arguments: dict[str, Any],
) -> None:
    predict = gradient_arguments["predict"].replace(b"logits", b"l\xffgits")
    assert predict != gradient_arguments["predict"]
    with pytest.raises(errors.BadBundleError, match="unexpected output l\N{REPLACEMENT CHARACTER}"):
        Engine(**{**gradient_arguments, "predict": predict})
