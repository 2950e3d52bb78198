"""Random glyph classes: one to four pen strokes each, as points in the square -1..1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_STROKES = 4
POINTS = 40
"""Points of a stroke: dense enough that the thinnest pen leaves no gaps."""

_ANCHORS = 5
_STROKE_COUNT_P = (0.30, 0.34, 0.24, 0.12)
_CURL_SHARE = 0.42
_LINKED_SHARE = 0.75
_GRID_SHARE = 0.6


@dataclass(frozen=True, kw_only=True, slots=True)
class Shapes:
    """The ideal forms of some classes; y grows downwards.

    Attributes:
        points: float32 `[classes, MAX_STROKES, POINTS, 2]`, (x, y) in -1..1.
        present: bool `[classes, MAX_STROKES]`: which strokes a class has.
    """

    points: NDArray[np.float32]
    present: NDArray[np.bool_]


def draw_shapes(num_classes: int, rng: np.random.Generator) -> Shapes:
    """Invent `num_classes` classes."""
    count = rng.choice(MAX_STROKES, num_classes, p=_STROKE_COUNT_P) + 1
    present = np.arange(MAX_STROKES) < count[:, None]
    n = num_classes * MAX_STROKES
    strokes = np.where(
        (rng.random(n) < _CURL_SHARE)[:, None, None], _curls(n, rng), _anchored(n, rng)
    ).reshape(num_classes, MAX_STROKES, POINTS, 2)
    _link(strokes, rng)
    return Shapes(points=_fit(strokes, present, rng).astype(np.float32), present=present)


def bounding_box(
    points: NDArray[np.floating], present: NDArray[np.bool_]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Lower and upper corners of the present strokes, each `[n, 2]`."""
    mask = present[:, :, None, None]
    low = np.where(mask, points, np.inf).min(axis=(1, 2))
    high = np.where(mask, points, -np.inf).max(axis=(1, 2))
    return low, high


def _anchored(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Lines, polygons, Bezier curves and splines through random anchors, `[n, POINTS, 2]`."""
    columns, rows = rng.integers(3, size=(n, _ANCHORS)), rng.integers(4, size=(n, _ANCHORS))
    # no anchor lies on its neighbour's place, so that no stroke is a dot
    same = (np.diff(columns, axis=1) == 0) & (np.diff(rows, axis=1) == 0)
    rows[:, 1:] = np.where(same, (rows[:, 1:] + 2) % 4, rows[:, 1:])
    grid = np.stack([columns - 1.0, rows / 1.5 - 1.0], axis=-1)
    grid += rng.normal(0, 0.12, grid.shape)
    free = rng.uniform(-1, 1, grid.shape)
    anchors = np.where((rng.random(n) < _GRID_SHARE)[:, None, None], grid, free)
    bases, p = _BASES
    points: NDArray[np.float64] = bases[rng.choice(len(bases), n, p=p)] @ anchors
    return points


def _curls(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Arcs, closed loops and spirals, `[n, POINTS, 2]`."""
    t = np.linspace(0, 1, POINTS)
    sweep = rng.uniform(0.5 * np.pi, 1.9 * np.pi, n)
    closed = rng.random(n) < 0.35
    sweep = np.where(closed, 2 * np.pi, sweep) * rng.choice([-1, 1], n)
    growth = np.where(closed, 0.0, rng.uniform(-0.7, 0.7, n) * (rng.random(n) < 0.5))
    angle = rng.uniform(0, 2 * np.pi, n)[:, None] + sweep[:, None] * t
    radius = 1 + growth[:, None] * t
    size = rng.uniform(0.25, 1.0, (n, 1, 1))
    size = size * np.exp(rng.normal(0, 0.25, (n, 1, 2)))
    centre = rng.uniform(-0.5, 0.5, (n, 1, 2)) * np.array([1.0, 1.3])
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * radius[:, :, None]
    points: NDArray[np.float64] = centre + size * circle
    return points


def _link(strokes: NDArray[np.float64], rng: np.random.Generator) -> None:
    """Let most strokes touch the one before, as those of real signs do; in place."""
    num_classes = len(strokes)
    rows = np.arange(num_classes)
    spots = np.array([0, POINTS // 2, POINTS - 1])
    for s in range(1, MAX_STROKES):
        own = rng.choice(spots, num_classes, p=(0.5, 0.25, 0.25))
        other = np.where(
            rng.random(num_classes) < 0.3,
            rng.integers(POINTS, size=num_classes),
            rng.choice(spots, num_classes),
        )
        gap = strokes[rows, s - 1, other] - strokes[rows, s, own]
        linked = rng.random(num_classes) < _LINKED_SHARE
        strokes[:, s] += np.where(linked[:, None], gap, 0.0)[:, None]


def _fit(
    strokes: NDArray[np.float64], present: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Centre each class and let its longer side fill -1..1, after a random change of aspect."""
    low, high = bounding_box(strokes, present)
    centred = strokes - ((low + high) / 2)[:, None, None]
    half = np.maximum((high - low) / 2, 1e-3)
    wanted = np.exp(rng.normal(np.log(0.75), 0.2, len(strokes)))
    # width / height moves towards `wanted`, but a thin class stays thin
    stretch = np.clip(wanted / (half[:, 0] / half[:, 1]), 0.6, 1.5)
    scale = np.stack([stretch, np.ones_like(stretch)], axis=-1)
    scale /= (half * scale).max(axis=1, keepdims=True)
    return centred * scale[:, None, None]


def _bases_and_shares() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Matrices `[kinds, POINTS, _ANCHORS]` from anchors to points, and how often each is used."""
    t = np.linspace(0, 1, POINTS)
    kinds: list[tuple[float, NDArray[np.float64]]] = [
        (0.22, _linear(t, 2)),
        (0.12, _linear(t, 3)),
        (0.06, _linear(t, 4)),
        (0.14, np.stack([(1 - t) ** 2, 2 * t * (1 - t), t**2], axis=1)),
        (0.12, np.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], axis=1)),
        (0.12, _spline(t, 3)),
        (0.13, _spline(t, 4)),
        (0.09, _spline(t, 5)),
    ]
    bases = np.zeros((len(kinds), POINTS, _ANCHORS))
    for base, (_, matrix) in zip(bases, kinds, strict=True):
        base[:, : matrix.shape[1]] = matrix
    return bases, np.array([share for share, _ in kinds])


def _linear(t: NDArray[np.float64], anchors: int) -> NDArray[np.float64]:
    """Straight pieces between `anchors` anchors."""
    place = t[:, None] * (anchors - 1) - np.arange(anchors)
    matrix: NDArray[np.float64] = np.maximum(0.0, 1 - np.abs(place))
    return matrix


def _spline(t: NDArray[np.float64], anchors: int) -> NDArray[np.float64]:
    """Natural cubic spline through `anchors` equally spaced anchors."""
    second = np.zeros((anchors, anchors))  # second derivatives at the knots, from anchor values
    inner = anchors - 2
    bands = 4 * np.eye(inner) + np.eye(inner, k=1) + np.eye(inner, k=-1)
    differences = np.eye(anchors)[:-2] - 2 * np.eye(anchors)[1:-1] + np.eye(anchors)[2:]
    second[1:-1] = np.linalg.solve(bands, 6 * differences)
    left = np.minimum((t * (anchors - 1)).astype(int), anchors - 2)
    b = (t * (anchors - 1) - left)[:, None]
    a = 1 - b
    eye = np.eye(anchors)
    bend = (a**3 - a) * second[left] + (b**3 - b) * second[left + 1]
    matrix: NDArray[np.float64] = a * eye[left] + b * eye[left + 1] + bend / 6
    return matrix


_BASES = _bases_and_shares()
