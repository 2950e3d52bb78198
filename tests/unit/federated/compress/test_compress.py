"""Grids, the update code, tensors as one vector: error, bytes, and what malformed bytes give."""

from __future__ import annotations

import numpy as np
import pytest

from edge_sdk import _core
from edge_sdk.errors import (
    BadUpdateError,
    DtypeMismatchError,
    InvalidOptionError,
    NonFiniteError,
    ShapeMismatchError,
)
from edge_sdk.grid import flatten, unflatten
from federated.compress.grid import GridOptions, restore_sum, round_update
from federated.compress.update_code import CodeOptions, compress, decompress

SEED = b"s" * 32


def heavy_tailed(rng: np.random.Generator, n: int = 5000) -> np.ndarray:
    """An update of norm 1 of which few entries are large, as those of heads are."""
    values = rng.normal(size=n) ** 5
    return (values / np.linalg.norm(values)).astype(np.float32)


def test_tensors_become_one_vector_and_come_back(rng: np.random.Generator) -> None:
    tensors = {
        "b": rng.normal(size=(2, 3)).astype(np.float32),
        "a": np.float32([1.0]),
        "c": np.zeros((0, 4), np.float32),
        "d": np.array(2.0, np.float32),
    }
    shapes = {name: value.shape for name, value in tensors.items()}
    vector = flatten(tensors)
    assert (len(vector), vector[0], vector[-1]) == (8, 1.0, 2.0)
    back = unflatten(vector, shapes)
    assert {name: value.tobytes() for name, value in back.items()} == {
        name: value.tobytes() for name, value in tensors.items()
    }
    with pytest.raises(InvalidOptionError):
        unflatten(vector[1:], shapes)


@pytest.mark.parametrize("rotation", [None, b"r" * 32])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_cohorts_sum_is_estimated_without_bias(
    rng: np.random.Generator, bits: int, rotation: bytes | None
) -> None:
    updates = [heavy_tailed(rng) for _ in range(20)]
    options = GridOptions(length=5000, clipping_norm=1.0, bits=bits, rotation_seed=rotation)
    total = np.zeros(5000, np.int64)
    for i, update in enumerate(updates):
        steps, residual = round_update(update, options, seed=bytes((i,)) * 32)
        assert steps.dtype == np.int32
        assert np.abs(steps).max() <= options.limit
        own = restore_sum(steps.astype(np.int64), options)
        np.testing.assert_allclose(own + residual, update, atol=1e-5)
        assert np.linalg.norm(options.step * steps) <= options.norm_bound
        total += steps
    error = restore_sum(total, options) - np.sum(updates, axis=0)
    # Each entry's error is below a step with mean 0: the norm of the sum's is at most
    # sqrt(clients * entries) * step / 2, and here not far below.
    assert np.linalg.norm(error) < np.sqrt(20 * 5000) * options.step / 2


def test_a_rotation_makes_the_same_bits_worth_more(rng: np.random.Generator) -> None:
    update = heavy_tailed(rng)
    errors = {}
    for rotation in (None, b"r" * 32):
        options = GridOptions(length=5000, clipping_norm=1.0, rotation_seed=rotation)
        errors[rotation] = np.linalg.norm(round_update(update, options, seed=SEED)[1])
    assert errors[b"r" * 32] < errors[None] / 4


@pytest.mark.parametrize(
    "changed",
    [
        {"length": 0},
        {"clipping_norm": 0.0},
        {"clipping_norm": float("nan")},
        {"bits": 4},
        {"rotation_seed": b"short"},
    ],
)
def test_what_is_no_grid(changed: dict[str, object]) -> None:
    with pytest.raises(InvalidOptionError):
        GridOptions(**{"length": 5, "clipping_norm": 1.0, **changed})  # type: ignore[arg-type]


def test_what_does_not_fit_a_grid() -> None:
    options = GridOptions(length=5, clipping_norm=1.0)
    with pytest.raises(ShapeMismatchError):
        round_update(np.zeros(4, np.float32), options, seed=SEED)
    with pytest.raises(DtypeMismatchError):
        round_update(np.zeros(5), options, seed=SEED)  # type: ignore[arg-type]
    with pytest.raises(NonFiniteError):
        round_update(np.full(5, np.inf, np.float32), options, seed=SEED)
    with pytest.raises(ShapeMismatchError):
        restore_sum(np.zeros(4, np.int64), options)


def test_errors_of_the_core_do_not_show_values() -> None:
    values = np.full(3, 0.123456, np.float32)
    for call in (
        lambda: _core.round_to_grid(values, step="x", limit=1, seed=SEED),  # type: ignore[arg-type]
        lambda: _core.round_to_grid(values, step=1.0, limit=2**40, seed=SEED),
        lambda: _core.round_to_grid(values, step=1.0, limit=True, seed=SEED),
        lambda: _core.rotate(values, seed=b""),
        lambda: _core.rotate(values[None], seed=SEED),
        lambda: _core.largest_entries(values, -1),
        lambda: _core.apply_masks(values, add=b"", subtract=b""),  # type: ignore[type-var]
        lambda: _core.apply_masks(np.zeros(3, np.uint32), add=b"x", subtract=b""),
    ):
        with pytest.raises((InvalidOptionError, ShapeMismatchError, DtypeMismatchError)) as caught:
            call()
        assert "0.123" not in str(caught.value)


CODES = [
    CodeOptions(),
    CodeOptions(bits=16),
    CodeOptions(rotation_seed=b"r" * 32),
    CodeOptions(keep=0.01),
    CodeOptions(keep=0.3, bits=16),
]


@pytest.mark.parametrize("options", CODES, ids=str)
def test_what_the_code_takes_is_the_residual(
    rng: np.random.Generator, options: CodeOptions
) -> None:
    update = heavy_tailed(rng)
    raw, residual = compress(update, options, seed=SEED)
    assert len(raw) < update.nbytes / 1.9
    got = decompress(raw, length=5000)
    np.testing.assert_allclose(got + residual, update, atol=1e-6)
    assert np.linalg.norm(residual) < 0.5
    if options.keep < 1:
        assert np.count_nonzero(got) <= np.ceil(5000 * options.keep)


def test_error_feedback_sends_later_what_was_left_out(rng: np.random.Generator) -> None:
    update = heavy_tailed(rng)
    options = CodeOptions(keep=0.05)
    residual, with_feedback, without = np.zeros_like(update), 0.0, 0.0
    for step in range(30):
        seed = bytes((step,)) * 32
        raw, residual = compress(update + residual, options, seed=seed)
        with_feedback = with_feedback + decompress(raw, length=5000)
        without = without + decompress(compress(update, options, seed=seed)[0], length=5000)
    lost = np.linalg.norm(30 * update - with_feedback)
    assert lost < np.linalg.norm(30 * update - without) / 3
    assert lost == pytest.approx(np.linalg.norm(residual), rel=1e-3)


def test_an_update_of_zeros() -> None:
    for options in CODES:
        raw, residual = compress(np.zeros(100, np.float32), options, seed=SEED)
        assert not decompress(raw, length=100).any()
        assert not residual.any()


@pytest.mark.parametrize(
    "changed",
    [{"bits": 4}, {"keep": 0.0}, {"keep": 1.5}, {"rotation_seed": b"r" * 32, "keep": 0.5}],
)
def test_what_is_no_code(changed: dict[str, object]) -> None:
    with pytest.raises(InvalidOptionError):
        CodeOptions(**changed)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", CODES, ids=str)
def test_damaged_codes_are_refused_or_of_the_right_length(
    rng: np.random.Generator, options: CodeOptions
) -> None:
    raw, _ = compress(heavy_tailed(rng, 200), options, seed=SEED)
    with pytest.raises(BadUpdateError):
        decompress(raw, length=201)
    for size in (0, 10, len(raw) - 1):
        with pytest.raises(BadUpdateError):
            decompress(raw[:size], length=200)
    with pytest.raises(BadUpdateError):
        decompress(raw + b"\0", length=200)
    for at in range(min(len(raw), 80)):
        for bit in (1, 128):
            damaged = bytearray(raw)
            damaged[at] ^= bit
            try:
                values = decompress(bytes(damaged), length=200)
            except BadUpdateError:
                continue
            assert values.shape == (200,)
            assert np.isfinite(values).all()
