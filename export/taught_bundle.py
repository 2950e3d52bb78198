"""A bundle that was taught its labels before it ships: it names them, and answers from the start.

The starting state of most learners knows no label. Here the device runtime teaches it examples of
people who agreed to that, and what comes of it is the starting state of the next version.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.errors import CapacityError, InvalidOptionError
from export.next_version import next_draft, write_next_version
from export.people import embed_rows
from export.tasks.base import NotEnoughImagesError

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge_sdk import Bundle, Engine, State
    from edge_sdk.signing import SigningKey
    from export.tasks.base import ImagePool

_STREAM = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class TeachOptions:
    """How the starting state is taught.

    Attributes:
        prior_count: How many of a user's examples the examples of one label weigh together, for
            learners that count (closed form and sequential); the fewer, the faster the state
            follows its user.
        steps: Inner steps on all examples, for learners that take gradient steps, which do not
            weigh.
        user_steps: Inner steps of the new version, for the same; None: as before.
    """

    prior_count: float = 4.0
    steps: int = 20
    user_steps: int | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.prior_count) and self.prior_count > 0):
            msg = f"prior_count must be finite and > 0, got {self.prior_count}"
            raise InvalidOptionError(msg)
        for name in ("steps", "user_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                msg = f"{name} must be >= 1, got {value}"
                raise InvalidOptionError(msg)


def base_examples(
    engine: Engine, pool: ImagePool, *, per_label: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Examples to teach a starting state with: features and slots, labels in turn.

    Args:
        engine: Embeds them.
        pool: Its classes 0, 1, ... are the label slots.
        per_label: Images of each class, drawn at random; all where there are no more.
        seed: Of the draw.

    Raises:
        NotEnoughImagesError: A class has no image.
        CapacityError: The bundle has fewer slots than the pool has classes.
    """
    num_labels, ways = len(pool.class_names), engine.bundle.manifest.ways
    if num_labels > ways:
        msg = f"the bundle has {ways} slots, the tasks have {num_labels} classes; export more ways"
        raise CapacityError(msg)
    rng = np.random.default_rng([seed, _STREAM])
    chosen = []
    for slot in range(num_labels):
        rows = np.flatnonzero(pool.classes == slot)
        if not len(rows):
            msg = f"there is no image of the bundle's label {slot} in this pool"
            raise NotEnoughImagesError(msg)
        chosen.append(rng.choice(rows, min(per_label, len(rows)), replace=False))
    # in turn, so that what depends on the order, or keeps the newest, sees all labels alike
    rows = np.array([part[i] for i in range(per_label) for part in chosen if i < len(part)])
    return embed_rows(engine, pool, rows), pool.classes[rows]


def taught_state(
    engine: Engine,
    features: NDArray[np.float32],
    slots: NDArray[np.int64],
    options: TeachOptions,
) -> State:
    """The bundle's starting state, taught examples.

    Args:
        engine: The bundle.
        features: float32 `[n, *features.shape]`, n >= 1.
        slots: int64 `[n]`.
        options: How.

    Raises:
        DivergedError: The loss or the state is not finite.
    """
    if engine.bundle.manifest.adaptation == "gradient":
        return engine.adapt(features, slots, steps=options.steps).state
    weights = options.prior_count / np.bincount(slots)[slots]
    return engine.adapt(features, slots, weights.astype(np.float32)).state


def write_taught_bundle(
    path: str | os.PathLike[str],
    bundle: Bundle,
    labels: Sequence[str],
    state: State,
    options: TeachOptions,
    *,
    examples: int,
    overwrite: bool = False,
    key: SigningKey | None = None,
) -> str:
    """Write the version of `bundle` that names `labels` and starts from a taught state.

    Args:
        path: The new bundle's folder.
        bundle: A bundle that names no labels yet.
        labels: What slots 0, 1, ... mean; distinct and not empty.
        state: As `taught_state` gives it; every label's slot is in use, and no other.
        options: How it was taught.
        examples: How many examples it was taught, for provenance.
        overwrite: Replace a bundle that is at `path`.
        key: Sign the new bundle with it.

    Returns:
        The new bundle's digest.

    Raises:
        InvalidOptionError: The labels do not fit the state, or the bundle names labels already.
    """
    manifest = bundle.manifest
    if manifest.labels:
        msg = "the bundle names its labels already; start from one that does not"
        raise InvalidOptionError(msg)
    if not labels or len(set(labels)) != len(labels) or not all(labels):
        msg = "labels must be distinct non-empty strings, at least one"
        raise InvalidOptionError(msg)
    used = np.flatnonzero(state["counts"] > 0)
    if not np.array_equal(used, np.arange(len(labels))):
        msg = f"{len(labels)} labels need as many slots in use, the first ones, and no other"
        raise InvalidOptionError(msg)
    draft = next_draft(bundle)
    draft = replace(
        draft,
        labels=tuple(labels),
        steps=options.user_steps or draft.steps,
        provenance={**draft.provenance, "taught": {**asdict(options), "examples": examples}},
    )
    note = (
        f"## Version {draft.version}: taught labels\n\n"
        f"The first {len(labels)} label slots mean the same on every device. The starting state "
        f"was taught {examples} examples of them; it answers before its user teaches anything.\n"
    )
    tensors = {name: state[name] for name in state.names}
    return write_next_version(path, bundle, draft, tensors, note, overwrite=overwrite, key=key)
