"""Conditional neural processes: encode each example, average, decode with each query.

Garnelo et al., "Conditional Neural Processes", ICML 2018, section 4.3 for classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn
from torch.nn import functional

from export.learners.base import one_hot, support_loss
from export.learners.frozen import FrozenLearner, running_means
from export.learners.gaussian_softmax import gaussian_softmax
from export.learners.pairwise import PairNetwork

if TYPE_CHECKING:
    from torch import Tensor

    from export.learners.base import LearnerOptions, Role, State

INITIAL_SPREAD = -3.0
"""Pre-activation (softplus) of the logits' variance at the start."""


class Cnp(FrozenLearner):
    """State: each class's representation, the mean of its encoded examples.

    The paper decodes a query with the representations of all classes in a fixed order; here the
    decoder judges each class by its own and the mean of all, so that any number of classes is
    served and none is special. It gives a normal logit for each class; the probabilities and their
    variance follow in closed form (`gaussian_softmax`).
    """

    name = "cnp"
    adaptation = "closed_form"
    roles: ClassVar[dict[str, Role]] = {"representation": "slot", "counts": "personal"}
    has_variance = True
    defaults: ClassVar[dict[str, int | float]] = {"dim": 128, "units": 64}

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        backbone_dim, self.dim = self.dim, int(self.setting("dim"))
        units = int(self.setting("units"))
        self.projection = nn.Linear(backbone_dim, self.dim, bias=False)
        self.encode_in = nn.Linear(self.dim, units)
        self.encode_out = nn.Linear(units, self.dim)
        self.context = nn.Parameter(torch.zeros(self.dim, self.dim))
        self.per_log_shot = nn.Parameter(torch.zeros(self.dim))
        self.decoder = PairNetwork(self.dim, units, outputs=2)
        for tensor in (self.encode_out.weight, self.encode_out.bias):
            nn.init.zeros_(tensor)

    def init(self, ways: int) -> State:
        like = self.per_log_shot
        return {"representation": like.new_zeros(ways, self.dim), "counts": like.new_zeros(ways)}

    def embed(self, x: Tensor) -> Tensor:
        features: Tensor = self.projection(self.backbone(x))
        return features

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        encoded = features + self.encode_out(torch.relu(self.encode_in(features)))
        representation, counts = running_means(
            state["representation"], state["counts"], encoded, labels, weights
        )
        after = {"representation": representation, "counts": counts}
        hot = one_hot(labels, counts.shape[0], features.dtype)
        return after, support_loss(self.predict(after, features)[0], hot, weights)

    def predict(self, state: State, features: Tensor) -> tuple[Tensor, Tensor]:
        representation, counts = state["representation"], state["counts"]
        used = counts > 0
        in_use = used.to(features.dtype)
        mean_of_all = (in_use @ representation) / in_use.sum().clamp_min(1)
        shots = torch.log(torch.where(used, counts, 1.0))[:, None]
        of_class = representation + mean_of_all @ self.context + shots * self.per_log_shot
        decoded = self.decoder(features, of_class)
        variance = functional.softplus(decoded[..., 1] + INITIAL_SPREAD)
        return gaussian_softmax(decoded[..., 0], variance, counts)
