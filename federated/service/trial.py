"""People to try the service out with: invented users, who have taught their devices five signs.

The signs are pen strokes through given corners; each user has a hand of their own (slant, size,
place), and each drawing a tremor. The bundle is one of the SDK's own, with the signs as its labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_sdk import Personalizer, pretrained
from edge_sdk.errors import InvalidOptionError
from federated.client_id import check_client_id
from federated.next_bundle import name_labels

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

BASE = "omniglot-prototypical"
SIGNS: dict[str, tuple[tuple[int, int], ...]] = {
    "tent": ((4, 23), (14, 4), (24, 23)),
    "zed": ((5, 5), (23, 5), (5, 23), (23, 23)),
    "hook": ((14, 4), (14, 20), (8, 23), (4, 18)),
    "box": ((6, 6), (22, 6), (22, 22), (6, 22), (6, 6)),
    "bolt": ((18, 3), (8, 14), (18, 14), (9, 25)),
}
"""Corners of each stroke, (column, row), in a picture of 28 x 28."""

_DRAWINGS = 4
_SIZE = 28


def make_trial(folder: Path, users: Sequence[str], *, seed: int) -> None:
    """Write `folder/bundle`, and a home in `folder/homes` for each user.

    Args:
        folder: Made where it is missing.
        users: Client ids.
        seed: Of the users' hands.

    Raises:
        InvalidOptionError: There is no user, an id is not valid or given twice, or the folder holds
            a bundle or homes already.
    """
    if not users or len(set(users)) != len(users):
        msg = "name at least one user, and each once"
        raise InvalidOptionError(msg)
    for user in users:
        check_client_id(user)
    bundle, homes = folder / "bundle", folder / "homes"
    for path in (bundle, homes):
        if path.exists():
            msg = f"{path} exists; name another folder, or remove it"
            raise InvalidOptionError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    name_labels(bundle, pretrained(BASE), list(SIGNS), prior_count=1.0)
    for number, user in enumerate(users):
        rng = np.random.default_rng([seed, number])
        hand = _hand(rng)
        with Personalizer(bundle, home=homes / user) as personalizer:
            for sign, corners in SIGNS.items():
                drawings = [draw(corners, hand, rng) for _ in range(_DRAWINGS)]
                personalizer.teach(sign, np.stack(drawings))


def draw(
    corners: Sequence[tuple[int, int]], hand: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float32]:
    """One picture, `[1, 28, 28]`, ink 1, paper 0.

    Args:
        corners: Of the stroke, (column, row).
        hand: The user's affine map of the picture, `[2, 3]`.
        rng: Of the tremor.
    """
    points = np.asarray(corners, np.float64) + rng.normal(scale=1.0, size=(len(corners), 2))
    centred = points - _SIZE / 2
    points = centred @ hand[:, :2].T + hand[:, 2] + _SIZE / 2
    along = np.linspace(0, len(points) - 1, 40 * len(points))
    at = np.stack([np.interp(along, range(len(points)), side) for side in points.T])
    column, row = np.clip(np.rint(at), 0, _SIZE - 2).astype(int)
    image = np.zeros((1, _SIZE, _SIZE), np.float32)
    for right, down in ((0, 0), (1, 0), (0, 1), (1, 1)):  # a pen of 2 x 2
        image[0, row + down, column + right] = 1
    return image


def _hand(rng: np.random.Generator) -> NDArray[np.float64]:
    """How a user writes: slant, width, height, and where on the paper, `[2, 3]`."""
    width, height = rng.uniform(0.7, 1.0, size=2)
    slant = rng.normal(scale=0.15)
    return np.array([[width, -slant, rng.normal()], [0.0, height, rng.normal()]])
