"""An in-context learner: a transformer that reads the support set as its context.

Nguyen & Grover, "Transformer Neural Processes", ICML 2022 (context tokens attend to each other,
query tokens to the context, no positions: the order of examples does not matter); Kirsch et al.,
"General-Purpose In-Context Learning by Meta-Learning Transformers", 2022.

Those give a token a code of its label. A slot is then tied to its code, and the network must first
learn, on a long plateau, to compare codes. Here tokens know of labels what matters, whether two of
them are the same, as a learned bias of each head's attention (relative biases as in Shaw et al.,
"Self-Attention with Relative Position Representations", NAACL 2018): exactly no slot is special,
and a bundle may have any number of them.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_sdk.errors import InvalidOptionError
from export.learners.base import (
    LearnerOptions,
    Role,
    State,
    mask_unused,
    one_hot,
    support_loss,
)
from export.learners.frozen import FrozenLearner
from export.learners.memory import (
    KEYS,
    MEMORY_ROLES,
    WEIGHTS,
    empty_memory,
    memory_labels,
    remember,
)
from export.learners.recipe import Recipe, reading_recipes

MLP_RATIO = 2
NORM_EPS = 1e-5
_MASKED = -1e9


class InContext(FrozenLearner):
    """State: the examples as tokens, each layer's keys and values of them, and the prototypes.

    Adapting stores the support set and runs the context through the layers once; predicting runs
    only the queries, against the stored keys and values. A query goes to the slot whose mean token
    after the last layer is nearest.

    Every layer starts as the identity, so the learner starts as a prototypical network, from which
    it trains in minutes.
    """

    name = "incontext"
    adaptation = "closed_form"
    defaults: ClassVar[dict[str, int | float]] = {
        "capacity": 160,
        "heads": 4,
        "layers": 2,
        "width": 64,
    }
    roles: ClassVar[dict[str, Role]] = {**MEMORY_ROLES, "prototypes": "slot"}
    recipes: ClassVar[dict[str, Recipe]] = reading_recipes()

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        self.width, self.capacity = self.size("width"), self.size("capacity")
        heads = self.size("heads")
        if self.width % heads:
            msg = f"width must be a multiple of heads, got {self.width} and {heads}"
            raise InvalidOptionError(msg)
        self.project = nn.Linear(self.dim, self.width, bias=False)
        layers = range(self.size("layers"))
        self.layers = tuple(_Layer(self.width, heads) for _ in layers)
        self.registered = nn.ModuleList(self.layers)  # the same modules, as torch finds them
        self.cached = tuple(f"layer{i}.{kind}" for i in layers for kind in ("keys", "values"))
        self.log_scale = nn.Parameter(torch.tensor(0.0))

    def init(self, ways: int) -> State:
        like = self.log_scale
        return {
            **empty_memory(self.capacity, self.width, ways, like),
            **{name: like.new_zeros(self.capacity, self.width) for name in self.cached},
            "prototypes": like.new_zeros(ways, self.width),
        }

    def embed(self, x: Tensor) -> Tensor:
        features: Tensor = self.project(super().embed(x))
        return features

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        after = remember(state, features, labels, weights)
        hot = memory_labels(after)
        tokens, presence, same = after[KEYS], _presence(after), hot @ hot.T
        for i, layer in enumerate(self.layers):
            keys, values = layer.keys_and_values(tokens)
            after[f"layer{i}.keys"], after[f"layer{i}.values"] = keys, values
            bias = presence + layer.same_label[:, None, None] * same
            tokens = layer.mlp(layer.attend(tokens, keys, values, bias))
        shares = hot * after[WEIGHTS][:, None]
        shares = shares / torch.clamp(after["counts"], min=NORM_EPS)
        after["prototypes"] = shares.T @ tokens
        hot = one_hot(labels, after["counts"].shape[0], features.dtype)
        return after, support_loss(self.predict(after, features), hot, weights)

    def predict(self, state: State, features: Tensor) -> Tensor:
        tokens, presence = features, _presence(state)
        for i, layer in enumerate(self.layers):
            keys, values = state[f"layer{i}.keys"], state[f"layer{i}.values"]
            tokens = layer.mlp(layer.attend(tokens, keys, values, presence, see_self=True))
        prototypes = state["prototypes"]
        distance = (prototypes * prototypes).sum(-1) - 2 * (tokens @ prototypes.T)
        scale = torch.exp(self.log_scale) / self.width**0.5
        return mask_unused(-scale * distance, state["counts"])


class _Layer(nn.Module):
    """A pre-norm transformer block in plain operations on `[n, width]`, weights `[in, out]`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_width = width // heads
        inner = MLP_RATIO * width
        self.attention_norm = nn.Parameter(torch.ones(width))
        self.query = nn.Parameter(torch.randn(width, width) / math.sqrt(width))
        self.key = nn.Parameter(torch.randn(width, width) / math.sqrt(width))
        self.value = nn.Parameter(torch.randn(width, width) / math.sqrt(width))
        self.join = nn.Parameter(torch.zeros(width, width))
        self.same_label = nn.Parameter(torch.linspace(-1, 1, heads))
        self.mlp_norm = nn.Parameter(torch.ones(width))
        self.widen = nn.Parameter(torch.randn(width, inner) / math.sqrt(width))
        self.widen_bias = nn.Parameter(torch.zeros(inner))
        self.narrow = nn.Parameter(torch.zeros(inner, width))

    def keys_and_values(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        normal = _rms_norm(tokens, self.attention_norm)
        return normal @ self.key, normal @ self.value

    def attend(
        self, tokens: Tensor, keys: Tensor, values: Tensor, bias: Tensor, *, see_self: bool = False
    ) -> Tensor:
        """Add to each token what it reads from the context.

        Args:
            tokens: `[n, width]`.
            keys: Of the context, `[m, width]`.
            values: Of the context, `[m, width]`.
            bias: Added to the attention logits, broadcast to `[heads, n, m]`.
            see_self: Tokens are not in the context and see themselves besides it; as a context
                token does, whose label is its own.
        """
        normal = _rms_norm(tokens, self.attention_norm)
        queries = self._split(normal @ self.query) / self.head_width**0.5
        logits = queries @ self._split(keys).transpose(1, 2) + bias
        if not see_self:
            read = torch.softmax(logits, dim=-1) @ self._split(values)
        else:
            own_keys, own_values = (self._split(t) for t in self.keys_and_values(tokens))
            own = (queries * own_keys).sum(-1, keepdim=True) + self.same_label[:, None, None]
            shares = torch.softmax(torch.cat([logits, own], dim=-1), dim=-1)
            read = shares[..., :-1] @ self._split(values) + shares[..., -1:] * own_values
        joined = read.transpose(0, 1).reshape(tokens.shape[0], -1)
        return tokens + joined @ self.join

    def mlp(self, tokens: Tensor) -> Tensor:
        """Add what the token-wise network makes of each token, `[n, width]`."""
        inner = functional.relu(_rms_norm(tokens, self.mlp_norm) @ self.widen + self.widen_bias)
        return tokens + inner @ self.narrow

    def _split(self, x: Tensor) -> Tensor:
        """`[n, width]` -> `[heads, n, head_width]`."""
        return x.reshape(x.shape[0], self.heads, self.head_width).transpose(0, 1)


def _presence(state: State) -> Tensor:
    """Attention bias of the memory's rows, `[capacity]`: an example of weight 2 is seen as two."""
    weights = state[WEIGHTS]
    taught = weights > 0
    return torch.where(taught, torch.log(torch.where(taught, weights, 1.0)), _MASKED)


def _rms_norm(x: Tensor, gain: Tensor) -> Tensor:
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + NORM_EPS) * gain
