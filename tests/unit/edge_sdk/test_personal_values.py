"""A personalizer of values: kept, adapted to, forgotten, judged, and what it refuses."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_sdk import Capacity, Engine, Personalizer, errors, open_bundle
from edge_sdk.drift import DriftAdvice
from edge_sdk.guardrail_rule import Decision, Reason
from tests.support import tiny
from tests.support.homes import all_bytes, run_sql, shots, teach_in_turn

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

Rows = tuple["NDArray[np.float32]", "NDArray[np.float32]"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def drawn(path: Path, n: int, *, seed: int = 0) -> Rows:
    """Values that are a linear map of the features, with little noise; and inputs."""
    rng = np.random.default_rng([7, seed])
    x = 0.8 * tiny.examples(rng, n)
    truth = np.random.default_rng(5).normal(size=(tiny.DIM, tiny.OUTPUTS))
    values = Engine(path).embed(x) @ truth + rng.normal(0, 0.02, (n, tiny.OUTPUTS))
    return values.astype(np.float32), x


def test_values_are_learned_and_kept(tiny_regression_bundle: Path, home: Path) -> None:
    values, x = drawn(tiny_regression_bundle, 20)
    asked_values, asked = drawn(tiny_regression_bundle, 50, seed=1)
    engine = Engine(tiny_regression_bundle)
    with Personalizer(tiny_regression_bundle, home=home) as personal:
        with pytest.raises(errors.NothingTaughtError, match="teach_values"):
            personal.predict_values(asked)
        assert personal.teach_values(values[:19], x[:19]) == tuple(range(1, 20))
        assert personal.teach_values(values[19], x[19]) == (20,)
        assert personal.version == 0
        report = personal.adapt()
        assert report.version == 1
        assert (report.num_examples, report.num_labels) == (20, 1)
        found = personal.predict_values(asked)
        assert found.version == 1
        state = engine.adapt(engine.embed(x), values).state
        expected = engine.predict_values(engine.embed(asked), state)
        np.testing.assert_array_equal(found.mean, expected.mean)
        np.testing.assert_array_equal(found.variance, expected.variance)
        assert np.var(found.mean - asked_values) < 0.5 * np.var(asked_values)
        assert personal.state == state
        assert personal.labels == ()
        examples = personal.examples
        assert [example.id for example in examples] == list(range(1, 21))
        assert {example.label for example in examples} == {""}
        kept = np.array([example.value for example in examples], np.float32)
        np.testing.assert_array_equal(kept, values)
        features, taught = personal.support_values()
        np.testing.assert_array_equal(features, engine.embed(x))
        np.testing.assert_array_equal(taught, values)
        update = personal.update(10.0)
        delta = state["weight"] - engine.initial_state()["weight"]
        np.testing.assert_allclose(update.delta["weight"], delta, rtol=1e-6)
        assert personal.predict_values(asked[0]).mean.shape == (1, tiny.OUTPUTS)
    with Personalizer(tiny_regression_bundle, home=home) as personal:
        assert personal.state == state
        assert personal.status.damage == ""


def test_forgetting_a_value_is_exact(
    tiny_regression_bundle: Path, home: Path, tmp_path: Path
) -> None:
    values, x = drawn(tiny_regression_bundle, 12)
    rest = np.arange(12) != 4
    with Personalizer(tiny_regression_bundle, home=home) as personal:
        personal.teach_values(values, x)
        personal.adapt()
        secret = values[4].tobytes()
        personal.forget(5)
        assert len(personal.examples) == 11
        with pytest.raises(errors.UnknownExampleError):
            personal.forget(5)
        with Personalizer(tiny_regression_bundle, home=tmp_path / "never") as other:
            other.teach_values(values[rest], x[rest])
            other.adapt()
            assert other.state == personal.state
        personal.roll_back()
        assert personal.version == 0
    assert secret not in all_bytes(home)
    with Personalizer(tiny_regression_bundle, home=home) as personal:
        personal.erase()
        assert personal.examples == ()
        assert personal.state == personal.initial_state


def test_a_damaged_state_is_computed_again_and_a_damaged_value_is_noticed(
    tiny_regression_bundle: Path, home: Path
) -> None:
    values, x = drawn(tiny_regression_bundle, 8)
    with Personalizer(tiny_regression_bundle, home=home) as personal:
        personal.teach_values(values, x)
        personal.adapt()
        state = personal.state
    run_sql(home, "UPDATE generations SET data = zeroblob(3) WHERE role = 0")
    with Personalizer(tiny_regression_bundle, home=home) as personal:
        assert personal.state == state
    run_sql(home, "UPDATE examples SET features = features || x'00' WHERE id = 3")
    with Personalizer(tiny_regression_bundle, home=home) as personal:
        with pytest.raises(errors.StoreDamagedError, match="example 3 is damaged"):
            personal.adapt()
        assert personal.predict_values(x).version == 1
    with Personalizer(tiny_regression_bundle, home=home, drop_damaged=True) as personal:
        assert personal.dropped == (3,)
        assert personal.adapt().num_examples == 7


def test_capacity_counts_all_values_together(tiny_regression_bundle: Path, home: Path) -> None:
    values, x = drawn(tiny_regression_bundle, 9)
    capacity = Capacity(per_label=4)
    with Personalizer(tiny_regression_bundle, home=home, capacity=capacity) as personal:
        personal.teach_values(values, x)
        assert [example.id for example in personal.examples] == [6, 7, 8, 9]


@pytest.mark.parametrize("policy", ["reservoir", "herding"])
def test_other_policies_take_values_too(
    tiny_regression_bundle: Path, home: Path, policy: Any
) -> None:
    values, x = drawn(tiny_regression_bundle, 9)
    capacity = Capacity(per_label=4, policy=policy)
    with Personalizer(tiny_regression_bundle, home=home, capacity=capacity) as personal:
        personal.teach_values(values, x)
        assert len(personal.examples) == 4


def test_in_the_background_it_is_the_same(tiny_regression_bundle: Path, home: Path) -> None:
    values, x = drawn(tiny_regression_bundle, 20)
    parts: list[float] = []
    with Personalizer(tiny_regression_bundle, home=home) as personal:
        personal.teach_values(values, x)
        direct = personal.adapt()
        state = personal.state
        job = personal.adapt(background=True, progress=parts.append)
        report = job.result(timeout_s=60)
        assert report.version == 2
        assert personal.state == state
        assert parts[-1] == 1.0
        np.testing.assert_array_equal(report.losses, direct.losses)


def test_the_guardrail_keeps_what_predicts_and_not_what_does_not(
    tiny_regression_bundle: Path, home: Path, tmp_path: Path
) -> None:
    values, x = drawn(tiny_regression_bundle, 40)
    with Personalizer(tiny_regression_bundle, home=home) as personal:
        personal.teach_values(values, x)
        good = personal.adapt().guardrail
    assert good is not None
    assert (good.decision, good.reason) == (Decision.KEEP, Reason.BETTER_THAN_GUESSING)
    assert good.against_guessing is not None
    assert good.against_guessing.guess_rate == 0.5
    assert good.held_out_accuracy is not None
    assert good.held_out_accuracy > 0.7
    assert good.suspect_share == 0.0

    rng = np.random.default_rng(3)
    noise = rng.normal(5, 1, values.shape).astype(np.float32)  # has nothing to do with x
    with Personalizer(tiny_regression_bundle, home=tmp_path / "noise") as personal:
        personal.teach_values(noise, x)
        bad = personal.adapt().guardrail
        assert bad is not None
        assert bad.decision is not Decision.KEEP
        assert personal.version == 0
        with pytest.raises(errors.NothingTaughtError):
            personal.predict_values(x)


def test_inputs_that_look_different_are_noticed(
    tiny_regression_bundle: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_sdk.live_store._LOOK_EVERY_S", 0.0)
    values, x = drawn(tiny_regression_bundle, 40)
    _, usual = drawn(tiny_regression_bundle, 100, seed=2)
    with Personalizer(tiny_regression_bundle, home=home) as personal:
        personal.teach_values(values, x)
        personal.adapt()
        for row in usual:
            personal.predict_values(row)
        assert personal.status.recommendation is None
        for row in usual:
            personal.predict_values(3 * row + 1)
        assert personal.status.recommendation is DriftAdvice.ADAPT_AGAIN
        assert personal.version == 1


def test_a_posterior_variance_of_labels_comes_out_too(
    tiny_bundle: Path, tmp_path: Path, home: Path
) -> None:
    onnx = pytest.importorskip("onnx", reason="makes a bundle with a variance")
    model = onnx.load_from_string(open_bundle(tiny_bundle).files["predict.onnx"])
    model.graph.node.append(onnx.helper.make_node("Sigmoid", ["logits"], ["variance"]))
    variance = onnx.helper.make_tensor_value_info("variance", onnx.TensorProto.FLOAT, ["n", 4])
    model.graph.output.append(variance)
    path = tiny.rewrite(
        tiny_bundle, tmp_path / "new", graphs={"predict.onnx": model.SerializeToString()},
        variance=True,
    )  # fmt: skip
    with Personalizer(path, home=home) as personal:
        teach_in_turn(personal, "a", "b")
        found = personal.predict(shots(1))
        engine = Engine(path)
        raw = engine.predict(engine.embed(shots(1)), personal.state)
    assert raw.variance is not None
    assert found.variance is not None
    assert found.variance.shape == found.probabilities.shape == (3, 2)
    np.testing.assert_array_equal(found.variance, raw.variance[:, :2])


REFUSED: list[tuple[str, tuple[Any, ...], type[errors.EdgeError], str]] = [
    ("teach", ("label", np.zeros((1, 1, 4, 4), np.float32)), errors.InvalidOptionError,
     r"use teach_values\(\)"),
    ("predict", (np.zeros((1, 1, 4, 4), np.float32),), errors.InvalidOptionError,
     r"use predict_values\(\)"),
    ("feedback", (None, True), errors.InvalidOptionError, r"use teach_values\(\)"),
    ("forget", ("label",), errors.InvalidOptionError, "by the ids"),
    ("forget", (True,), errors.InvalidOptionError, "by the ids"),
    ("support", (), errors.InvalidOptionError, r"use support_values\(\)"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments", "error", "message"), REFUSED)
def test_what_is_for_labels_is_refused(
    tiny_regression_bundle: Path,
    home: Path,
    name: str,
    arguments: tuple[Any, ...],
    error: type[Exception],
    message: str,
) -> None:
    with Personalizer(tiny_regression_bundle, home=home) as personal:
        with pytest.raises(error, match=message):
            getattr(personal, name)(*arguments)
        assert personal.examples == ()


def test_what_is_for_values_is_refused_by_a_bundle_of_labels(tiny_bundle: Path, home: Path) -> None:
    x = np.zeros((1, *tiny.INPUT_SHAPE), np.float32)
    with Personalizer(tiny_bundle, home=home) as personal:
        with pytest.raises(errors.InvalidOptionError, match=r"use teach\(\)"):
            personal.teach_values(np.zeros((1, 2), np.float32), x)
        with pytest.raises(errors.InvalidOptionError, match=r"use predict\(\)"):
            personal.predict_values(x)
        with pytest.raises(errors.InvalidOptionError, match=r"use support\(\)"):
            personal.support_values()
        personal.teach("a", x)
        assert personal.examples[0].value is None


HOSTILE: list[tuple[Any, int, type[errors.EdgeError]]] = [
    (np.zeros((2, 2)), 2, errors.DtypeMismatchError),
    (np.zeros((2, 2), np.int64), 2, errors.DtypeMismatchError),
    ([[0.0, 1.0]], 1, errors.DtypeMismatchError),
    ("1234.5678", 1, errors.DtypeMismatchError),
    (np.ma.masked_array(np.zeros((2, 2), np.float32), mask=True), 2, errors.DtypeMismatchError),
    (np.zeros((2, 3), np.float32), 2, errors.ShapeMismatchError),
    (np.zeros((0, 2), np.float32), 2, errors.ShapeMismatchError),
    (np.zeros((3, 2), np.float32), 2, errors.ShapeMismatchError),
    (np.zeros(2, np.float32), 2, errors.ShapeMismatchError),
    (np.zeros((2, 2, 1), np.float32), 2, errors.ShapeMismatchError),
    (np.array([[0, 1], [np.nan, 1]], np.float32), 2, errors.NonFiniteError),
    (np.array([[0, 1], [np.inf, 1234.5678]], np.float32), 2, errors.NonFiniteError),
]


@pytest.mark.parametrize(("values", "n", "error"), HOSTILE)
def test_bad_values_change_nothing_and_are_not_shown(
    tiny_regression_bundle: Path,
    home: Path,
    values: Any,
    n: int,
    error: type[errors.EdgeError],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    good, x = drawn(tiny_regression_bundle, 3)
    with Personalizer(tiny_regression_bundle, home=home) as personal:
        personal.teach_values(good, x)
        before = personal.examples
        with pytest.raises(error) as caught:
            personal.teach_values(values, np.zeros((n, *tiny.INPUT_SHAPE), np.float32))
        assert "1234" not in str(caught.value)
        assert "1234" not in caplog.text
        assert personal.examples == before


def test_a_home_is_of_labels_or_of_values(
    tiny_regression_bundle: Path, tiny_bundle: Path, home: Path
) -> None:
    """Both bundles have the same embed.onnx: the examples of one are not read as the other's."""
    values, x = drawn(tiny_regression_bundle, 3)
    assert (
        Engine(tiny_bundle).bundle.embed_identity
        == Engine(tiny_regression_bundle).bundle.embed_identity
    )
    with Personalizer(tiny_regression_bundle, home=home) as personal:
        personal.teach_values(values, x)
    with pytest.raises(errors.BadStateError):
        Personalizer(tiny_bundle, home=home)
    with Personalizer(tiny_regression_bundle, home=home) as personal:
        assert len(personal.examples) == 3


def test_values_are_sealed(tiny_regression_bundle: Path, home: Path) -> None:
    pytest.importorskip("cryptography", reason="needs the extra secure")
    values, x = drawn(tiny_regression_bundle, 3)
    key = bytes(range(32))
    with Personalizer(tiny_regression_bundle, home=home, key=key) as personal:
        personal.teach_values(values, x)
        personal.adapt()
        state = personal.state
    data = all_bytes(home)
    assert not any(row.tobytes() in data for row in values)
    with pytest.raises(errors.WrongKeyError):
        Personalizer(tiny_regression_bundle, home=home)
    with Personalizer(tiny_regression_bundle, home=home, key=key) as personal:
        assert personal.state == state
