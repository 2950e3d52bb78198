"""Conditional neural processes: encode each example, average, decode with each query.

Garnelo et al., "Conditional Neural Processes", ICML 2018: section 4.3 for classes, 4.1 for values.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.backbones.registry import BACKBONES, make_backbone
from export.learners.base import Learner, one_hot, support_loss
from export.learners.frozen import running_means
from export.learners.gaussian_softmax import gaussian_softmax
from export.learners.pairwise import PairNetwork
from export.learners.recipe import MIXED_60, Recipe, comparing_recipes
from export.tasks.sampler import EpisodeOptions
from export.train_options import TrainOptions

if TYPE_CHECKING:
    from collections.abc import Collection

    from export.learners.base import LearnerOptions, Role, State, Task

INITIAL_SPREAD = -3.0
"""Pre-activation (softplus) of the logits' variance at the start."""

SMALLEST_VARIANCE = 1e-4
"""Of a value: keeps the likelihood bounded where examples without noise are met exactly."""


class Cnp(Learner):
    """State: the mean of the encoded examples, one for each class, or one for a function.

    Teaching more only moves the mean: no old example is needed again.
    """

    name = "cnp"
    adaptation = "closed_form"
    tasks: ClassVar[tuple[Task, ...]] = ("classification", "regression")
    backbones: ClassVar[Collection[str]] = BACKBONES.keys()
    roles: ClassVar[dict[str, Role]] = {"representation": "slot", "counts": "personal"}
    has_variance = True
    defaults: ClassVar[dict[str, int | float]] = {"dim": 128, "units": 64}
    recipes: ClassVar[dict[str, Recipe]] = {
        **comparing_recipes(MIXED_60),
        "sinusoids": Recipe(
            train=TrainOptions(
                steps=20_000,
                episodes=EpisodeOptions(shots=1, max_shots=20, queries=20, draws=32),
                outer_lr=2e-3,
                validation=EpisodeOptions(shots=10, queries=50, draws=100),
                validation_batches=5,
                validate_every=1000,
            )
        ),
    }

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        self.dim, units = self.size("dim"), self.size("units")
        self.regression = options.task == "regression"
        self.has_embed = not self.regression
        self.body: _Classes | _Values = (
            _Values(options, self.dim, units)
            if self.regression
            else _Classes(options, self.dim, units)
        )

    def trunk(self) -> dict[str, nn.Module]:
        return {"backbone": self.body.backbone} if isinstance(self.body, _Classes) else {}

    def init(self, ways: int) -> State:
        like = next(self.parameters())
        return {"representation": like.new_zeros(ways, self.dim), "counts": like.new_zeros(ways)}

    def embed(self, x: Tensor) -> Tensor:
        return self.body.embed(x)

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        slots = torch.zeros_like(weights).to(torch.int64) if self.regression else labels
        representation, counts = running_means(
            state["representation"],
            state["counts"],
            self.body.encode(features, labels),
            slots,
            weights,
        )
        after = {"representation": representation, "counts": counts}
        mean, variance = self.predict(after, features)
        if self.regression:
            each = gaussian_nll(mean, variance, labels)
            return after, (weights * each).sum() / weights.sum()
        return after, support_loss(mean, one_hot(labels, counts.shape[0], mean.dtype), weights)

    def predict(self, state: State, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.body.decode(state["representation"], state["counts"], features)


class _Classes(nn.Module):
    """Networks for labels, on a frozen backbone.

    The paper decodes a query with the representations of all classes in a fixed order; here the
    decoder judges each class by its own, the mean of all and the number of its examples, so that
    any number of classes is served and none is special. It gives a normal logit for each class; the
    probabilities and their variance follow in closed form (`gaussian_softmax`).
    """

    def __init__(self, options: LearnerOptions, dim: int, units: int) -> None:
        super().__init__()
        self.backbone = make_backbone(options.backbone, options.input_shape, options.hidden)
        self.projection = nn.Linear(self.backbone.dim, dim, bias=False)
        self.encode_in = nn.Linear(dim, units)
        self.encode_out = nn.Linear(units, dim)
        self.context = nn.Parameter(torch.zeros(dim, dim))
        self.per_log_shot = nn.Parameter(torch.zeros(dim))
        self.decoder = PairNetwork(dim, units, outputs=2)
        for tensor in (self.encode_out.weight, self.encode_out.bias):
            nn.init.zeros_(tensor)

    def embed(self, x: Tensor) -> Tensor:
        features: Tensor = self.projection(self.backbone(x))
        return features

    def encode(self, features: Tensor, _labels: Tensor) -> Tensor:
        """`[n, dim]`; an example's label says only in whose mean it goes."""
        change: Tensor = self.encode_out(torch.relu(self.encode_in(features)))
        return features + change

    def decode(
        self, representation: Tensor, counts: Tensor, features: Tensor
    ) -> tuple[Tensor, Tensor]:
        used = counts > 0
        in_use = used.to(features.dtype)
        mean_of_all = (in_use @ representation) / in_use.sum().clamp_min(1)
        shots = torch.log(torch.where(used, counts, 1.0))[:, None]
        of_class = representation + mean_of_all @ self.context + shots * self.per_log_shot
        decoded = self.decoder(features, of_class)
        variance = functional.softplus(decoded[..., 1] + INITIAL_SPREAD)
        return gaussian_softmax(decoded[..., 0], variance, counts)


class _Values(nn.Module):
    """Networks for values; features are the inputs themselves."""

    def __init__(self, options: LearnerOptions, dim: int, units: int) -> None:
        super().__init__()
        inputs, self.outputs = math.prod(options.input_shape), options.outputs
        self.encoder = nn.Sequential(
            nn.Linear(inputs + self.outputs, 2 * units),
            nn.ReLU(),
            nn.Linear(2 * units, 2 * units),
            nn.ReLU(),
            nn.Linear(2 * units, dim),
        )
        # the first layer of (query, representation) is a sum of one product for each
        self.query_in = nn.Linear(inputs, 2 * units, bias=False)
        self.representation_in = nn.Linear(dim, 2 * units)
        self.decoder = nn.Sequential(
            nn.ReLU(),
            nn.Linear(2 * units, 2 * units),
            nn.ReLU(),
            nn.Linear(2 * units, 2 * self.outputs),
        )

    def embed(self, x: Tensor) -> Tensor:
        return x

    def encode(self, features: Tensor, values: Tensor) -> Tensor:
        """`[n, dim]`."""
        encoded: Tensor = self.encoder(torch.cat([features.flatten(1), values], dim=-1))
        return encoded

    def decode(
        self, representation: Tensor, _counts: Tensor, features: Tensor
    ) -> tuple[Tensor, Tensor]:
        first = self.query_in(features.flatten(1)) + self.representation_in(representation)
        decoded = self.decoder(first)
        spread = functional.softplus(decoded[:, self.outputs :])
        return decoded[:, : self.outputs], SMALLEST_VARIANCE + spread


def gaussian_nll(mean: Tensor, variance: Tensor, values: Tensor) -> Tensor:
    """Negative log-likelihood of each value under a normal, summed over outputs: `[n]`, in nats."""
    gap = values - mean
    each = torch.log(2 * math.pi * variance) + gap * gap / variance
    return 0.5 * each.sum(-1)
