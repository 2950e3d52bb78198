"""The learner contract: a starting state and three functions. Everything else follows from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from edge_sdk.manifest import Kernel

State = dict[str, Tensor]
"""Named float tensors; always holds `counts`, `[ways]` (see docs/ARCHITECTURE.md section 2)."""

Role = Literal["shared", "slot", "personal"]

UNUSED_LOGIT = -1e9
"""Logit of a slot that is not in use: finite, so that a loss can never become NaN through it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LearnerOptions:
    """What builds a learner.

    Attributes:
        input_shape: One example, `[1, 28, 28]` for images.
        hidden: Channels of the backbone.
        ways: Label slots of the exported bundle; training may use any number.
        steps: Inner steps of gradient learners.
    """

    input_shape: tuple[int, ...] = (1, 28, 28)
    hidden: int = 64
    ways: int = 32
    steps: int = 5


class Learner(nn.Module, ABC):
    """A meta-learner. Subclasses set the class attributes and the four methods.

    `embed` is called once on a batch that may mix tasks. `adapt` and `predict` see one task, in
    plain tensor operations only (no in-place changes, no data-dependent control flow): the trainer
    maps them over tasks with `torch.func.vmap`, and the exporter traces them.
    """

    name: ClassVar[str]
    adaptation: ClassVar[Literal["gradient", "closed_form"]]
    roles: ClassVar[dict[str, Role]]
    """Role of each state tensor; a name that is not listed is `shared`."""

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__()
        self.options = options

    @property
    def steps(self) -> int:
        """Calls of `adapt` that make one adaptation."""
        return 1 if self.adaptation == "closed_form" else self.options.steps

    def kernel(self) -> Kernel | None:
        """The native kernel that computes what `adapt` does, if there is one."""
        return None

    @abstractmethod
    def init(self, ways: int) -> State:
        """The starting state for `ways` slots, differentiable in the meta-parameters."""

    def embed(self, x: Tensor) -> Tensor:
        """Frozen features of `x` `[n, *input_shape]`; the input itself where nothing is frozen."""
        return x

    has_embed: ClassVar[bool] = True
    """False where nothing is frozen; the bundle then has no embed.onnx."""

    @abstractmethod
    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        """One inner step, or the closed form.

        Args:
            state: As `init` gives it.
            features: `[n, *feature_shape]`.
            labels: int64 `[n]`, in `0..ways-1`.
            weights: `[n]`, >= 0; 0 leaves an example out.

        Returns:
            The next state and the support loss in nats, `[]`.
        """

    @abstractmethod
    def predict(self, state: State, features: Tensor) -> Tensor:
        """Logits, `[n, ways]`; `UNUSED_LOGIT` where a slot is not in use."""


def one_hot(labels: Tensor, ways: int, dtype: torch.dtype) -> Tensor:
    """`[n]` int64 -> `[n, ways]`, written as a comparison: it exports to every runtime."""
    return (labels[:, None] == torch.arange(ways, device=labels.device)).to(dtype)


def mask_unused(logits: Tensor, counts: Tensor) -> Tensor:
    """Set the logits of slots with `counts == 0` to `UNUSED_LOGIT`."""
    return torch.where(counts > 0, logits, UNUSED_LOGIT)


def support_loss(logits: Tensor, hot: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean cross-entropy of `logits` `[n, ways]` against one-hot rows, `[]`, in nats."""
    log_p = functional.log_softmax(logits, dim=-1)
    return -(weights * (hot * log_p).sum(-1)).sum() / weights.sum()
