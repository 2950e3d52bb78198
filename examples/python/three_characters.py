"""Teaches three characters, one drawing of each, to a bundle that comes with the SDK."""

import numpy as np

from edge_sdk import Personalizer, pretrained


def draw(*corners):
    """One pen stroke through the corners, each (column, row), as a picture of 28 x 28, ink 1."""
    along = np.linspace(0, len(corners) - 1, 200)
    x, y = (np.interp(along, range(len(corners)), axis).astype(int) for axis in zip(*corners))
    image = np.zeros((1, 28, 28), np.float32)
    image[0, y, x] = image[0, y, x + 1] = 1
    return image


with Personalizer(pretrained("omniglot-prototypical"), home="user-data") as personal:
    personal.teach("tent", draw((4, 23), (14, 4), (24, 23)))
    personal.teach("zed", draw((5, 5), (23, 5), (5, 23), (23, 23)))
    personal.teach("hook", draw((14, 4), (14, 20), (8, 23), (4, 18)))
    personal.adapt()
    print(personal.predict(draw((6, 4), (22, 7), (4, 20), (24, 22))).labels)  # ('zed',)
