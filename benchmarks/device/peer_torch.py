"""PyTorch eager: the plain training loop of a module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from work import NORM_EPS, RATES, STEPS, network, support

if TYPE_CHECKING:
    from pathlib import Path

NAME = "torch"


def version() -> str:
    """What runs."""
    import torch

    return f"torch {torch.__version__}"


def prepare(task: str, folder: Path) -> None:
    """Nothing to write: the weights come from `work`."""


def module(task: str):  # a torch.nn.Module; torch is imported when this runs
    """The network with its loss: `forward(x, y)`; frozen tensors need no gradient."""
    import torch
    from torch.nn import functional as f

    net = network(task)

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for trained in (True, False):
                for name, array in net.tensors(trained=trained).items():
                    values = np.ascontiguousarray(array.T) if name == "w" else array.copy()
                    parameter = torch.nn.Parameter(torch.from_numpy(values), requires_grad=trained)
                    self.register_parameter(name, parameter)

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            for i, layer in enumerate(net.layers):
                kernel, bias = getattr(self, f"kernel{i}"), getattr(self, f"bias{i}")
                x = f.conv2d(x, kernel, bias, layer.stride, layer.padding, groups=layer.groups)
                if layer.norm is not None:
                    scale, shift = getattr(self, f"scale{i}"), getattr(self, f"shift{i}")
                    x = f.batch_norm(x, None, None, scale, shift, True, 0.0, NORM_EPS)
                x = f.relu(x) if layer.clip is None else f.relu6(x)
                if layer.pool:
                    x = f.max_pool2d(x, 2)
            z = x.mean((2, 3)) if net.layers else x
            return f.cross_entropy(f.linear(z, self.w, self.b), y)

    return Net()


class Run:
    """A module and `torch.optim.SGD`."""

    def __init__(self, task: str, _folder: Path, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.module = module(task)
        self.trained = [p for p in self.module.parameters() if p.requires_grad]
        self.initial = [p.detach().clone() for p in self.trained]
        self.optimizer = torch.optim.SGD(self.trained, lr=RATES[task])
        self.no_grad = torch.no_grad
        x, y = support(task)
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)

    def reset(self) -> None:
        with self.no_grad():
            for tensor, value in zip(self.trained, self.initial, strict=True):
                tensor.copy_(value)

    def adapt(self) -> list[float]:
        losses = []
        for _ in range(STEPS):
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.module(self.x, self.y)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        return losses
