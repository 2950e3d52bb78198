"""ModelUpdate: the full list of what may leave a device, and the clip that bounds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk import _core
from edge_sdk.arrays import Float32Array, as_float32
from edge_sdk.errors import BadStateError, BadUpdateError, NonFiniteError
from edge_sdk.options import check_clipping_norm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_sdk._core import State
    from edge_sdk.manifest import Manifest, TensorSpec


@dataclass(frozen=True, slots=True, eq=False)
class ModelUpdate:
    """Adapted minus received parameters, clipped. Nothing else may leave a device.

    Attributes:
        bundle_digest: Digest of the bundle that it was made from.
        delta: float32, one array for each of `shareable_names`, of the state tensor's shape.
    """

    bundle_digest: str
    delta: Mapping[str, Float32Array]


def shareable_names(manifest: Manifest) -> tuple[str, ...]:
    """Names of the state tensors that may be in an update, in the manifest's order.

    `shared` tensors; `slot` tensors only where the bundle says what its slots mean.
    """
    return tuple(spec.name for spec in manifest.state if _is_shareable(spec, manifest))


def joint_norm(delta: Mapping[str, Float32Array]) -> float:
    """L2 norm over all tensors together, summed in float64; 0 for an empty update."""
    return _core.joint_norm({name: np.asarray(values) for name, values in delta.items()})


def clip_to_norm(
    delta: Mapping[str, Float32Array], clipping_norm: float
) -> dict[str, Float32Array]:
    """Scale the whole update so that its joint norm is at most `clipping_norm`, in the C++ core.

    An update within the bound keeps its bits. A scaled one is rounded towards zero, so
    rounding never lifts it over the bound. The same bits on every machine.

    Raises:
        InvalidOptionError: `clipping_norm` is not a finite number > 0.
        DtypeMismatchError: A tensor is not float32.
        NonFiniteError: A tensor holds NaN or infinity.
    """
    bound = check_clipping_norm(clipping_norm)
    checked = {name: as_float32(values, name=f"delta[{name!r}]") for name, values in delta.items()}
    return _core.clip_update(checked, bound)[0]  # which refuses what is not finite


def make_update(
    manifest: Manifest,
    bundle_digest: str,
    start: State,
    adapted: State,
    clipping_norm: float,
    *,
    carried: Mapping[str, Float32Array] | None = None,
) -> ModelUpdate:
    """The clipped update from `start` to `adapted`.

    Rows of slot tensors beyond the bundle's own labels hold the user's own labels; they stay zero.

    Args:
        manifest: Of the bundle.
        bundle_digest: Its digest.
        start: The state that adapting began from.
        adapted: Where it ended.
        clipping_norm: L2 bound on the whole update.
        carried: What coding took from the update before (`edge_sdk.residual`), added before
            clipping; tensors that do not fit this bundle are passed over.

    Raises:
        BadUpdateError: This bundle has nothing that may leave a device.
        BadStateError: A state does not fit the manifest.
        NonFiniteError: The difference is not finite.
        InvalidOptionError: `clipping_norm` is not a finite number > 0.
    """
    specs = [spec for spec in manifest.state if _is_shareable(spec, manifest)]
    if not specs:
        msg = (
            "this bundle shares nothing: it has no shared tensor, and no labels that would fix "
            "what its slots mean"
        )
        raise BadUpdateError(msg)
    delta = {
        spec.name: _difference(spec, manifest, start, adapted, (carried or {}).get(spec.name))
        for spec in specs
    }
    clipped = clip_to_norm(delta, clipping_norm)
    for values in clipped.values():
        values.setflags(write=False)
    return ModelUpdate(bundle_digest, clipped)


def _is_shareable(spec: TensorSpec, manifest: Manifest) -> bool:
    return spec.role == "shared" or (spec.role == "slot" and bool(manifest.labels))


def _difference(
    spec: TensorSpec,
    manifest: Manifest,
    start: State,
    adapted: State,
    carried: Float32Array | None,
) -> Float32Array:
    for state in (start, adapted):
        if spec.name not in state or state[spec.name].shape != spec.shape:
            msg = f"a state of this bundle has a tensor {spec.name} of shape {list(spec.shape)}"
            raise BadStateError(msg)
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.asarray(adapted[spec.name] - start[spec.name], dtype=np.float32)
        if carried is not None and carried.shape == values.shape:
            values = np.asarray(values + carried, dtype=np.float32)
    if not np.isfinite(values).all():
        msg = f"the update of {spec.name} holds NaN or infinity"
        raise NonFiniteError(msg)
    if spec.role == "slot":
        values[len(manifest.labels) :] = 0
    return values
