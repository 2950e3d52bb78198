"""What the learners share that adapt the top of a pre-trained vision transformer, and a head."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from export.backbones.vit import FrozenTokens, TopLayers, check_sizes
from export.learners.base import Learner, LearnerOptions, Role, State, mask_unused
from export.learners.gradient import gradient_step, slots_in_use
from export.learners.recipe import MIRROR, VALIDATE_20, Recipe
from export.train_options import TrainOptions

if TYPE_CHECKING:
    from torch import Tensor


class VitTransfer(Learner):
    """State: small adapters of the top layers and a softmax head; adapting is one gradient step.

    Features are the tokens below the top layers, so that whatever stays frozen below them runs
    once, in int8. The transformer's own weights stay as they are; gradients flow through them.
    """

    adaptation = "gradient"
    objective = "pretrain"
    defaults: ClassVar[dict[str, int | float]] = {
        "adapted": 1,  # top layers that adapt
        "depth": 4,
        "heads": 4,
        "head_rate": 1.0,
        "rate": 1.0,  # of the adapters
    }
    recipes: ClassVar[dict[str, Recipe]] = {
        "omniglot": Recipe(
            train=TrainOptions(
                steps=10_000,
                batch_size=256,
                augment=MIRROR,
                outer_lr=2e-3,
                validation=VALIDATE_20,
                validate_every=1000,
                checkpoint_every=500,
            ),
        ),
        "glyphs": Recipe(
            train=TrainOptions(
                steps=800,
                batch_size=256,
                outer_lr=2e-3,
                validation=VALIDATE_20,
                validate_every=400,
            ),
        ),
    }
    roles: ClassVar[dict[str, Role]] = {
        "head.weight": "slot",
        "head.bias": "slot",
        "counts": "personal",
    }

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        self.dim = options.hidden
        self.num_adapted, depth = self.size("adapted"), self.size("depth")
        heads = self.size("heads")
        check_sizes(self.dim, heads, depth, self.num_adapted)
        frozen_depth = depth - self.num_adapted
        self.bottom = FrozenTokens(options.input_shape, self.dim, heads, frozen_depth)
        self.top = TopLayers(self.dim, heads, self.num_adapted)
        # centred features: a mean that all images share would bound the head's stable step sizes
        self.spread = nn.BatchNorm1d(self.dim, affine=False)

    @abstractmethod
    def adapters(self) -> State:
        """The starting adapters, by the names that they have in the state."""

    @abstractmethod
    def run_top(self, adapters: State, tokens: Tensor) -> Tensor:
        """The top layers under `adapters`: `[n, tokens, width]` -> `[n, width]`."""

    def trunk(self) -> dict[str, nn.Module]:
        return {"bottom": self.bottom, "top": self.top, "spread": self.spread}

    def represent(self, x: Tensor) -> Tensor:
        centred: Tensor = self.spread(self.run_top(self.adapters(), self.embed(x)))
        return centred

    def init(self, ways: int) -> State:
        adapters = self.adapters()
        like = next(iter(adapters.values()))
        return {
            **adapters,
            "head.weight": like.new_zeros(ways, self.dim),
            "head.bias": like.new_zeros(ways),
            "counts": like.new_zeros(ways),
        }

    def embed(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.bottom(x)
        return tokens

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        # the gradient of the mean loss shrinks as 1 / ways; undo it, so that one rate suits any
        # ways
        head = self.setting("head_rate") * slots_in_use(state, labels, weights)
        rates: dict[str, Tensor | float] = dict.fromkeys(self.adapters(), self.setting("rate"))
        rates |= {"head.weight": head, "head.bias": head}
        return gradient_step(self, state, features, labels, weights, rates)

    def predict(self, state: State, features: Tensor) -> Tensor:
        # not the module: batch norm is not exact under torch.func
        mean, variance = (self.get_buffer(f"spread.running_{k}") for k in ("mean", "var"))
        pooled = self.run_top(state, features)
        # of unit order, so that one step size suits any width
        z = (pooled - mean) * torch.rsqrt(self.dim * (variance + self.spread.eps))
        logits = z @ state["head.weight"].T + state["head.bias"]
        return mask_unused(logits, state["counts"])
