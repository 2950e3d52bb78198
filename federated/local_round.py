"""One client of a round, pure: adapt on its own examples, return a clipped update."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_sdk import State
from edge_sdk.errors import BadUpdateError
from edge_sdk.update import make_update, shareable_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edge_sdk import Bundle, Engine
    from edge_sdk.update import ModelUpdate


def shared_tensors(bundle: Bundle, state: State) -> dict[str, NDArray[np.float32]]:
    """Copy the tensors of `state` that this bundle lets a round average, sorted by name."""
    return {name: np.array(state[name]) for name in sorted(shareable_names(bundle.manifest))}


def round_start(bundle: Bundle, initial: State, shared: Mapping[str, NDArray[np.float32]]) -> State:
    """Make the state a round starts from: the bundle's own, with the shared tensors replaced.

    Rows of slot tensors beyond the bundle's labels stay the bundle's own: honest updates are zero
    there, and no other may move what a user's own labels start from.

    Args:
        bundle: The bundle that all clients of the run hold.
        initial: Its initial state.
        shared: The round's current shared tensors, float32, exactly the shareable names.

    Raises:
        BadUpdateError: A tensor is missing, unknown, not finite, or of another shape or dtype.
    """
    names = set(shareable_names(bundle.manifest))
    slots = {spec.name for spec in bundle.manifest.state if spec.role == "slot"}
    num_labels = len(bundle.manifest.labels)
    if set(shared) != names:
        msg = f"a round on this bundle must hold the tensors {sorted(names)}, got {sorted(shared)}"
        raise BadUpdateError(msg)
    tensors = {name: np.array(initial[name]) for name in initial.names}
    for name in sorted(names):
        value = shared[name]
        want = tensors[name].shape
        if value.shape != want or value.dtype != np.float32:
            msg = f"{name} must be float32 {list(want)}, got {value.dtype} {list(value.shape)}"
            raise BadUpdateError(msg)
        if not np.isfinite(value).all():
            msg = f"{name} of the round's starting state is not finite"
            raise BadUpdateError(msg)
        new = np.array(value, order="C")
        if name in slots:
            new[num_labels:] = tensors[name][num_labels:]
        tensors[name] = new
    return State.from_arrays(tensors)


def local_round(
    engine: Engine,
    start: State,
    features: NDArray[np.float32],
    slots: NDArray[np.int64],
    *,
    clipping_norm: float,
    steps: int | None = None,
) -> ModelUpdate:
    """Adapt from `start` on one client's examples; only the clipped update comes out.

    Args:
        engine: The bundle's graphs, loaded.
        start: The round's starting state, from `round_start`.
        features: What `Engine.embed` gave for the examples, `[n, *features.shape]`, n >= 1.
        slots: Label slot of each row, `[n]`.
        clipping_norm: L2 bound on the whole update, finite and positive.
        steps: Inner steps, or None for the bundle's own number.

    Raises:
        EmptySupportError: There is no example.
        DivergedError: The inner loop met a non-finite loss.
    """
    adapted = engine.adapt(features, slots, steps=steps, start=start)
    bundle = engine.bundle
    return make_update(bundle.manifest, bundle.digest, start, adapted.state, clipping_norm)
