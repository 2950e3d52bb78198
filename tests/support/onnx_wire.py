"""ONNX models written field by field, so that tests can write what no library would. No onnx."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

FLOAT, INT64, STRING, FLOAT16, DOUBLE, BFLOAT16 = 1, 7, 8, 10, 11, 16


def varint(value: int) -> bytes:
    """A number; negative ones as 64 bits."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, content: bytes | str | int) -> bytes:
    """One field: an int as varint, everything else with its length."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    data = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(data)) + data


def float_field(number: int, value: float) -> bytes:
    """One float32 field."""
    return varint(number << 3 | 5) + struct.pack("<f", value)


def tensor(
    name: str, dims: Sequence[int], raw: bytes | None, *, dtype: int = FLOAT, more: bytes = b""
) -> bytes:
    """A TensorProto; `raw` None leaves raw_data out."""
    data = b"" if raw is None else field(9, raw)
    shape = b"".join(field(1, size) for size in dims)
    return shape + field(2, dtype) + field(8, name) + data + more


def attribute(name: str, content: bytes) -> bytes:
    """An AttributeProto, as a field of its node."""
    return field(5, field(1, name) + content)


def node(op: str, inputs: Sequence[str], output: str, more: bytes = b"", domain: str = "") -> bytes:
    """A NodeProto."""
    ports = b"".join(field(1, name) for name in inputs) + field(2, output)
    return ports + field(4, op) + more + (field(7, domain) if domain else b"")


def value(name: str, dims: Sequence[int | str], dtype: int = FLOAT) -> bytes:
    """A ValueInfoProto of a tensor."""
    axes = b"".join(
        field(1, field(2, size) if isinstance(size, str) else field(1, size)) for size in dims
    )
    return field(1, name) + field(2, field(1, field(1, dtype) + field(2, axes)))


def graph(nodes: Sequence[bytes] = (), tensors: Sequence[bytes] = (), more: bytes = b"") -> bytes:
    """A GraphProto."""
    return (
        b"".join(field(1, item) for item in nodes)
        + field(2, "g")
        + b"".join(field(5, item) for item in tensors)
        + more
    )


def model(graph_bytes: bytes, more: bytes = b"") -> bytes:
    """A ModelProto of one graph, opset 20."""
    return field(1, 10) + field(7, graph_bytes) + field(8, field(2, 20)) + more


def padded(size: int) -> bytes:
    """A graph without nodes of exactly `size` bytes, at least 64: documentation fills it."""
    bare = model(graph())
    length = size - len(bare) - 1
    while len(field(6, bytes(length))) + len(bare) > size:
        length -= 1
    text = field(6, b" " * length)
    whole = model(graph(), text)
    if len(whole) != size:  # the length's own varint has two lengths on either side of some sizes
        msg = f"no such graph of {size} bytes"
        raise ValueError(msg)
    return whole
