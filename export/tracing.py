"""Trace a function of tensors into a flat graph of core operations, gradients included.

`torch.export` cannot see through `torch.func.grad`, so the backward pass is first traced into
ordinary operations (`make_fx` with our decompositions). Only the batch axis is symbolic: with
every axis symbolic the same trace takes a minute in place of seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch._dispatch.python import enable_python_dispatcher
from torch._functorch.compile_utils import fx_graph_cse
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor


def trace(
    function: Callable[..., Any],
    examples: Sequence[Tensor],
    batched: Sequence[bool],
    table: Mapping[Any, Callable[..., Any]],
) -> torch.fx.GraphModule:
    """Trace `function(*examples)` into core operations, without dead or repeated ones.

    Args:
        function: Of tensors, returns tensors; no data-dependent control flow.
        examples: One tensor an argument. Those that are batched must agree on the first axis, and
            that size should occur nowhere else, lest it be taken for the batch.
        batched: Whether the first axis of each argument is the symbolic batch.
        table: Decompositions, see `export.decompositions`.
    """
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    fakes = [
        mode.from_tensor(
            example,
            symbolic_context=StatelessSymbolicContext(
                dynamic_sizes=[
                    DimDynamic.DYNAMIC if is_batched and axis == 0 else DimDynamic.STATIC
                    for axis in range(example.dim())
                ]
            ),
        )
        for example, is_batched in zip(examples, batched, strict=True)
    ]
    # without the Python dispatcher, composite kernels in C++ fix the symbolic batch to its example
    # size
    with enable_python_dispatcher():
        traced = make_fx(function, decomposition_table=dict(table), _allow_non_fake_inputs=True)(
            *fakes
        )
    _infer_batch(traced.graph)
    traced.graph.eliminate_dead_code()
    return torch.fx.GraphModule(traced, fx_graph_cse(traced.graph))


def _infer_batch(graph: torch.fx.Graph) -> None:
    """Leave the one symbolic size of a reshape to ONNX Runtime: no arithmetic on shapes is left."""
    for node in graph.nodes:
        if node.target is not torch.ops.aten.view.default:
            continue
        source, sizes = node.args
        if sum(isinstance(size, torch.fx.Node) for size in sizes) == 1 and -1 not in sizes:
            node.args = (
                source,
                [-1 if isinstance(size, torch.fx.Node) else size for size in sizes],
            )
