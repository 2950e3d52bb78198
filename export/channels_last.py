"""Moves the channels of image tensors last in a traced graph, where that saves work.

`export.convolutions` computes with channels last and permutes at both ends, so between two
convolutions a tensor is permuted there and back. This pass carries the permuted form through
pointwise operations and sums; permutes that meet cancel, and dead ones go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import fx

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

aten = torch.ops.aten

TO_LAST, TO_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]

_POINTWISE = {
    aten.abs.default, aten.add.Scalar, aten.add.Tensor, aten.bitwise_and.Tensor,
    aten.bitwise_not.default, aten.bitwise_or.Tensor, aten.clamp.default, aten.clone.default,
    aten.div.Scalar, aten.div.Tensor, aten.eq.Scalar, aten.eq.Tensor, aten.exp.default,
    aten.ge.Scalar, aten.gt.Scalar, aten.le.Scalar, aten.log.default, aten.logical_and.default,
    aten.logical_not.default, aten.logical_or.default, aten.lt.Scalar, aten.maximum.default,
    aten.minimum.default, aten.mul.Scalar, aten.mul.Tensor, aten.neg.default,
    aten.pow.Tensor_Scalar, aten.reciprocal.default, aten.relu.default, aten.rsqrt.default,
    aten.sigmoid.default, aten.sqrt.default, aten.sub.Scalar, aten.sub.Tensor, aten.tanh.default,
    aten.where.self, aten._to_copy.default,
}  # fmt: skip
_REDUCTIONS = {aten.sum.dim_IntList, aten.mean.dim, aten.amax.default}
_VIEWS = {aten.view.default, aten.unsqueeze.default}
_NEW_PLACE = {0: 0, 1: 3, 2: 1, 3: 2}  # of each axis, once channels are last


def channels_last(module: fx.GraphModule) -> fx.GraphModule:
    """Rewrite a traced graph; what it computes stays the same but for the order of sums."""
    pass_ = _Pass(module.graph)
    graph = pass_.run()
    graph.eliminate_dead_code()
    graph.lint()
    return fx.GraphModule(module, graph)


class _Pass:
    """Copies a graph node by node; what is known with channels last is kept in that form too."""

    def __init__(self, graph: fx.Graph) -> None:
        self._from = graph
        self._to = fx.Graph()
        self._copies: dict[fx.Node, fx.Node] = {}
        self._last: dict[fx.Node, fx.Node] = {}  # old node -> its channels-last form

    def run(self) -> fx.Graph:
        for node in self._from.nodes:
            known = (
                self._permuted(node)
                or self._expanded(node)
                or self._pointwise(node)
                or self._reduced(node)
            )
            if known:
                continue
            self._copies[node] = copy = self._to.node_copy(node, self._copy)
            if copy.target is aten.view.default:  # what it looks at may lie in another order now
                copy.target = aten.reshape.default
        return self._to

    def _copy(self, node: fx.Node) -> fx.Node:
        """The node with its axes as they were."""
        if node not in self._copies:
            self._copies[node] = self._call(aten.permute.default, self._last[node], TO_FIRST)
        return self._copies[node]

    def _call(self, target: Callable[..., Any], *args: Any) -> fx.Node:
        return self._to.call_function(target, args)

    def _permuted(self, node: fx.Node) -> bool:
        """A permute to or from channels last: the two forms of one tensor."""
        if node.target is not aten.permute.default:
            return False
        source, axes = _arguments(node)
        if list(axes) == TO_FIRST:
            self._last[node] = self._copy(source)
        elif list(axes) == TO_LAST and source in self._last:
            self._copies[node] = self._last[source]
        else:
            return False
        return True

    def _expanded(self, node: fx.Node) -> bool:
        """One number an image and channel, spread over the image: short runs become long ones."""
        if node.target is not aten.expand.default or len(_shape(node)) != 4:
            return False
        source, sizes = _arguments(node)
        if _shape(source)[2:] != (1, 1) or len(_shape(source)) != 4:
            return False
        moved = self._to_last(source)
        n, channels, height, width = (self._size(size) for size in sizes)
        self._last[node] = self._call(aten.expand.default, moved, [n, height, width, channels])
        return True

    def _size(self, size: Any) -> Any:
        return self._copy(size) if isinstance(size, fx.Node) else size

    def _pointwise(self, node: fx.Node) -> bool:
        shape = _shape(node)
        if node.target not in _POINTWISE or len(shape) != 4:
            return False
        if not any(source in self._last for source in node.all_input_nodes):
            return False
        if not all(self._can_move(source, shape) for source in node.all_input_nodes):
            return False
        self._last[node] = self._to.node_copy(node, lambda source: self._moved(source, shape))
        return True

    def _can_move(self, source: fx.Node, shape: Sequence[Any]) -> bool:
        own = _shape(source)
        return source in self._last or not own or len(own) == 4 or _is_by_channel(own, shape)

    def _moved(self, source: fx.Node, shape: Sequence[Any]) -> fx.Node:
        """An operand with channels last, ready to be broadcast to `shape`, `[n, c, h, w]`."""
        own = _shape(source)
        if not own:
            return self._copy(source)
        if _is_by_channel(own, shape):
            # a whole image: ONNX Runtime broadcasts long runs far faster than short ones
            _, channels, height, width = shape
            vector = _vector(source)
            row = self._copy(vector)
            if len(_shape(vector)) > 1:
                row = self._call(aten.reshape.default, row, [channels])
            return self._call(aten.expand.default, row, [1, height, width, channels])
        return self._to_last(source)

    def _to_last(self, source: fx.Node) -> fx.Node:
        if source not in self._last:
            self._last[source] = self._call(aten.permute.default, self._copy(source), TO_LAST)
        return self._last[source]

    def _reduced(self, node: fx.Node) -> bool:
        """A sum over whole axes, if the axes that stay are then in the same order."""
        if node.target not in _REDUCTIONS or _arguments(node)[0] not in self._last:
            return False
        source, axes, *rest = _arguments(node)
        keep = bool(rest and rest[0])
        gone = {axis % 4 for axis in axes}
        stay = [_NEW_PLACE[axis] for axis in range(4) if axis not in gone]
        if not keep and stay != sorted(stay):
            return False
        places = sorted(_NEW_PLACE[axis] for axis in gone)
        reduced = self._to.create_node(
            "call_function", node.target, (self._last[source], places, *rest), dict(node.kwargs)
        )
        (self._last if keep else self._copies)[node] = reduced
        return True


def _arguments(node: fx.Node) -> tuple[Any, ...]:
    return node.args


def _vector(node: fx.Node) -> fx.Node:
    """What a tensor with one number a channel was made of, if that was a vector."""
    source = node.args[0] if node.target in _VIEWS else None
    return source if isinstance(source, fx.Node) and len(_shape(source)) == 1 else node


def _shape(node: fx.Node) -> Sequence[Any]:
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, torch.Tensor) else ()


def _is_by_channel(own: Sequence[Any], shape: Sequence[Any]) -> bool:
    """Whether a tensor has one number a channel of `[n, c, h, w]`, under broadcasting."""
    if not 3 <= len(own) <= 4 or not all(isinstance(size, int) for size in (*own, *shape[1:])):
        return False
    return (1,) * (4 - len(own)) + tuple(own) == (1, shape[1], 1, 1)
