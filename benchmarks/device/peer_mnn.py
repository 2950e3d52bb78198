"""MNN's training from Python: `MNN.nn` modules and `MNN.optim.SGD`.

Without `lazy_eval` no graph is kept, and `step` trains nothing; the gradient stops at
`reduce_mean`, so the mean over space is an average pool; paddings count in caffe's mode only. MNN
says none of this: the losses do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from work import NORM_EPS, RATES, STEPS, WAYS, network, support

if TYPE_CHECKING:
    from pathlib import Path

NAME = "mnn"


def version() -> str:
    """What runs."""
    from importlib.metadata import version as of

    return f"mnn {of('mnn')}"


def prepare(task: str, folder: Path) -> None:
    """Write the starting values."""
    from MNN import expr

    expr.save(_variables(_starting(task)), str(folder / "weights.mnn"))


def _starting(task: str) -> list[tuple[np.ndarray, bool]]:
    """Values and whether they are trained, in the order of a module's parameters: last first."""
    net = network(task)
    found = [(net.bias.reshape(1, -1), True), (np.ascontiguousarray(net.weight.T), True)]
    for layer in reversed(net.layers):
        if layer.norm is not None:
            means = (np.zeros_like(layer.bias), False), (np.ones_like(layer.bias), False)
            arrays = [(layer.norm[0], True), (layer.norm[1], True), *means]
            found += [(a.reshape(1, -1, 1, 1), trained) for a, trained in arrays]
        found += [(layer.bias, layer.trained), (layer.kernel, layer.trained)]
    return found


def _variables(values: list[tuple[np.ndarray, bool]]) -> list[object]:
    from MNN import expr

    found = []
    for array, trained in values:
        variable = expr.const(np.ascontiguousarray(array), list(array.shape), expr.NCHW)
        if trained:
            variable.fix_as_trainable()
        else:
            variable.fix_as_const()
        found.append(variable)
    return found


def _module(task: str):  # an MNN.nn.Module; MNN is imported when this runs
    from MNN import expr, nn

    net = network(task)
    caffe = expr.Padding_Mode.CAFFE

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for i, layer in enumerate(net.layers):
                out, channels, size, _ = layer.kernel.shape
                convolution = nn.conv(
                    channels * layer.groups, out, [size, size], stride=[layer.stride] * 2,
                    padding=[layer.padding] * 2, depthwise=layer.groups > 1, padding_mode=caffe,
                )  # fmt: skip
                setattr(self, f"convolution{i}", convolution)
                if layer.norm is not None:
                    setattr(self, f"norm{i}", nn.batch_norm(out, 4, 0.9, NORM_EPS))
            self.linear = nn.linear(net.weight.shape[0], WAYS)

        def forward(self, x):
            if not net.layers:
                return self.linear.forward(x)
            x = expr.convert(x, expr.NC4HW4)
            for i, layer in enumerate(net.layers):
                x = getattr(self, f"convolution{i}").forward(x)
                if layer.norm is not None:
                    x = getattr(self, f"norm{i}").forward(x)
                x = expr.relu(x) if layer.clip is None else expr.relu6(x)
                x = expr.max_pool(x, [2, 2], [2, 2]) if layer.pool else x
            side = x.shape[2]
            if side > 1:
                x = expr.avg_pool(x, [side, side], [side, side])
            return self.linear.forward(expr.reshape(expr.convert(x, expr.NCHW), [x.shape[0], -1]))

    return Net()


class Run:
    """A module, its parameters loaded from the file, and plain SGD."""

    def __init__(self, task: str, folder: Path, threads: int) -> None:
        from MNN import expr, nn, optim

        expr.lazy_eval(True)
        expr.set_thread_number(threads)
        self.expr, self.nn, self.optim, self.rate = expr, nn, optim, RATES[task]
        self.module = _module(task)
        saved = expr.load_as_list(str(folder / "weights.mnn"))
        starting = _starting(task)
        self.initial = [(np.array(v.read()), t) for v, (_, t) in zip(saved, starting, strict=True)]
        x, y = support(task)
        self.x, self.y = x, np.eye(WAYS, dtype=np.float32)[y]
        self.reset()

    def reset(self) -> None:
        self.module.load_parameters(_variables(self.initial))
        self.module.train(True)
        self.sgd = self.optim.SGD(self.module, self.rate, 0.0)

    def adapt(self) -> list[float]:
        losses = []
        for _ in range(STEPS):
            x = self.expr.const(self.x, list(self.x.shape), self.expr.NCHW)
            y = self.expr.const(self.y, list(self.y.shape), self.expr.NCHW)
            shares = self.expr.softmax(self.module.forward(x), 1)
            loss = self.nn.loss.cross_entropy(shares, y)
            losses.append(float(np.asarray(loss.read()).reshape(-1)[0]))
            if not self.sgd.step(loss):
                msg = "MNN's optimizer took no step"
                raise RuntimeError(msg)
        return losses
