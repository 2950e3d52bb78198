"""Where meta-training computes, and in which precision."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import torch

from edge_sdk.errors import InvalidOptionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from export.learners.base import Learner

_KINDS = ("cpu", "cuda")


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """The processor of one training process.

    What is drawn, checkpointed and exported stays on the CPU; weights and steps are on `device`.

    Attributes:
        device: Of the learner while it trains.
        mixed_precision: Embed training images in bfloat16 where that is safe (`torch.autocast`),
            with float32 weights. bfloat16 has float32's range, so that no loss is scaled. Adapting
            and validating stay in float32.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    mixed_precision: bool = False

    @classmethod
    def named(cls, name: str, *, mixed_precision: bool = False) -> Self:
        """A placement from a name.

        Args:
            name: `cpu`, `cuda` or `cuda:N`. Of processes that `torchrun` started, `cuda` is the
                GPU of each one's local rank.
            mixed_precision: See the class.

        Raises:
            InvalidOptionError: No such device, or this PyTorch sees none.
        """
        try:
            device = torch.device(name)
        except RuntimeError as error:
            msg = f"device must be cpu, cuda or cuda:N, got {name!r}"
            raise InvalidOptionError(msg) from error
        if device.type not in _KINDS:
            msg = f"device must be cpu, cuda or cuda:N, got {name!r}"
            raise InvalidOptionError(msg)
        if device.type == "cuda":
            found = torch.cuda.device_count()
            index = device.index if ":" in name else int(os.environ.get("LOCAL_RANK", "0"))
            if index >= found:
                msg = (
                    f"{name} is not there: this PyTorch sees {found} GPUs; use --device cpu, or "
                    "install a PyTorch that was built for your GPU"
                )
                raise InvalidOptionError(msg)
            device = torch.device("cuda", index)
        return cls(device=device, mixed_precision=mixed_precision)

    def check(self, learner: Learner) -> None:
        """Refuse what cannot be mixed.

        Raises:
            InvalidOptionError: Nothing of this learner is frozen, so that there is no embedding.
        """
        if self.mixed_precision and not learner.has_embed:
            msg = (
                f"{learner.name} adapts its whole network, and derivatives of derivatives need "
                "float32; leave mixed precision out"
            )
            raise InvalidOptionError(msg)

    def features(self, embed: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """What `embed` gives of `images`, in their dtype."""
        if not self.mixed_precision:
            return embed(images)
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            found = embed(images)
        return found.to(images.dtype)


ON_CPU = Placement()
