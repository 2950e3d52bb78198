"""A cohort's updates to their sum, with masks, in one process: what a simulated round does.

On every device: clip, flatten, round to the round's grid, mask. On the server: unmask each group's
sum of integers, add the groups, back from the grid. The noise of a private round goes between the
last two, on the integers. Dividing by a fixed denominator and the server's step come after.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sdk.errors import ShapeMismatchError
from edge_sdk.grid import flatten, unflatten
from edge_sdk.update import clip_to_norm
from federated.compress.grid import SEED_BYTES, restore_sum, round_update
from federated.secure.groups import open_sessions
from federated.secure.in_process import run_cohort

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

    from edge_sdk.arrays import Float32Array
    from edge_sdk.grid import Shapes
    from edge_sdk.signing import SigningKey
    from federated.compress.grid import GridOptions
    from federated.secure.groups import GroupOptions
    from federated.secure.in_process import CohortSum
    from federated.secure.messages import Kind
    from federated.secure.roster import Roster


@dataclass(frozen=True, kw_only=True, slots=True)
class Enrolment:
    """Who the members are, as each of them knows it.

    Attributes:
        keys: Identity key of each client; on real devices each has its own only.
        roster: The public keys of all.
    """

    keys: Mapping[str, SigningKey]
    roster: Roster


@dataclass(frozen=True, slots=True, eq=False)
class UpdateSum:
    """What the server has of a round.

    Attributes:
        delta: Sum of the clipped updates of the cohort's contributors, float32 by tensor.
        cohort: The sum as integers, who is in it, what failed, and bytes by client.
        residuals: What rounding took from each client's update, float32 by tensor; on real
            devices it stays there, to be added to the client's next update.
    """

    delta: dict[str, Float32Array]
    cohort: CohortSum
    residuals: dict[str, dict[str, Float32Array]]


def sum_updates(
    updates: Mapping[str, Mapping[str, Float32Array]],
    enrolment: Enrolment,
    shapes: Shapes,
    grid: GridOptions,
    groups: GroupOptions,
    *,
    server_round: int,
    rng: np.random.Generator,
    leaves: Mapping[str, Kind] | None = None,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> UpdateSum:
    """Sum updates so that no single one is seen outside of its device.

    Args:
        updates: By client id; residuals of earlier rounds are in them already.
        enrolment: Keys and roster.
        shapes: Of the tensors, by name.
        grid: The round's grid; its length is that of all tensors together.
        groups: Size of the groups, and modulus.
        server_round: Number of the round, from 0.
        rng: Draws the groups.
        leaves: The first answer that a client does not give, where it drops out.
        random_bytes: Secrets of the clients, and their rounding.

    Raises:
        InvalidOptionError: Too few clients for a group, or a number out of range.
        ModulusTooSmallError: The sum of a group could overflow; nothing was sent.
        ShapeMismatchError, NonFiniteError: An update does not have these shapes, or is not finite.
    """
    sessions = open_sessions(
        list(updates),
        groups,
        server_round=server_round,
        length=grid.length,
        limit=grid.limit,
        rng=rng,
        random_bytes=random_bytes,
    )
    values, residuals = {}, {}
    for client, delta in updates.items():
        if {name: values.shape for name, values in delta.items()} != dict(shapes):
            msg = "an update has not the names and shapes of the round's tensors"
            raise ShapeMismatchError(msg)
        flat = flatten(clip_to_norm(delta, grid.clipping_norm))
        values[client], rest = round_update(flat, grid, seed=random_bytes(SEED_BYTES))
        residuals[client] = unflatten(rest, shapes)
    cohort = run_cohort(
        sessions,
        enrolment.keys,
        enrolment.roster,
        values,
        leaves=leaves,
        random_bytes=random_bytes,
    )
    delta = unflatten(restore_sum(cohort.total, grid), shapes)
    return UpdateSum(delta=delta, cohort=cohort, residuals=residuals)
