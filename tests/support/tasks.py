"""A small task source for tests: random blocky images, few classes, made in a millisecond."""

from __future__ import annotations

import numpy as np

from export.tasks.base import SPLITS, ImagePool, NoSuchSplitError


class BlockTasks:
    """Each class is a random 7x7 pattern, upscaled and noisy. Splits share no class."""

    name = "blocks"

    def __init__(self, *, classes: int = 24, images_per_class: int = 12, seed: int = 0) -> None:
        self._classes, self._images, self._seed = classes, images_per_class, seed

    def pool(self, split: str) -> ImagePool:
        if split not in SPLITS:
            msg = f"no split is called {split}"
            raise NoSuchSplitError(msg)
        rng = np.random.default_rng([self._seed, SPLITS.index(split)])
        patterns = rng.random((self._classes, 1, 7, 7)) < 0.35
        pixels = np.kron(patterns, np.ones((1, 1, 4, 4)))
        noisy = pixels + rng.normal(0, 0.35, (self._classes, self._images, 28, 28))
        images = (255 * np.clip(noisy, 0, 1)).astype(np.uint8).reshape(-1, 28, 28)
        return ImagePool(
            images=images,
            classes=np.arange(self._classes).repeat(self._images),
            users=np.tile(np.arange(self._images), self._classes),
            class_names=[f"pattern{i}" for i in range(self._classes)],
        )

    def digest(self) -> str:
        return f"{self._classes:032x}{self._seed:032x}"
