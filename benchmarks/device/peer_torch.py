"""PyTorch eager: the plain training loop of a module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from work import NORM_EPS, RATES, STEPS, start, support

if TYPE_CHECKING:
    from pathlib import Path

NAME = "torch"


def version() -> str:
    """What runs."""
    import torch

    return f"torch {torch.__version__}"


def prepare(task: str, folder: Path) -> None:
    """Nothing to write: the weights come from `work`."""


class Run:
    """Functional layers on leaf tensors, `torch.optim.SGD`."""

    def __init__(self, task: str, _folder: Path, threads: int) -> None:
        import torch
        from torch.nn import functional

        torch.set_num_threads(threads)
        self.functional, self.task = functional, task
        blocks, weight, bias = start(task)
        arrays = [a for b in blocks for a in (b.kernel, b.bias, b.scale, b.shift)]
        arrays += [np.ascontiguousarray(weight.T), bias]
        self.initial = [torch.from_numpy(a.copy()) for a in arrays]
        self.tensors = [t.clone().requires_grad_() for t in self.initial]
        self.optimizer = torch.optim.SGD(self.tensors, lr=RATES[task])
        self.no_grad = torch.no_grad
        x, y = support(task)
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)

    def reset(self) -> None:
        with self.no_grad():
            for tensor, value in zip(self.tensors, self.initial, strict=True):
                tensor.copy_(value)

    def adapt(self) -> list[float]:
        losses = []
        for _ in range(STEPS):
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.functional.cross_entropy(self._logits(), self.y)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        return losses

    def _logits(self):  # a torch tensor; torch is imported when this runs
        f, x = self.functional, self.x
        *body, weight, bias = self.tensors
        for i in range(0, len(body), 4):
            kernel, offset, scale, shift = body[i : i + 4]
            x = f.conv2d(x, kernel, offset, stride=2 if self.task == "B" else 1, padding=1)
            x = f.relu(f.batch_norm(x, None, None, scale, shift, True, 0.0, NORM_EPS))
            if self.task == "Bp":
                x = f.max_pool2d(x, 2)
        return f.linear(x.mean((2, 3)) if body else x, weight, bias)
