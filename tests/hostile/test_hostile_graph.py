"""Graphs that a bundle may not hold are refused before ONNX Runtime sees them."""

from __future__ import annotations

import re
import struct

import pytest

from edge_sdk._core import check_graph
from edge_sdk.errors import BadBundleError
from tests.conftest import GOLDEN
from tests.support import onnx_wire as wire

NAN, INFINITY = float("nan"), float("inf")
ONE = struct.pack("<f", 1.0)
CAP = 64 << 20


def refused(graph: bytes, naming: str) -> None:
    with pytest.raises(BadBundleError, match=re.escape(f"g.onnx: {naming}")):
        check_graph("g.onnx", graph)


def with_tensor(*arguments: object, **options: object) -> bytes:
    return wire.model(wire.graph(tensors=[wire.tensor(*arguments, **options)]))  # type: ignore[arg-type]


def with_node(node: bytes, *tensors: bytes) -> bytes:
    return wire.model(wire.graph([node], tensors))


def floats(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


GOOD = {
    "empty": wire.model(wire.graph()),
    "scalar": with_tensor("w", [], ONE),
    "no numbers": with_tensor("w", [3, 0], b""),
    "float_data": with_tensor("w", [1], None, more=wire.float_field(4, 2.0)),
    "float_data, packed": with_tensor("w", [2], None, more=wire.field(4, floats(1, 2))),
    "int64_data, packed": with_tensor(
        "w", [2], None, dtype=wire.INT64, more=wire.field(7, wire.varint(-1) + wire.varint(5))
    ),
    "float16 in whole numbers": with_tensor(
        "w", [1], None, dtype=wire.FLOAT16, more=wire.field(5, 0x3C00)
    ),
    "4 bits, odd": with_tensor("w", [3], b"\x11\x01", dtype=22),
    "packed shape": wire.model(
        wire.graph(tensors=[wire.field(1, b"\x02\x02") + wire.field(2, 1) + wire.field(9, ONE * 4)])
    ),
    "domain by its other name": with_node(wire.node("Relu", ["x"], "y", domain="ai.onnx")),
    "symbolic axis": wire.model(wire.graph(more=wire.field(11, wire.value("x", ["n", 4])))),
    "largest declared": wire.model(wire.graph(more=wire.field(11, wire.value("x", [CAP])))),
}


@pytest.mark.parametrize("graph", GOOD.values(), ids=GOOD.keys())
def test_what_bundles_may_hold_is_accepted(graph: bytes) -> None:
    check_graph("g.onnx", graph)


def test_every_golden_graph_is_accepted() -> None:
    paths = sorted(GOLDEN.glob("*/*.onnx"))
    assert len(paths) >= 12
    for path in paths:
        check_graph(path.name, path.read_bytes())


def sub_graphs(depth: int) -> bytes:
    inner = wire.graph()
    for _ in range(depth):
        inner = wire.graph([wire.node("If", ["c"], "y", wire.attribute("b", wire.field(6, inner)))])
    return wire.model(inner)


def shaped(op: str, index: int, *sizes: int) -> bytes:
    """A node whose constant input says how large its output is."""
    shape = wire.tensor("s", [len(sizes)], struct.pack(f"<{len(sizes)}q", *sizes), dtype=wire.INT64)
    return with_node(wire.node(op, ["x"] * index + ["s"], "y"), shape)


def constant(content: bytes) -> bytes:
    return wire.node("Constant", [], "s", wire.attribute("value", content))


FILL = wire.node("ConstantOfShape", ["s"], "y")
WIDE = struct.pack("<2q", 1 << 20, 1 << 20)
EMPTY = wire.graph()
HOSTILE = {
    "nothing": (b"", "is not an ONNX graph"),
    "no graph": (wire.field(1, 10), "is not an ONNX graph"),
    "text": (b"<html></html>", "is not an ONNX graph"),
    "two graphs": (wire.model(EMPTY, wire.field(7, EMPTY)), "holds field 7 of the model twice"),
    "function": (wire.model(EMPTY, wire.field(25, b"")), "holds field 25 of the model"),
    "training": (wire.model(EMPTY, wire.field(20, b"")), "holds field 20 of the model"),
    "sparse": (wire.model(wire.graph(more=wire.field(15, b""))), "holds field 15 of a graph"),
    "group": (wire.model(EMPTY, b"\x0b\x0c"), "is not an ONNX graph"),
    "wrong kind": (wire.field(7, 3), "is not an ONNX graph"),
    "field 0": (wire.model(EMPTY, b"\x02\x00"), "is not an ONNX graph"),
    "length past the end": (b"\x3a\x7f", "is not an ONNX graph"),
    "length of 64 bits": (b"\x3a" + wire.varint(-1), "is not an ONNX graph"),
    "endless number": (b"\x08" + b"\xff" * 20, "is not an ONNX graph"),
    "custom domain": (with_node(wire.node("Relu", ["x"], "y", domain="evil")), "uses the operator"),
    "unknown operator": (with_node(wire.node("Rm\x1b[2J", ["x"], "y")), "uses the operator Rm?[2J"),
    "no operator": (with_node(b""), "uses the operator"),
    "random": (with_node(wire.node("RandomNormal", [], "y")), "uses the operator RandomNormal"),
    "reference to a function's attribute": (
        with_node(wire.node("Relu", ["x"], "y", wire.attribute("a", wire.field(21, "b")))),
        "holds field 21 of an attribute",
    ),
    "operator twice": (with_node(wire.node("Relu", ["x"], "y", wire.field(4, "Add"))), "holds fi"),
    "deep": (sub_graphs(9), "is nested too deeply"),
    "many nodes": (
        wire.model(wire.graph([wire.node("Relu", ["x"], "y")] * 32769)),
        "has more than 32768 nodes",
    ),
    "many tensors": (
        wire.model(wire.graph(tensors=[wire.tensor("w", [1], ONE)] * 32769)),
        "has more than 32768 stored tensors",
    ),
    "data elsewhere": (
        with_tensor("w", [1], ONE, more=wire.field(13, wire.field(1, "location"))),
        "holds a tensor whose data lies in another file",
    ),
    "data elsewhere, by its flag": (
        with_tensor("w", [1], ONE, more=wire.field(14, 1)),
        "holds a tensor whose data lies in another file",
    ),
    "data elsewhere, in an attribute": (
        with_node(
            constant(wire.field(5, wire.tensor("w", [1], ONE, more=wire.field(14, 1))))
        ),
        "holds a tensor whose data lies in another file",
    ),
    "giant": (with_tensor("w", [CAP, 2], b""), "tensor w has a giant shape"),
    "overflowing": (with_tensor("w", [1 << 32, 1 << 32], b""), "tensor w has a giant shape"),
    "overflowing to 0": (with_tensor("w", [1 << 62, 4], b""), "tensor w has a giant shape"),
    "negative": (with_tensor("w", [-1, -1], ONE), "tensor w has an axis of negative size"),
    "many axes": (with_tensor("w", [1] * 17, ONE), "tensor w has too many axes"),
    "too little data": (with_tensor("w", [2], ONE), "tensor w does not hold as many numbers"),
    "too much data": (with_tensor("w", [1], ONE * 2), "tensor w does not hold as many numbers"),
    "no data": (with_tensor("w", [1], None), "tensor w does not hold as many numbers"),
    "data twice": (
        with_tensor("w", [1], ONE, more=wire.float_field(4, 1.0)),
        "tensor w has data in a field",
    ),
    "raw data twice": (with_tensor("w", [1], ONE, more=wire.field(9, ONE)), "holds field 9 of a"),
    "data of another type": (
        with_tensor("w", [1], None, more=wire.field(7, 1)),
        "tensor w has data in a field",
    ),
    "strings": (with_tensor("w", [1], b"", dtype=wire.STRING), "tensor w has an element type"),
    "wide element type": (
        with_tensor("w", [1], ONE, dtype=(1 << 32) + 1),
        "tensor w has an element type",
    ),
    "declared giant": (
        wire.model(wire.graph(more=wire.field(11, wire.value("x", ["n", CAP + 1])))),
        "value x has a giant shape",
    ),
    "declared negative": (
        wire.model(wire.graph(more=wire.field(12, wire.value("x", [-2])))),
        "value x has an axis of negative size",
    ),
    "declared sequence": (
        wire.model(wire.graph(more=wire.field(11, wire.field(2, wire.field(4, b""))))),
        "holds field 4 of a type",
    ),
    "filled giant": (shaped("ConstantOfShape", 0, 1 << 20, 1 << 20), "the output of ConstantOfSha"),
    "expanded giant": (shaped("Expand", 1, 1 << 40), "the output of Expand"),
    "tiled giant": (shaped("Tile", 1, 1 << 14, 1 << 14), "the output of Tile"),
    "padded giant": (shaped("Pad", 1, 0, 1 << 40), "the output of Pad"),
    "resized giant": (shaped("Resize", 3, 1, 1, 1 << 20, 1 << 20), "the output of Resize"),
    "filled by a constant node": (
        wire.model(
            wire.graph(
                [constant(wire.field(5, wire.tensor("", [2], WIDE, dtype=wire.INT64))), FILL]
            )
        ),
        "the output of ConstantOfShape",
    ),
    "filled by a constant of ints": (
        wire.model(wire.graph([constant(wire.field(8, 1 << 40)), FILL])),
        "the output of ConstantOfShape",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("graph", "naming"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_graph_is_refused(graph: bytes, naming: str) -> None:
    refused(graph, naming)


@pytest.mark.parametrize("value", [NAN, INFINITY, -INFINITY])
@pytest.mark.parametrize("place", [0, 1, 6])
def test_a_non_finite_number_is_refused_wherever_it_is_stored(value: float, place: int) -> None:
    numbers = [1.0] * 7
    numbers[place] = value
    forms = {
        "raw float32": wire.tensor("w", [7], floats(*numbers)),
        "raw float16": wire.tensor("w", [7], struct.pack("<7e", *numbers), dtype=wire.FLOAT16),
        "raw float64": wire.tensor("w", [7], struct.pack("<7d", *numbers), dtype=wire.DOUBLE),
        "raw bfloat16": wire.tensor(
            "w", [7], b"".join(struct.pack("<f", x)[2:] for x in numbers), dtype=wire.BFLOAT16
        ),
        "packed float32": wire.tensor("w", [7], None, more=wire.field(4, floats(*numbers))),
        "single float32": wire.tensor(
            "w", [7], None, more=b"".join(wire.float_field(4, x) for x in numbers)
        ),
        "packed float64": wire.tensor(
            "w", [7], None, dtype=wire.DOUBLE, more=wire.field(10, struct.pack("<7d", *numbers))
        ),
        "float16 in whole numbers": wire.tensor(
            "w", [7], None, dtype=wire.FLOAT16,
            more=b"".join(
                wire.field(5, int.from_bytes(struct.pack("<e", x), "little")) for x in numbers
            ),
        ),
    }  # fmt: skip
    for form, tensor in forms.items():
        with pytest.raises(BadBundleError, match="tensor w holds NaN or infinity"):
            check_graph("g.onnx", wire.model(wire.graph(tensors=[tensor])))
        in_node = wire.graph([constant(wire.field(5, tensor))])
        with pytest.raises(BadBundleError, match="tensor w holds NaN or infinity"):
            check_graph(form, wire.model(in_node))
    for content in (wire.float_field(2, value), wire.field(7, floats(*numbers))):
        node = wire.node("Constant", [], "y", wire.attribute("value_floats", content))
        refused(wire.model(wire.graph([node])), "an attribute holds NaN or infinity")


def test_integers_that_look_like_nan_are_numbers() -> None:
    check_graph("g.onnx", with_tensor("w", [1], b"\xff" * 8, dtype=wire.INT64))


def test_a_model_that_is_also_a_flatbuffer_is_refused() -> None:
    """ONNX Runtime looks for its own format first, and would skip all that was checked here."""
    for mark, allowed in ((b"ORTX", True), (b"ORTM", False)):
        graph = wire.field(2, b"xx" + mark + bytes(74)) + wire.model(wire.graph())
        assert graph[4:8] == mark
        if allowed:
            check_graph("g.onnx", graph)
        else:
            refused(graph, "is not an ONNX graph")


def test_compiled_nodes_are_allowed_in_compiled_files_with_their_binary_inside() -> None:
    inside, outside = (
        with_node(
            wire.node(
                "EPContext",
                ["x"],
                "y",
                wire.attribute("embed_mode", wire.field(3, mode))
                + wire.attribute("ep_cache_context", wire.field(4, b"binary")),
                domain="com.microsoft",
            )
        )
        for mode in (1, 0)
    )
    check_graph("embed.SM8650.onnx", inside)
    with pytest.raises(BadBundleError, match="binary lies in another file"):
        check_graph("embed.SM8650.onnx", outside)
    for name in ("embed.onnx", "init.onnx", "adapt.SM8650.onnx"):
        with pytest.raises(BadBundleError, match=r"operator com\.microsoft\.EPContext"):
            check_graph(name, inside)
