"""A memory of examples with room for a fixed number, for learners that keep what they were taught.

State tensors, beside `counts` (all personal: they hold a user's features):

* `memory.keys` `[capacity, dim]`: one row an example, oldest first, rows not in use 0 and last;
* `memory.labels` `[capacity]`: its slot, as a float;
* `memory.weights` `[capacity]`: its weight; 0 where a row is not in use.

When the memory is full, room goes to the labels in equal shares, and within a label to its newest
examples: one label that is taught often never drives out another, as it would if the oldest of all
were overwritten. Which examples stay depends only on the order in which they were taught and not
on how they came in calls, and the order of examples matters for nothing else. `counts` always says
what the memory holds, so that a slot is in use exactly while it has an example there.

Everything is written in plain tensor operations on fixed shapes: comparisons and sums of whole
numbers (exact in float32), and one gather. An example of weight 0 is not stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from export.learners.base import UNUSED_LOGIT, one_hot

if TYPE_CHECKING:
    from torch import Tensor

    from export.learners.base import Role, State

_FEWEST_VOTES = 1e-35
"""Far above the smallest float32, so that every runtime rounds what lies below alike."""

KEYS, LABELS, WEIGHTS = "memory.keys", "memory.labels", "memory.weights"

MEMORY_ROLES: dict[str, Role] = {
    KEYS: "personal",
    LABELS: "personal",
    WEIGHTS: "personal",
    "counts": "personal",
}


def empty_memory(capacity: int, dim: int, ways: int, like: Tensor) -> State:
    """A memory without examples, and `counts` of zeros.

    Args:
        capacity: Examples that it has room for.
        dim: Length of one example's features.
        ways: Label slots.
        like: Gives dtype and device.
    """
    return {
        KEYS: like.new_zeros(capacity, dim),
        LABELS: like.new_zeros(capacity),
        WEIGHTS: like.new_zeros(capacity),
        "counts": like.new_zeros(ways),
    }


def remember(state: State, features: Tensor, labels: Tensor, weights: Tensor) -> State:
    """Store a support set behind what the memory holds; other tensors of `state` stay.

    Args:
        state: Holds the tensors of `empty_memory`.
        features: `[n, dim]`, in the order taught.
        labels: int64 `[n]`.
        weights: `[n]`, >= 0.
    """
    capacity, ways = state[WEIGHTS].shape[0], state["counts"].shape[0]
    keys = torch.cat([state[KEYS], features])
    slots = torch.cat([state[LABELS], labels.to(features.dtype)])
    strengths = torch.cat([state[WEIGHTS], weights])
    index, filled = _rows_that_stay(slots, strengths, capacity)
    zero = torch.zeros_like(state[WEIGHTS])
    kept_slots = torch.where(filled, slots.index_select(0, index), zero)
    kept_weights = torch.where(filled, strengths.index_select(0, index), zero)
    hot = one_hot(kept_slots.to(torch.int64), ways, features.dtype)
    return {
        **state,
        KEYS: torch.where(filled[:, None], keys.index_select(0, index), zero[:, None]),
        LABELS: kept_slots,
        WEIGHTS: kept_weights,
        "counts": kept_weights @ hot,
    }


def memory_labels(state: State) -> Tensor:
    """One-hot labels of the rows, `[capacity, ways]`; zeros where a row is not in use."""
    ways = state["counts"].shape[0]
    hot = one_hot(state[LABELS].to(torch.int64), ways, state[KEYS].dtype)
    return torch.where(state[WEIGHTS][:, None] > 0, hot, 0.0)


def _rows_that_stay(slots: Tensor, strengths: Tensor, capacity: int) -> tuple[Tensor, Tensor]:
    """Choose the rows that stay, oldest first.

    Args:
        slots: `[m]`, oldest first.
        strengths: `[m]`; 0 where there is no example.
        capacity: How many may stay.

    Returns:
        Indices int64 `[capacity]` (0 where there is none), and whether there is one, `[capacity]`.
    """
    live = (strengths > 0).to(strengths.dtype)
    age = torch.ones_like(strengths).cumsum(0)  # a range, whose length may be symbolic
    newer = age > age[:, None]  # [i, j]: j was taught after i
    same = slots == slots[:, None]
    # how many newer examples the label has: the first in line of every label come before the second
    place = (same & newer).to(live.dtype) @ live
    ahead = (place < place[:, None]) | ((place == place[:, None]) & newer)
    stays = live * ((ahead.to(live.dtype) @ live) < capacity).to(live.dtype)
    target = (age < age[:, None]).to(live.dtype) @ stays  # rows close up, in order
    rows = torch.arange(capacity, device=slots.device, dtype=slots.dtype)
    pick = (target == rows[:, None]).to(live.dtype) * stays
    index = (pick @ (age - 1)).to(torch.int64)
    return index, pick.sum(1) > 0


def log_votes(scores: Tensor, state: State) -> Tensor:
    """Log of each slot's votes, up to one constant a query: a stored example votes exp(score).

    Args:
        scores: `[n, capacity]`: how well each query fits each stored example.
        state: Holds the memory.

    Returns:
        `[n, ways]`; slots without an example get a low number, to be masked.
    """
    live = state[WEIGHTS] > 0
    masked = torch.where(live, scores, UNUSED_LOGIT)
    top = masked.amax(-1, keepdim=True).detach()
    votes = (torch.exp(masked - top) * state[WEIGHTS]) @ memory_labels(state)
    return torch.log(votes.clamp_min(_FEWEST_VOTES))
