"""Glyphs: endless invented handwriting, random classes of strokes by writers with a style each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.errors import InvalidOptionError
from export.tasks.base import IMAGE_SIZE, SPLITS, ImagePool, check_split, pool_digest
from export.tasks.glyph_shapes import MAX_STROKES, POINTS, Shapes, draw_shapes
from export.tasks.handwriting import draw_styles, write
from export.tasks.ink import render, rescan

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHUNK = 2048
_CELLS = np.array([1.0, 2.0, 2.5, 3.0, 3.5], np.float32)
_CELL_P = (0.25, 0.15, 0.15, 0.30, 0.15)
_PHASES = np.array([-0.25, 0.0, 0.25, 0.5], np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class GlyphOptions:
    """The size of the pools.

    Attributes:
        train_classes: Classes in the split "train".
        held_out_classes: Classes in each of "validation" and "test".
        writers: Writers in each split; no writer is in two.
        writers_per_class: Different writers of a class.
        drawings: Times that each of those writers draws it.
    """

    train_classes: int = 3000
    held_out_classes: int = 200
    writers: int = 500
    writers_per_class: int = 10
    drawings: int = 1

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) < 1:
                msg = f"{name} must be >= 1, got {getattr(self, name)}"
                raise InvalidOptionError(msg)
        if self.writers < self.writers_per_class:
            msg = f"writers must be >= writers_per_class, got {self.writers}"
            raise InvalidOptionError(msg)


class GlyphTasks:
    """Pools that depend on the seed and the options alone. Splits share no class and no writer."""

    name = "glyphs"

    def __init__(self, *, seed: int, options: GlyphOptions | None = None) -> None:
        if seed < 0:
            msg = f"seed must be >= 0, got {seed}"
            raise InvalidOptionError(msg)
        self.seed = seed
        self.options = options or GlyphOptions()
        self._pools: dict[str, ImagePool] = {}

    def pool(self, split: str) -> ImagePool:
        """The drawings of `split`, made when first asked for.

        Raises:
            NoSuchSplitError: `split` is not "train", "validation" or "test".
        """
        check_split(split, SPLITS, self.name)
        if split not in self._pools:
            self._pools[split] = self._build(split)
        return self._pools[split]

    def digest(self) -> str:
        """SHA-256 hex over all three splits."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return pool_digest([(split, self.pool(split)) for split in SPLITS])

    def _build(self, split: str) -> ImagePool:
        o = self.options
        number = SPLITS.index(split)
        rng = np.random.default_rng([self.seed, number])
        count = o.train_classes if number == 0 else o.held_out_classes
        per_class = o.writers_per_class * o.drawings
        classes = np.arange(count, dtype=np.int64).repeat(per_class)
        keys = rng.random((count, o.writers))
        chosen = keys.argpartition(o.writers_per_class - 1, axis=1)[:, : o.writers_per_class]
        writers = chosen.repeat(o.drawings, axis=1).reshape(-1)
        images = draw_glyphs(draw_shapes(count, rng), classes, writers, o.writers, rng)
        return ImagePool(
            images=images,
            classes=classes,
            users=writers + number * o.writers,
            class_names=[f"{split}-{i}" for i in range(count)],
        )


def draw_glyphs(
    shapes: Shapes,
    classes: NDArray[np.int64],
    writers: NDArray[np.int64],
    num_writers: int,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Let fresh writers draw classes: image i shows `classes[i]` by writer `writers[i]`.

    Returns:
        Images, uint8 `[n, 28, 28]`, ink 255, paper 0.
    """
    styles = draw_styles(num_writers, rng)
    cell = rng.choice(_CELLS, num_writers, p=_CELL_P)
    gamma = np.exp(rng.uniform(-0.3, 0.3, num_writers)).astype(np.float32)
    images = np.empty((len(classes), IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    for at in range(0, len(classes), _CHUNK):
        part = slice(at, at + _CHUNK)
        cls, who = classes[part], writers[part]
        form = Shapes(points=shapes.points[cls], present=shapes.present[cls])
        style = styles.take(who)
        points, ink = write(form, style, rng)
        drawn = render(
            points.reshape(-1, MAX_STROKES * POINTS, 2),
            ink.reshape(-1, MAX_STROKES * POINTS),
            style.pen,
        )
        seen = rescan(drawn, cell[who], rng.choice(_PHASES, len(who)))
        images[part] = np.rint(seen ** gamma[who, None, None] * 255)
    return images
