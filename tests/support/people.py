"""People who write three signs of 4 x 4 pixels, each in a hand of their own; splits share signs."""

from __future__ import annotations

import numpy as np

from export.tasks.base import SPLITS, ImagePool

SIGNS = ("dot", "bar", "box")


def drawn(
    users: int,
    each: int,
    *,
    first_user: int = 0,
    seed: int = 0,
    swapped: bool = False,
    size: int = 4,
) -> ImagePool:
    """`each` drawings of every sign by `users` people, in their order.

    Args:
        users: How many people.
        each: Drawings of a sign by one of them.
        first_user: The number of the first.
        seed: Of hands and noise; the signs are the same for all seeds.
        swapped: Everyone's bar is what others call a dot, and the other way round.
        size: Pixels of a side.
    """
    ideal = np.random.default_rng(1).integers(0, 256, (3, size, size)).astype(np.float64)
    rng = np.random.default_rng([seed, first_user])
    hands = rng.normal(0, 25, (users, 1, 1, size, size))
    ink = ideal[:, None] + hands + rng.normal(0, 8, (users, 3, each, size, size))
    classes = np.tile(np.arange(3).repeat(each), users)
    if swapped:
        classes = np.array([1, 0, 2])[classes]
    return ImagePool(
        images=np.clip(ink, 0, 255).astype(np.uint8).reshape(-1, size, size),
        classes=classes,
        users=np.arange(first_user, first_user + users).repeat(3 * each),
        class_names=SIGNS,
    )


class HandTasks:
    """Splits of other people who write the same signs."""

    name = "hands"

    def __init__(self, *, users: int = 4, each: int = 6, size: int = 28) -> None:
        self._shape = {"users": users, "each": each, "size": size}

    def pool(self, split: str) -> ImagePool:
        return drawn(**self._shape, first_user=100 * SPLITS.index(split))

    def digest(self) -> str:
        return "a5" * 32
