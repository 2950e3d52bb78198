from __future__ import annotations

from typing import cast

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

from edge_sdk.errors import BadUpdateError
from edge_sdk.update import ModelUpdate
from federated import messages

DIGEST = "a" * 64
DELTA = {
    "scalar": np.array(2.5, np.float32),
    "table": np.arange(6, dtype=np.float32).reshape(2, 3),
    "void": np.zeros((0, 4), np.float32),
}


def over_the_wire(content: RecordDict) -> RecordDict:
    """Send it as Flower's transport does: objects of bytes, put together again."""
    objects = {key: item.deflate() for key, item in get_all_nested_objects(content).items()}
    return cast("RecordDict", inflate_object_from_contents(content.object_id, objects))


def an_instruction(steps: int | None = None) -> messages.Instruction:
    return messages.Instruction(
        server_round=4, bundle_digest=DIGEST, clipping_norm=2.5, steps=steps, shared=dict(DELTA)
    )


def assert_same(got: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> None:
    assert sorted(got) == sorted(want)
    for name, value in want.items():
        assert got[name].dtype == np.float32
        assert got[name].shape == value.shape
        np.testing.assert_array_equal(got[name], value)


@pytest.mark.parametrize("steps", [None, 3])
def test_an_instruction_survives_the_wire(steps: int | None) -> None:
    got = messages.decode_instruction(
        over_the_wire(messages.encode_instruction(an_instruction(steps)))
    )
    assert (got.server_round, got.bundle_digest, got.clipping_norm, got.steps) == (
        4,
        DIGEST,
        2.5,
        steps,
    )
    assert_same(got.shared, DELTA)


def test_an_update_survives_the_wire() -> None:
    content = over_the_wire(messages.encode_update(ModelUpdate(DIGEST, DELTA), 0))
    got = messages.decode_reply(content)
    assert isinstance(got, ModelUpdate)
    assert got.bundle_digest == DIGEST
    assert_same(dict(got.delta), DELTA)


def test_an_update_holds_the_fields_of_a_model_update_and_nothing_else() -> None:
    content = messages.encode_update(ModelUpdate(DIGEST, DELTA), 0)
    assert {key: sorted(record) for key, record in content.items()} == {
        messages.UPDATE: ["bundle-digest", "server-round"],
        messages.DELTA: sorted(DELTA),
    }


def test_a_strided_tensor_is_sent_as_it_reads() -> None:
    table = np.arange(12, dtype=np.float32).reshape(3, 4).T[::2]
    got = messages.decode_reply(messages.encode_update(ModelUpdate(DIGEST, {"t": table}), 0))
    assert isinstance(got, ModelUpdate)
    assert_same(dict(got.delta), {"t": table})


def test_a_failure_is_a_code() -> None:
    assert messages.decode_reply(messages.encode_failure("empty_support")) == "empty_support"


@pytest.mark.parametrize("code", ["", "Too long " * 9, "a sentence", "label 7", "x" * 41])
def test_a_text_is_not_a_failure_code(code: str) -> None:
    with pytest.raises(BadUpdateError, match="not an error code"):
        messages.decode_reply(messages.encode_failure(code))


def test_a_client_says_who_it_is() -> None:
    assert messages.decode_client(messages.encode_client("user-7")) == "user-7"


@pytest.mark.parametrize("client_id", ["", "a b", "../up", "x" * 129, "a\n"])
def test_a_client_id_that_is_no_name_is_refused(client_id: str) -> None:
    with pytest.raises(BadUpdateError, match="client id is not valid"):
        messages.decode_client(messages.encode_client(client_id))


def npy(header: str, data: bytes, version: bytes = b"\x01\x00") -> bytes:
    text = header.encode("latin1") + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + data


F4 = "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }"
HOSTILE = {
    "not npy": b"hello",
    "nothing": b"",
    "truncated": npy(F4 % "(2,)", b"\0" * 7),
    "trailing": npy(F4 % "(2,)", b"\0" * 9),
    "huge shape": npy(F4 % "(1000000000000000,)", b"\0" * 8),
    "negative": npy(F4 % "(-1, -2)", b"\0" * 8),
    "float64": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }", b"\0" * 8),
    "objects": npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"\x80\x04N."),
    "fortran": npy("{'descr': '<f4', 'fortran_order': True, 'shape': (1, 2), }", b"\0" * 8),
    "an open bracket": npy("(", b""),
    "a list as key": npy("{[]: 1}", b""),
    "deep": npy("-" * 9000 + "1", b""),
    "too many axes": npy(F4 % ("(" + "1, " * 100 + ")"), b"\0" * 4),
    "no elements, huge": npy(F4 % "(0, 999999999, 999999999, 999999999)", b""),
    "no elements, huger": npy(F4 % ("(0, " + "9" * 30 + ")"), b""),
    "digits without end": npy(F4 % ("(" + "9" * 9000 + ")"), b"\0" * 4),
    "python 2": npy(F4 % "(1L,)", b"\0" * 4),
    "header past the end": npy(F4 % "(1,)", b"\0" * 4)[:40],
    "code": npy("__import__('os').getpid()", b""),
    "version 2": npy(F4 % "(2,)", b"\0" * 8, b"\x02\x00"),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_tensor_is_malformed(data: bytes) -> None:
    content = messages.encode_update(ModelUpdate(DIGEST, DELTA), 0)
    array = Array(dtype="float32", shape=(2,), stype="numpy.ndarray", data=data)
    content[messages.DELTA] = ArrayRecord({"t": array})
    with pytest.raises(BadUpdateError, match="malformed record"):
        messages.decode_reply(content)


def test_another_storage_type_is_malformed() -> None:
    content = messages.encode_update(ModelUpdate(DIGEST, DELTA), 0)
    good = content[messages.DELTA]["table"]  # type: ignore[index]
    array = Array(dtype="float32", shape=(2, 3), stype="pickle", data=good.data)  # type: ignore[union-attr]
    content[messages.DELTA] = ArrayRecord({"t": array})
    with pytest.raises(BadUpdateError, match=r"numpy\.ndarray"):
        messages.decode_reply(content)


MALFORMED_REPLIES = {
    "empty": {},
    "no delta": {messages.UPDATE: ConfigRecord({"bundle-digest": DIGEST})},
    "no digest": {messages.UPDATE: ConfigRecord({}), messages.DELTA: ArrayRecord()},
    "digest is a number": {
        messages.UPDATE: ConfigRecord({"bundle-digest": 7}),
        messages.DELTA: ArrayRecord(),
    },
    "delta is no array": {
        messages.UPDATE: ConfigRecord({"bundle-digest": DIGEST}),
        messages.DELTA: ConfigRecord({}),
    },
    "failure without code": {messages.FAILURE: ConfigRecord({})},
    "failure is an array": {messages.FAILURE: ArrayRecord()},
}


@pytest.mark.parametrize("records", MALFORMED_REPLIES.values(), ids=MALFORMED_REPLIES.keys())
def test_a_malformed_reply_is_refused(records: dict[str, ConfigRecord | ArrayRecord]) -> None:
    with pytest.raises(BadUpdateError, match="malformed record"):
        messages.decode_reply(RecordDict(records))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("steps", -1),
        ("steps", True),
        ("steps", 1.0),
        ("clipping-norm", 0.0),
        ("clipping-norm", float("nan")),
        ("clipping-norm", float("inf")),
        ("clipping-norm", "1"),
        ("bundle-digest", b"x"),
        ("server-round", "0"),
    ],
)
def test_a_malformed_instruction_is_refused(key: str, value: bool | float | str | bytes) -> None:
    content = messages.encode_instruction(an_instruction())
    content[messages.TASK][key] = value  # type: ignore[index,assignment]
    with pytest.raises(BadUpdateError, match="malformed record"):
        messages.decode_instruction(content)
