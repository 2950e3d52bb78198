"""Error and bytes of compressed updates: of one update by itself, and of a cohort's masked sum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from federated.compress.grid import GridOptions, restore_sum, round_update
from federated.compress.update_code import CodeOptions, compress, decompress

if TYPE_CHECKING:
    from numpy.typing import NDArray

REPEATS = 5
ROTATION = b"r" * 32


def updates(kind: str, rng: np.random.Generator, num: int, length: int) -> NDArray[np.float32]:
    """Updates of norm 1, `[num, length]`: entries all of one size, or few of them large."""
    shared = rng.normal(size=length)
    values = shared + rng.normal(size=(num, length))
    if kind == "heavy-tailed":
        values = values**5
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def code_error(kind: str, options: CodeOptions, length: int) -> dict[str, Any]:
    """Relative L2 error of one update, and bytes for each of its entries."""
    errors, size = [], 0
    for repeat in range(REPEATS):
        rng = np.random.default_rng(repeat)
        (update,) = updates(kind, rng, 1, length)
        raw, _ = compress(update, options, seed=rng.bytes(32))
        errors.append(float(np.linalg.norm(decompress(raw, length=length) - update)))
        size = len(raw)
    return {"error": _summary(errors), "bytes": size, "of_float32": round(size / 4 / length, 4)}


def sum_error(kind: str, bits: int, *, rotated: bool, num: int, length: int) -> dict[str, Any]:
    """Relative L2 error of the mean of a cohort on one grid."""
    errors = []
    for repeat in range(REPEATS):
        rng = np.random.default_rng(repeat)
        cohort = updates(kind, rng, num, length)
        options = GridOptions(
            length=length,
            clipping_norm=1.0,
            bits=bits,
            rotation_seed=ROTATION if rotated else None,
        )
        total = np.zeros(length, np.int64)
        for update in cohort:
            total += round_update(update, options, seed=rng.bytes(32))[0]
        exact = cohort.astype(np.float64).sum(0)
        gap = np.linalg.norm(restore_sum(total, options) - exact) / np.linalg.norm(exact)
        errors.append(float(gap))
    return {"error": _summary(errors)}


def compression(length: int, num: int) -> dict[str, Any]:
    """All of the table."""
    codes = {
        "8 bits": CodeOptions(),
        "8 bits, rotated": CodeOptions(rotation_seed=ROTATION),
        "16 bits": CodeOptions(bits=16),
        "largest 10 %, 8 bits": CodeOptions(keep=0.1),
        "largest 1 %, 8 bits": CodeOptions(keep=0.01),
    }
    kinds = ("normal", "heavy-tailed")
    return {
        "one update": {
            kind: {name: code_error(kind, options, length) for name, options in codes.items()}
            for kind in kinds
        },
        f"mean of {num} on one grid": {
            kind: {
                f"{bits} bits{', rotated' if rotated else ''}": sum_error(
                    kind, bits, rotated=rotated, num=num, length=length
                )
                for bits in (8, 16)
                for rotated in (False, True)
            }
            for kind in kinds
        },
    }


def _summary(values: list[float]) -> dict[str, float]:
    return {
        "median": float(f"{np.median(values):.3g}"),
        "least": float(f"{min(values):.3g}"),
        "largest": float(f"{max(values):.3g}"),
    }
