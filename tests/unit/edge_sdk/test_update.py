"""ModelUpdate: which tensors may leave, the clip, and refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk import Engine, Personalizer, State, errors, open_bundle
from edge_sdk.update import clip_to_norm, joint_norm, make_update, shareable_names
from tests.support import tiny

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def labelled_head(tiny_gradient_bundle: Path, tmp_path: Path) -> Path:
    """The gradient bundle, its first two slots named."""
    return tiny.rewrite(tiny_gradient_bundle, tmp_path / "labelled", labels=("a", "b"))


def shifted(state: State, by: float) -> State:
    return State.from_arrays({name: state[name] + np.float32(by) for name in state.names})


def test_slot_tensors_are_shared_only_where_slots_have_a_meaning(
    tiny_bundle: Path, tiny_labelled_bundle: Path, tiny_gradient_bundle: Path, labelled_head: Path
) -> None:
    shared = {
        path.name: shareable_names(open_bundle(path).manifest)
        for path in (tiny_bundle, tiny_labelled_bundle, tiny_gradient_bundle, labelled_head)
    }
    assert shared == {
        "tiny_prototypical": (),
        "tiny_labelled": ("prototypes",),
        "tiny_gradient": ("mixing",),
        "labelled": ("mixing", "weight", "bias"),
    }


def test_an_update_within_the_bound_keeps_its_bits(rng: np.random.Generator) -> None:
    delta = {"a": rng.normal(size=(3, 4)).astype(np.float32), "b": np.array(2.5, np.float32)}
    got = clip_to_norm(delta, clipping_norm=100)
    for name, values in delta.items():
        np.testing.assert_array_equal(got[name], values)
        assert not np.shares_memory(got[name], values)


def test_the_bound_is_on_the_whole_update() -> None:
    delta = {"a": np.full(9, 1, np.float32), "b": np.full((4, 4), 1, np.float32)}
    assert joint_norm(delta) == 5
    got = clip_to_norm(delta, clipping_norm=1)
    np.testing.assert_allclose(got["a"], 0.2, rtol=1e-6)
    np.testing.assert_allclose(got["b"], 0.2, rtol=1e-6)


def test_a_zero_update_stays_zero() -> None:
    got = clip_to_norm({"a": np.zeros((2, 3), np.float32)}, clipping_norm=1e-30)
    np.testing.assert_array_equal(got["a"], np.zeros((2, 3)))
    assert clip_to_norm({}, clipping_norm=1) == {}
    assert joint_norm({}) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(errors.NonFiniteError):
        clip_to_norm({"a": np.array([0, value], np.float32)}, clipping_norm=1)


def test_other_dtypes_are_refused() -> None:
    with pytest.raises(errors.DtypeMismatchError):
        clip_to_norm({"a": np.zeros(2)}, clipping_norm=1)  # type: ignore[dict-item]


@pytest.mark.parametrize("norm", [0, -1, np.nan, np.inf])
def test_a_bad_bound_is_refused(norm: float) -> None:
    with pytest.raises(errors.InvalidOptionError):
        clip_to_norm({"a": np.zeros(2, np.float32)}, clipping_norm=norm)


def test_the_update_is_the_difference_of_what_may_leave(tiny_gradient_bundle: Path) -> None:
    engine = Engine(tiny_gradient_bundle)
    manifest, start = engine.bundle.manifest, engine.initial_state()
    update = make_update(manifest, engine.bundle.digest, start, shifted(start, 0.25), 1e9)
    assert update.bundle_digest == engine.bundle.digest
    assert set(update.delta) == {"mixing"}
    np.testing.assert_allclose(update.delta["mixing"], 0.25, atol=1e-6)
    with pytest.raises(ValueError, match="read-only"):
        update.delta["mixing"][0] = 1


def test_slots_of_the_user_s_own_labels_stay_at_home(labelled_head: Path) -> None:
    engine = Engine(labelled_head)
    start = engine.initial_state()
    update = make_update(engine.bundle.manifest, "d", start, shifted(start, 1), 1e9)
    for name in ("weight", "bias"):
        assert (update.delta[name][:2] != 0).all()
        assert (update.delta[name][2:] == 0).all()


def test_a_bundle_that_shares_nothing_has_no_update(tiny_bundle: Path) -> None:
    engine = Engine(tiny_bundle)
    start = engine.initial_state()
    with pytest.raises(errors.BadUpdateError, match="shares nothing"):
        make_update(engine.bundle.manifest, engine.bundle.digest, start, start, 1)


def test_states_of_another_bundle_are_refused(
    tiny_gradient_bundle: Path, tiny_bundle: Path
) -> None:
    engine, other = Engine(tiny_gradient_bundle), Engine(tiny_bundle)
    with pytest.raises(errors.BadStateError, match="mixing"):
        make_update(engine.bundle.manifest, "d", engine.initial_state(), other.initial_state(), 1)


def test_an_overflowing_difference_is_refused(tiny_gradient_bundle: Path) -> None:
    engine = Engine(tiny_gradient_bundle)
    start = engine.initial_state()
    high, low = shifted(start, 3e38), shifted(start, -3e38)
    with pytest.raises(errors.NonFiniteError):
        make_update(engine.bundle.manifest, "d", low, high, 1)


def test_a_personal_update(labelled_head: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    with Personalizer(labelled_head, home=tmp_path / "home", guardrail=None) as personal:
        with pytest.raises(errors.NothingTaughtError):
            personal.update(1.0)
        personal.teach("b", tiny.examples(rng, 3))
        personal.teach("mine", tiny.examples(rng, 3))
        personal.adapt()
        engine = Engine(labelled_head)
        update = personal.update(1e9)
        want = make_update(
            engine.bundle.manifest,
            engine.bundle.digest,
            engine.initial_state(),
            personal.state,
            1e9,
        )
        for name, values in want.delta.items():
            np.testing.assert_array_equal(update.delta[name], values)
        assert joint_norm(personal.update(1e-3).delta) <= 1e-3
        start = shifted(engine.initial_state(), 0.5)
        elsewhere = personal.update(1e9, start=start)
        adapted = engine.adapt(*personal.support(), start=start).state
        np.testing.assert_array_equal(
            elsewhere.delta["mixing"], adapted["mixing"] - start["mixing"]
        )
