"""A memory-augmented learner: it writes what it is taught to an external memory, and reads it back.

Santoro, Bartunov, Botvinick, Wierstra, Lillicrap, "Meta-Learning with Memory-Augmented Neural
Networks", ICML 2016: content addressing by cosine similarity, and writing by least recently used
access (LRUA, section 3.2).

There a label comes one step after its example, so a write goes to the row that was read a step ago;
here both come together, and a write goes to the row that is read for this example and label, or to
the least used row. Labels are kept beside the keys as weights over slots, not as codes inside them:
exactly no slot is special. Predicting reads the memory and leaves it as it is, so a row's usage
counts the writes to it.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from edge_sdk.errors import InvalidOptionError
from export.learners.base import (
    LearnerOptions,
    Role,
    State,
    mask_unused,
    one_hot,
    support_loss,
)
from export.learners.frozen import FrozenLearner, unit_rows
from export.learners.recipe import Recipe, reading_recipes

UNWRITTEN = -1e-3
"""Usage of the first row that will be written; all that were not written yet are below 0."""

_EPS = 1e-6
_TINY = 1e-30
_MASKED = -1e9


class Mann(FrozenLearner):
    """State: rows of keys, their labels and their usage; adapting writes one example.

    `counts` is how much of each slot the memory holds: next to nothing of a label whose rows were
    all overwritten by newer ones.
    """

    name = "mann"
    adaptation = "sequential"
    order_invariant = False
    roles: ClassVar[dict[str, Role]] = {
        "memory.keys": "personal",
        "memory.labels": "personal",
        "memory.usage": "personal",
        "counts": "personal",
    }
    defaults: ClassVar[dict[str, int | float]] = {"rows": 160, "width": 64, "decay": 0.99}
    recipes: ClassVar[dict[str, Recipe]] = reading_recipes()

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        self.rows, self.width = self.size("rows"), self.size("width")
        self.decay = float(self.setting("decay"))
        if not 0 < self.decay <= 1:
            msg = f"decay must be in (0, 1], got {self.decay}"
            raise InvalidOptionError(msg)
        self.controller = nn.Linear(self.dim, self.width, bias=False)
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(10.0)))
        self.label_sharpness = nn.Parameter(torch.tensor(10.0))
        # the write gate sees how near the row that was read is, and whether it has the same label;
        # at first a row takes next to nothing of another label's example
        self.gate = nn.Parameter(torch.tensor([0.0, 6.0]))
        self.gate_bias = nn.Parameter(torch.tensor(-8.0))

    def init(self, ways: int) -> State:
        like = self.gate_bias
        rank = torch.arange(self.rows, dtype=like.dtype, device=like.device)
        return {
            "memory.keys": like.new_zeros(self.rows, self.width),
            "memory.labels": like.new_zeros(self.rows, ways),
            "memory.usage": UNWRITTEN * (self.rows - rank) / self.rows,
            "counts": like.new_zeros(ways),
        }

    def embed(self, x: Tensor) -> Tensor:
        features: Tensor = self.controller(super().embed(x))
        return features

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        keys, values, usage = (state[f"memory.{k}"] for k in ("keys", "labels", "usage"))
        hot = one_hot(labels, values.shape[1], features.dtype)
        key = unit_rows(features)
        written = usage > 0
        any_written = written.any().to(features.dtype)

        near = (unit_rows(keys) @ key.T)[:, 0]
        same = (values @ hot[0]) / torch.clamp(values.sum(-1), min=_EPS)
        address = torch.exp(self.log_sharpness) * near + self.label_sharpness * same
        read = torch.softmax(torch.where(written, address, _MASKED), dim=0) * any_written
        agreement = self.gate[0] * (read @ near) + self.gate[1] * (read @ same)
        merge = torch.sigmoid(agreement + self.gate_bias) * any_written
        least_used = _first_smallest(usage)
        write = merge * read + (1 - merge) * least_used

        # what goes to a row of its own finds that row empty
        kept = torch.where(merge < 0.5, 1 - least_used, 1.0)[:, None]
        after_values = kept * values + write[:, None] * (weights[0] * hot)
        after = {
            "memory.keys": kept * keys + write[:, None] * key,
            "memory.labels": after_values,
            "memory.usage": self.decay * usage + write,
            "counts": after_values.sum(0),
        }
        return after, support_loss(self.predict(after, features), hot, weights)

    def predict(self, state: State, features: Tensor) -> Tensor:
        keys, values, counts = state["memory.keys"], state["memory.labels"], state["counts"]
        near = torch.exp(self.log_sharpness) * (unit_rows(features) @ unit_rows(keys).T)
        near = torch.where(state["memory.usage"] > 0, near, _MASKED)
        top = near.max(-1, keepdim=True).values
        # each slot's mean closeness, so that more examples of a label do not speak louder; what is
        # left of one that was overwritten speaks softly
        share = values / torch.clamp(counts, min=1.0)
        closeness = torch.exp(near - top) @ share
        return mask_unused(torch.log(closeness.clamp_min(_TINY)), counts)


def _first_smallest(usage: Tensor) -> Tensor:
    """One-hot of the smallest number, `[rows]`; of equal ones the first."""
    least = (usage == usage.min()).to(usage.dtype)
    return least * (least.cumsum(0) == 1).to(usage.dtype)
