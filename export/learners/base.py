"""The learner contract: a starting state and three functions. Everything else follows from it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_sdk.errors import InvalidOptionError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from edge_sdk.manifest import Kernel
    from export.learners.recipe import Recipe
    from export.stored_weights import WeightEncoding

Task = Literal["classification", "regression"]

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
        backbone: Name of the frozen backbone, see `export.backbones.registry`.
        ways: Label slots of the exported bundle; training may use any number.
        steps: Inner steps of gradient learners.
        settings: Values of the learner's own options, in place of its `defaults`.
        task: What is learned: labels, or values. A regression has one slot, whatever `ways` says.
        outputs: How many numbers a value has; regression only.
    """

    input_shape: tuple[int, ...] = (1, 28, 28)
    hidden: int = 64
    backbone: str = "conv4"
    ways: int = 32
    steps: int = 5
    settings: Mapping[str, int | float] = field(default_factory=dict)
    task: Task = "classification"
    outputs: int = 1

    def __post_init__(self) -> None:
        for name in ("hidden", "ways", "steps", "outputs"):
            if getattr(self, name) < 1:
                msg = f"{name} must be >= 1, got {getattr(self, name)}"
                raise InvalidOptionError(msg)


class Learner(nn.Module, ABC):
    """A meta-learner. Subclasses set the class attributes and the four methods.

    `embed` is called once on a batch that may mix tasks. `adapt` and `predict` see one task, in
    plain tensor operations only (no in-place changes, no data-dependent control flow): the trainer
    maps them over tasks with `torch.func.vmap`, and the exporter traces them.
    """

    name: ClassVar[str]
    adaptation: ClassVar[Literal["gradient", "closed_form", "sequential"]]
    """How often `adapt` is called on a support set: `steps` times on all of it, once on all of it,
    or once for each example (n == 1) in the order taught; see `export.learners.adaptation`."""

    order_invariant: ClassVar[bool] = True
    """Whether the order of the support set's examples changes nothing but rounding."""

    tasks: ClassVar[tuple[Task, ...]] = ("classification",)
    """What it can learn."""

    backbones: ClassVar[Collection[str]] = ("conv4",)
    """Which of `export.backbones.registry` it can be built on."""

    roles: ClassVar[dict[str, Role]]
    """Role of each state tensor; a name that is not listed is `shared`."""

    defaults: ClassVar[Mapping[str, int | float]] = {}
    """The learner's own options and their values; `setting` reads them."""

    objective: ClassVar[str] = "query_loss"
    """What training lowers, by name; see `export.objectives.registry`."""

    recipes: ClassVar[Mapping[str, Recipe]] = {}
    """How it is trained by default, by name of the task source; see `export.recipes`."""

    def __init__(self, options: LearnerOptions) -> None:
        """Check and keep the options.

        Raises:
            InvalidOptionError: `options.settings` names no option of this learner, or gives one a
                value that is not of its type; or it does not learn `options.task`, or not on
                `options.backbone`.
        """
        super().__init__()
        if options.task not in self.tasks:
            msg = f"{self.name} does {' and '.join(self.tasks)}, not {options.task}"
            raise InvalidOptionError(msg)
        if options.backbone not in self.backbones:
            known = ", ".join(sorted(self.backbones))
            msg = f"{self.name} takes these backbones: {known}; not {options.backbone!r}"
            raise InvalidOptionError(msg)
        self.options = replace(options, ways=1) if options.task == "regression" else options
        self.settings = resolve_settings(self.name, self.defaults, options.settings)
        self.calibration: Tensor
        self.register_buffer("calibration", torch.zeros(5))  # see `export.calibration`

    def setting(self, name: str) -> int | float:
        """The value of one of `defaults`, or what `options.settings` has in its place.

        Of the default's type: an int where the default is an int, else a float.
        """
        return self.settings[name]

    def size(self, name: str) -> int:
        """One of the settings that is a number of things.

        Raises:
            InvalidOptionError: It is below 1.
        """
        value = int(self.settings[name])
        if value < 1:
            msg = f"{name} must be >= 1, got {value}"
            raise InvalidOptionError(msg)
        return value

    @property
    def steps(self) -> int:
        """Calls of `adapt` that make one adaptation."""
        return self.options.steps if self.adaptation == "gradient" else 1

    @property
    def has_variance(self) -> bool:
        """Whether `predict` gives a variance, too."""
        return False

    @property
    def weight_encoding(self) -> WeightEncoding:
        """How large weights that `adapt` and `predict` read are stored in a bundle."""
        return "float16"

    def kernel(self) -> Kernel | None:
        """The native kernel that computes what `adapt` does, if there is one."""
        return None

    @abstractmethod
    def init(self, ways: int) -> State:
        """The starting state for `ways` slots, differentiable in the meta-parameters."""

    def embed(self, x: Tensor) -> Tensor:
        """Frozen features of `x` `[n, *input_shape]`; the input itself where nothing is frozen."""
        return x

    def represent(self, x: Tensor) -> Tensor:
        """What supervised pre-training classifies, `[n, dim]`: the features, unless overridden."""
        return self.embed(x).flatten(1)

    def trunk(self) -> Mapping[str, nn.Module]:
        """The parts that know inputs and nothing of how this learner adapts.

        Learners with equal trunks may start from each other's (`export.warm_start`).
        """
        return {}

    has_embed: bool = True
    """False where nothing is frozen; the bundle then has no embed.onnx."""

    @abstractmethod
    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        """One inner step, the closed form, or one example of a sequence.

        Args:
            state: As `init` gives it.
            features: `[n, *feature_shape]`; n is 1 for sequential learners.
            labels: int64 `[n]`, in `0..ways-1`; of a regression the values, `[n, outputs]`.
            weights: `[n]`, >= 0; 0 leaves an example out (sequential learners never see one).

        Returns:
            The next state and the support loss, `[]`: in nats, before the step (gradient) or of the
            new state (the others). Of a regression, what the learner minimises.
        """

    @abstractmethod
    def predict(self, state: State, features: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Logits, `[n, ways]`; `UNUSED_LOGIT` where a slot is not in use.

        Of a regression, the mean of each value, `[n, outputs]`. Where `has_variance` it is a pair:
        the second tensor, of the same shape, is the variance of each slot's probability (under the
        posterior), or of each value. It draws no random numbers.
        """


def resolve_settings(
    learner: str, defaults: Mapping[str, int | float], given: Mapping[str, int | float]
) -> dict[str, int | float]:
    """`defaults` with the values of `given` in place of theirs, each of its default's type.

    Raises:
        InvalidOptionError: `given` holds a name or a value that does not fit.
    """
    settings = dict(defaults)
    for name, value in given.items():
        if name not in defaults:
            known = ", ".join(sorted(defaults)) or "none"
            msg = f"{learner} has no setting {name!r}; it has: {known}"
            raise InvalidOptionError(msg)
        kind = type(defaults[name])
        fits = kind is float and isinstance(value, int) and not isinstance(value, bool)
        if type(value) is not kind and not fits:
            msg = f"{name} must be of type {kind.__name__}, got {type(value).__name__}"
            raise InvalidOptionError(msg)
        if not math.isfinite(value):
            msg = f"{name} must be finite, got {value}"
            raise InvalidOptionError(msg)
        settings[name] = kind(value)
    return settings


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
