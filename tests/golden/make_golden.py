"""Makes the golden bundles of format 1 beside this script: `python tests/golden/make_golden.py`.

They are committed, so that what reads them needs no onnx, and so that a later version is tested on
what this one wrote. Do not make them again for a new format: add a folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from export.bundle_writer import write_bundle
from tests.support import tiny_graphs as tiny
from tests.support import tiny_kinds as kinds

GOLDEN = Path(__file__).parent / "bundle_format_1"
CARD = "# {name}\n\nA tiny test bundle, made by tests/golden/make_golden.py.\n"


def make(folder: Path) -> None:
    """Write the bundles into `folder`."""
    bundles = {
        "tiny_prototypical": (
            tiny.prototypical_draft("tiny-prototypical"),
            tiny.prototypical_graphs(tiny.prototypical_init(), seed=3),
        ),
        "tiny_labelled": (
            tiny.prototypical_draft("tiny-labelled", ("circle", "square")),
            tiny.prototypical_graphs(tiny.labelled_init(), seed=3),
        ),
        "tiny_gradient": (tiny.gradient_draft("tiny-gradient"), tiny.gradient_graphs(seed=5)),
        "tiny_sequential": (
            kinds.sequential_draft("tiny-sequential"),
            kinds.sequential_graphs(seed=3),
        ),
        "tiny_regression": (
            kinds.regression_draft("tiny-regression"),
            kinds.regression_graphs(seed=3),
        ),
    }
    for name, (draft, graphs) in bundles.items():
        write_bundle(
            folder / name,
            manifest_fields=draft,
            graphs=graphs,
            model_card=CARD.format(name=name),
            overwrite=True,
        )


if __name__ == "__main__":
    make(GOLDEN)
