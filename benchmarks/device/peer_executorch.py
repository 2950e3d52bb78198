"""ExecuTorch's training module: forward and backward in one exported program, its own SGD."""

from __future__ import annotations

from typing import TYPE_CHECKING

from work import RATES, STEPS, support

if TYPE_CHECKING:
    from pathlib import Path

NAME = "executorch"


def version() -> str:
    """What runs."""
    from importlib.metadata import version as of

    return f"executorch {of('executorch')}"


def prepare(task: str, folder: Path) -> None:
    """Export the module of `peer_torch` with its gradients."""
    import torch
    from executorch.exir import EdgeCompileConfig, to_edge
    from peer_torch import module
    from torch.export import export
    from torch.export.experimental import _export_forward_backward

    x, y = support(task)
    program = export(module(task), (torch.from_numpy(x), torch.from_numpy(y)), strict=False)
    edge = to_edge(
        _export_forward_backward(program),
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
    )
    (folder / "model.pte").write_bytes(edge.to_executorch().buffer)


class Run:
    """The program, and SGD over its parameters."""

    def __init__(self, task: str, folder: Path, threads: int) -> None:
        import torch
        from executorch.extension import training

        torch.set_num_threads(threads)
        self.module = training._load_for_executorch_for_training(str(folder / "model.pte"))
        self.make_sgd, self.rate = training.get_sgd_optimizer, RATES[task]
        self.sgd = None  # parameters are known after one call only
        x, y = support(task)
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)

    def reset(self) -> None:
        for name, tensor in self.module.named_parameters().items():
            tensor.copy_(self.initial[name])

    def adapt(self) -> list[float]:
        losses = []
        for _ in range(STEPS):
            loss, *_ = self.module.forward_backward("forward", (self.x, self.y))
            losses.append(float(loss))
            if self.sgd is None:
                parameters = self.module.named_parameters()
                self.initial = {name: tensor.clone() for name, tensor in parameters.items()}
                self.sgd = self.make_sgd(parameters, self.rate)
            self.sgd.step(self.module.named_gradients())
        return losses
