"""Makes the golden stores of the current schema: `python tests/golden/make_golden_stores.py`.

They are committed, so that a later version is tested on what this one wrote. Do not make those of
an older schema again: its code is gone. `store_schema_1` was made by the same steps with 0.1.0.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from edge_sdk import Personalizer
from edge_sdk.audit import FILE_NAME as LOG_NAME
from edge_sdk.store import FILE_NAME
from edge_sdk.store_schema import SCHEMA_VERSION
from tests.support import tiny

GOLDEN = Path(__file__).parent


def make(bundle: str, folder: Path) -> None:
    """Write the store of one golden bundle, and what it holds, into `folder`."""
    source = GOLDEN / "bundle_format_1" / bundle
    with tempfile.TemporaryDirectory() as home:
        with Personalizer(source, home=home) as personal:
            for number, label in enumerate(("anna", "ben", "gone", "anna")):
                rng = np.random.default_rng(number)
                personal.teach(label, tiny.class_examples(rng, 2, seed=number % 3))
            personal.adapt()
            personal.teach("cleo", tiny.class_examples(np.random.default_rng(9), 1, seed=3))
            personal.forget("gone")
            features, _ = personal.support()
            expected = {
                "examples": [[example.id, example.label] for example in personal.examples],
                "features_sha256": hashlib.sha256(features.tobytes()).hexdigest(),
                "state_sha256": hashlib.sha256(personal.state.to_bytes()).hexdigest(),
            }
        folder.mkdir(parents=True, exist_ok=True)
        for name in (FILE_NAME, LOG_NAME):
            shutil.copy(Path(home) / name, folder)
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    for name in ("tiny_prototypical", "tiny_gradient"):
        make(name, GOLDEN / f"store_schema_{SCHEMA_VERSION}" / name)
