"""Simulated writers of the real digits: each owns some images and has one style for them all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.errors import InvalidOptionError
from export.tasks.base import IMAGE_SIZE, ImagePool, NotEnoughImagesError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class DigitWriterOptions:
    """Who writes how much, and how far styles spread.

    Attributes:
        writers: Number of users.
        images_per_digit: Images that a writer has of each digit.
        strength: Spread of the styles, 0..2; 0 leaves the real images as they are.
        reuse: Whether two writers may own one real image (each in his own style) when there are
            not enough for all. One writer never owns an image twice.
    """

    writers: int = 12
    images_per_digit: int = 8
    strength: float = 1.0
    reuse: bool = False

    def __post_init__(self) -> None:
        for name in ("writers", "images_per_digit"):
            if getattr(self, name) < 1:
                msg = f"{name} must be >= 1, got {getattr(self, name)}"
                raise InvalidOptionError(msg)
        if not 0 <= self.strength <= 2:
            msg = f"strength must be in 0..2, got {self.strength}"
            raise InvalidOptionError(msg)


def digit_writers(
    pool: ImagePool, options: DigitWriterOptions, rng: np.random.Generator
) -> ImagePool:
    """Deal the images of `pool` to simulated writers and let each write them in his style.

    Returns:
        Users `0..writers-1`, each with `images_per_digit` images of every class of `pool`.

    Raises:
        NotEnoughImagesError: `pool` has too few images of a class.
    """
    rows = np.concatenate([_deal(pool.rows_of(c), options, rng) for c in np.unique(pool.classes)])
    owners = np.arange(len(rows)) // options.images_per_digit % options.writers
    styles = _draw_styles(options, rng)
    ink = pool.images[rows].astype(np.float32) / 255
    images = _warp(ink, styles.linear[owners], styles.shift[owners])
    images = _thicken(images, styles.thickness[owners]) ** styles.gamma[owners, None, None]
    return ImagePool(
        images=np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8),
        classes=pool.classes[rows],
        users=owners.astype(np.int64),
        class_names=pool.class_names,
    )


def part_pool(
    pool: ImagePool, share: float, rng: np.random.Generator
) -> tuple[ImagePool, ImagePool]:
    """Two pools without a common image; the first has about `share` of each class.

    Raises:
        InvalidOptionError: `share` leaves one of them without an image of some class.
    """
    first = np.zeros(len(pool.classes), dtype=bool)
    for cls in np.unique(pool.classes):
        rows = rng.permutation(pool.rows_of(cls))
        size = round(share * len(rows))
        if not 0 < size < len(rows):
            msg = f"share {share} leaves one part of the pool without some class"
            raise InvalidOptionError(msg)
        first[rows[:size]] = True
    return pool.take(np.flatnonzero(first)), pool.take(np.flatnonzero(~first))


def _deal(
    rows: NDArray[np.int64], options: DigitWriterOptions, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Rows of one class for writer 0, then for writer 1 and so on."""
    each, needed = options.images_per_digit, options.images_per_digit * options.writers
    if len(rows) < (each if options.reuse else needed):
        msg = (
            f"{options.writers} writers with {each} images of each class need "
            f"{each if options.reuse else needed} images of every class; one has {len(rows)}"
        )
        raise NotEnoughImagesError(msg)
    if not options.reuse:
        return rng.permutation(rows)[:needed]
    hands: list[NDArray[np.int64]] = []
    deck = rng.permutation(rows)
    for _ in range(options.writers):
        if len(deck) < each:
            deck = rng.permutation(rows)
        hands.append(deck[:each])
        deck = deck[each:]
    return np.concatenate(hands)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Styles:
    """One style a writer.

    Attributes:
        linear: Map from output to input offsets, `[writers, 2, 2]`, (x, y).
        shift: Pixels, `[writers, 2]`.
        thickness: -1 (thin) to 1 (thick), `[writers]`.
        gamma: Exponent of the ink, `[writers]`.
    """

    linear: NDArray[np.float32]
    shift: NDArray[np.float32]
    thickness: NDArray[np.float32]
    gamma: NDArray[np.float32]


def _draw_styles(options: DigitWriterOptions, rng: np.random.Generator) -> _Styles:
    def spread(half_width: float, *shape: int) -> NDArray[np.float64]:
        return rng.uniform(-half_width, half_width, (options.writers, *shape)) * options.strength

    slant, angle, aspect = spread(0.4), spread(0.25), spread(0.22)
    zoom = np.exp(0.06 * options.strength + spread(0.06))  # > 1: smaller, so that ink stays inside
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], axis=1)
    one, zero = np.ones_like(slant), np.zeros_like(slant)
    shear = np.stack([np.stack([one, slant], -1), np.stack([zero, one], -1)], axis=1)
    widths = np.stack([np.exp(aspect / 2), np.exp(-aspect / 2)], axis=-1) * zoom[:, None]
    return _Styles(
        linear=(widths[:, :, None] * (shear @ turn)).astype(np.float32),
        shift=spread(1.0, 2).astype(np.float32),
        thickness=spread(0.8).astype(np.float32),
        gamma=np.exp(spread(0.3)).astype(np.float32),
    )


def _warp(
    images: NDArray[np.float32], linear: NDArray[np.float32], shift: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Bilinear resampling of `[n, 28, 28]` about the centre; paper outside."""
    n, middle = len(images), (IMAGE_SIZE - 1) / 2
    line = np.arange(IMAGE_SIZE, dtype=np.float32) - np.float32(middle)
    grid = np.stack(np.meshgrid(line, line, indexing="xy"), axis=-1).reshape(-1, 2)
    place = (grid[None] - shift[:, None]) @ linear.transpose(0, 2, 1) + np.float32(middle)
    corner = np.floor(place)
    part = place - corner
    # a border of paper takes whatever lies outside
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    column, row = np.moveaxis(corner.astype(np.int64) + 1, -1, 0)
    result = np.zeros((n, grid.shape[0]), np.float32)
    which = np.arange(n)[:, None]
    last = IMAGE_SIZE + 1
    for down in (0, 1):
        for right in (0, 1):
            share_x = part[..., 0] if right else 1 - part[..., 0]
            share_y = part[..., 1] if down else 1 - part[..., 1]
            rows, columns = np.clip(row + down, 0, last), np.clip(column + right, 0, last)
            result += share_x * share_y * padded[which, rows, columns]
    return result.reshape(n, IMAGE_SIZE, IMAGE_SIZE)


def _thicken(images: NDArray[np.float32], thickness: NDArray[np.float32]) -> NDArray[np.float32]:
    """Move towards the grey dilation (thickness > 0) or erosion (< 0) by a plus of 5 pixels."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    neighbours = np.stack(
        [
            images,
            padded[:, :-2, 1:-1],
            padded[:, 2:, 1:-1],
            padded[:, 1:-1, :-2],
            padded[:, 1:-1, 2:],
        ]
    )
    amount = thickness[:, None, None]
    target = np.where(amount > 0, neighbours.max(axis=0), neighbours.min(axis=0))
    thickened: NDArray[np.float32] = images + np.abs(amount) * (target - images)
    return thickened
