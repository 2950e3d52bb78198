"""The processes of one data-parallel run, as `torchrun` starts them.

Every rank holds the same weights, draws episodes of its own, and steps by the mean gradient.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import distributed, nn

from edge_sdk.errors import InvalidOptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those of the run. Every method is called by all of them, or by none.

    Attributes:
        rank: This process, from 0.
        size: How many there are; with one nothing is ever sent.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether it is this process that validates, writes files and tells people."""
        return self.rank == 0

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over the ranks, in place.

        Args:
            tensors: Of the same shapes, dtypes and devices, in the same order, on every rank.
        """

        def mean(flat: Tensor) -> None:
            distributed.all_reduce(flat)
            flat /= self.size

        self._exchange(tensors, mean)

    def from_first(self, value: Value) -> Value:
        """What rank 0 calls this with, on every rank."""
        if self.size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def gathered(self, value: Value) -> list[Value]:
        """What every rank calls this with, in their order."""
        if self.size == 1:
            return [value]
        found: list[Value] = [value] * self.size
        distributed.all_gather_object(found, value)
        return found

    def copy_from_first(self, module: nn.Module) -> None:
        """Give `module` rank 0's parameters and buffers."""
        # what a state_dict holds shares its memory with the module
        self._exchange([*module.state_dict().values()], partial(distributed.broadcast, src=0))

    def _exchange(self, tensors: Sequence[Tensor], send: Callable[[Tensor], object]) -> None:
        """Change tensors in place by what `send` does to all of one kind at once."""
        if self.size == 1:
            return
        kinds = dict.fromkeys((tensor.dtype, tensor.device) for tensor in tensors)
        for kind in kinds:
            alike = [tensor for tensor in tensors if (tensor.dtype, tensor.device) == kind]
            flat = torch.cat([tensor.detach().reshape(-1) for tensor in alike])
            send(flat)
            parts = torch.split(flat, [tensor.numel() for tensor in alike])
            with torch.no_grad():
                for tensor, part in zip(alike, parts, strict=True):
                    tensor.copy_(part.view_as(tensor))


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """Join the other processes of this run, and leave them at the end.

    `torchrun` says in the environment who they are. Without it this process is alone.

    Raises:
        InvalidOptionError: This PyTorch was built without what they talk through.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Ranks()
        return
    if not distributed.is_available():
        msg = "this PyTorch cannot train in several processes; start one without torchrun"
        raise InvalidOptionError(msg)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend)
    try:
        yield Ranks(distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()


def running_statistics(module: nn.Module) -> list[Tensor]:
    """What batch norm keeps of the images that it saw: it differs between ranks until averaged."""
    found: list[Tensor] = []
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            kept = (part.running_mean, part.running_var)
            found += [statistic for statistic in kept if statistic is not None]
    return found
