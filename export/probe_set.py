"""Puts a probe set into a bundle that names its labels: examples on which it must not get worse."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk import Engine
from edge_sdk.errors import InvalidOptionError
from edge_sdk.manifest import MODEL_CARD_NAME, PROBE_NAME
from edge_sdk.probe_file import MAX_EXAMPLES, probe_bytes
from export.bundle_writer import write_bundle

if TYPE_CHECKING:
    import os

    from edge_sdk import Bundle
    from edge_sdk.signing import SigningKey
    from export.tasks.base import ImagePool


def add_probe_set(
    path: str | os.PathLike[str],
    bundle: Bundle,
    pool: ImagePool,
    *,
    per_label: int,
    rng: np.random.Generator,
    key: SigningKey | None = None,
) -> str:
    """Write the next version of `bundle` with a probe set in it; every other file stays.

    The images are embedded here, by the device runtime, and travel as features. Take a split that
    nothing was trained on: a probe set of training images would flatter the base.

    Args:
        path: The new bundle's folder; must not exist.
        bundle: A bundle that names labels; a probe set that it has is replaced.
        pool: Images; those of classes that the bundle does not name are passed over.
        per_label: Images of each label, drawn at random; all where there are no more.
        rng: Draws them.
        key: Sign the new bundle with it.

    Returns:
        The new bundle's digest.

    Raises:
        InvalidOptionError: The bundle names no labels, a label has no image, or there would be
            more examples than a probe set may hold.
    """
    manifest = bundle.manifest
    if not manifest.labels:
        msg = "a probe set is for a bundle that names its labels; name them first (federated label)"
        raise InvalidOptionError(msg)
    rows, slots = _draw(pool, manifest.labels, per_label, rng)
    images = pool.images[rows][:, None].astype(np.float32) / np.float32(255)
    features = Engine(bundle).embed(images)
    digest = bundle.digest
    draft = replace(manifest.draft(), version=manifest.version + 1, parent=digest)
    files = {name: data for name, data in bundle.files.items() if name != MODEL_CARD_NAME}
    card = bundle.files[MODEL_CARD_NAME].decode("utf-8").rstrip()
    note = f"## Version {draft.version}: a probe set of {len(slots)} examples\n"
    return write_bundle(
        path,
        manifest_fields=draft,
        graphs={**files, PROBE_NAME: probe_bytes(features, slots)},
        model_card=f"{card}\n\n{note}",
        key=key,
    )


def _draw(
    pool: ImagePool, labels: tuple[str, ...], per_label: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the pool and their slots, int64 `[m]` each."""
    class_of = {name: number for number, name in enumerate(pool.class_names)}
    rows, slots = [], []
    for slot, label in enumerate(labels):
        found = pool.rows_of(class_of[label]) if label in class_of else np.zeros(0, np.int64)
        if len(found) == 0:
            msg = f"there is no image of the bundle's label {slot} in this pool"
            raise InvalidOptionError(msg)
        rows.append(rng.choice(found, min(per_label, len(found)), replace=False))
        slots.append(np.full(len(rows[-1]), slot))
    if sum(map(len, rows)) > MAX_EXAMPLES:
        msg = f"a probe set holds at most {MAX_EXAMPLES} examples; take fewer for each label"
        raise InvalidOptionError(msg)
    return np.concatenate(rows), np.concatenate(slots).astype(np.int64)
