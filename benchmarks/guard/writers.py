"""UNIPEN's writers as users of a bundle that names 26 letters, and who teach it their own hand."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk import Bundle, Engine, open_bundle
from export.bundle_writer import write_bundle
from export.init_graph import init_graph

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]
    Int64 = NDArray[np.int64]

ARCHIVE = Path("unipen") / "unipen_chars.npz"
LOWER_CASE = (36, 62)
MIN_CHARACTERS = 100
PROBE_SIZE = 500


@dataclass(frozen=True, slots=True, eq=False)
class Writer:
    """One user: features float32 `[n, dim]` of his letters and their slots int64 `[n]`."""

    features: Float32
    slots: Int64


@dataclass(frozen=True, slots=True, eq=False)
class Crowd:
    """Users to judge; other writers, whom the base was made from; and others yet, for the probe."""

    users: tuple[Writer, ...]
    others: Writer
    probe: Writer
    labels: tuple[str, ...]


def find_archive() -> Path | None:
    """The archive below `EDGE_SDK_DATA`; None where that is not set or the file is absent."""
    folder = os.environ.get("EDGE_SDK_DATA")
    path = Path(folder) / ARCHIVE if folder else None
    return path if path is not None and path.is_file() else None


def read_crowd(archive: Path, engine: Engine) -> Crowd:
    """Lower-case letters; users are the writers with at least `MIN_CHARACTERS` of them."""
    with np.load(archive, allow_pickle=False) as content:
        images, labels = content["images"], content["label"].astype(np.int64)
        writers, names = content["writer"], content["classes"]
    lower = (labels >= LOWER_CASE[0]) & (labels < LOWER_CASE[1])
    images, slots, writers = images[lower], labels[lower] - LOWER_CASE[0], writers[lower]
    inputs = images[:, None].astype(np.float32) / np.float32(255)
    features = np.concatenate(
        [engine.embed(inputs[i : i + 1000]) for i in range(0, len(inputs), 1000)]
    )
    counts = np.bincount(writers)
    users = np.flatnonzero(counts >= MIN_CHARACTERS)
    rest = np.setdiff1d(np.unique(writers), users)
    made_from, probed = np.isin(writers, rest[::2]), np.isin(writers, rest[1::2])
    return Crowd(
        users=tuple(Writer(features[writers == w], slots[writers == w]) for w in users),
        others=Writer(features[made_from], slots[made_from]),
        probe=Writer(features[probed][:PROBE_SIZE], slots[probed][:PROBE_SIZE]),
        labels=tuple(str(name) for name in names[slice(*LOWER_CASE)]),
    )


def write_labelled(
    source: Bundle, crowd: Crowd, folder: Path, *, spoil: float, prior_count: float
) -> Bundle:
    """The bundle whose starting prototypes are the means of the other writers' letters.

    `spoil` in 0..1 moves each of them that far towards another letter's, for a worse base.
    """
    engine = Engine(source)
    state = {name: np.array(engine.initial_state()[name]) for name in ("prototypes", "counts")}
    others, num = crowd.others, len(crowd.labels)
    means = np.stack([others.features[others.slots == slot].mean(axis=0) for slot in range(num)])
    wrong = np.roll(means, 1, axis=0)
    state["prototypes"][:num] = (1 - spoil) * means + spoil * wrong
    state["counts"][:num] = prior_count
    graphs = {name: data for name, data in source.files.items() if name.endswith(".onnx")}
    ordered = {spec.name: state[spec.name] for spec in source.manifest.state}
    write_bundle(
        folder,
        manifest_fields=replace(source.manifest.draft(), labels=crowd.labels),
        graphs={**graphs, "init.onnx": init_graph(ordered, "float32")},
        model_card="# a base for the guardrail's simulation\n",
    )
    return open_bundle(folder)
