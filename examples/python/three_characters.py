"""Teaches three characters, one drawing of each, to a bundle that comes with the SDK."""

import numpy as np

from edge_sdk import Personalizer, pretrained


def draw(*corners):
    """A pen stroke through the corners (column, row): a picture of 28 x 28, ink 1, paper 0."""
    along, image = np.linspace(0, len(corners) - 1, 200), np.zeros((1, 28, 28), np.float32)
    x, y = (np.interp(along, range(len(corners)), of).astype(int) for of in np.transpose(corners))
    image[0, y, x] = image[0, y, x + 1] = 1
    return image


with Personalizer(pretrained("omniglot-prototypical"), home="user-data") as personal:
    personal.teach("tent", draw((4, 23), (14, 4), (24, 23)))
    personal.teach("zed", draw((5, 5), (23, 5), (5, 23), (23, 23)))
    personal.teach("hook", draw((14, 4), (14, 20), (8, 23), (4, 18)))
    personal.adapt()
    print(personal.predict(draw((6, 4), (22, 7), (4, 20), (24, 22))).labels)  # ('zed',)
