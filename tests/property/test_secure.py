from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("cryptography")
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from edge_sdk import _core
from federated.secure import shamir
from federated.secure.errors import MalformedMessageError, SecureAggregationError
from federated.secure.in_process import run_group
from federated.secure.messages import Kind, decode, encode
from federated.secure.session import Session
from tests.support.secure import STAGES, Group, make_group, seeded_bytes

SEEDS = st.lists(st.binary(min_size=32, max_size=32), max_size=3)
WORDS = st.sampled_from([np.uint16, np.uint32, np.uint64])


def key_stream(seed: bytes, size: int) -> bytes:
    """ChaCha20 of another library, from block 0 on, with a zero nonce."""
    cipher = Cipher(algorithms.ChaCha20(seed, bytes(16)), mode=None)
    return cipher.encryptor().update(bytes(size))


@given(add=SEEDS, subtract=SEEDS, word=WORDS, count=st.integers(0, 3000), start=st.integers(0))
def test_masks_are_chacha20_modulo_the_word(
    add: list[bytes], subtract: list[bytes], word: type[np.unsignedinteger], count: int, start: int
) -> None:
    values = np.random.default_rng(start).integers(0, np.iinfo(word).max, count, word)
    expected = values.copy()
    for seed in add:
        expected += np.frombuffer(key_stream(seed, expected.nbytes), word)
    for seed in subtract:
        expected -= np.frombuffer(key_stream(seed, expected.nbytes), word)
    before = values.copy()
    got = _core.apply_masks(values, add=b"".join(add), subtract=b"".join(subtract))
    np.testing.assert_array_equal(got, expected)
    assert got.dtype == word
    np.testing.assert_array_equal(values, before)


@given(secret=st.binary(min_size=32, max_size=32), num=st.integers(2, 12), data=st.data())
def test_sharing_gives_back_what_was_shared(secret: bytes, num: int, data: st.DataObject) -> None:
    threshold = data.draw(st.integers(1, num))
    points = list(range(1, num + 1))
    shares = shamir.split(secret, threshold, points, seeded_bytes(num, threshold))
    chosen = data.draw(st.permutations(points))[:threshold]
    some = {point: shares[point - 1] for point in chosen}
    assert shamir.join(some, shamir.weights_at_zero(chosen)) == secret


@settings(max_examples=25)
@given(num=st.integers(3, 8), data=st.data())
def test_the_sum_is_that_of_whoever_sent_a_vector(num: int, data: st.DataObject) -> None:
    group = make_group(num, length=3, seed=num)
    most = num - group.session.threshold
    gone = data.draw(st.lists(st.sampled_from(group.session.members), unique=True, max_size=most))
    leaves = {member: data.draw(st.sampled_from(STAGES)) for member in gone}
    result, _, _ = run_group(group.session, group.keys, group.roster, group.values, leaves=leaves)
    counted = [m for m in group.session.members if leaves.get(m, Kind.TAGS) > Kind.VECTOR]
    assert list(result.contributors) == counted
    expected = np.sum([group.values[m] for m in counted], axis=0)
    np.testing.assert_array_equal(result.total, expected)


@cache
def session() -> Session:
    return make_group(5).session


@given(kind=st.sampled_from(Kind), raw=st.binary(max_size=400))
def test_any_bytes_are_a_message_or_refused(kind: Kind, raw: bytes) -> None:
    with pytest.raises(MalformedMessageError):
        decode(kind, session(), raw)
    head = b"ESSA" + bytes((1, kind)) + session().digest
    try:
        message = decode(kind, session(), head + raw)
    except MalformedMessageError:
        return
    assert encode(kind, session(), message.party, message.items) == head + raw


@given(raw=st.binary(max_size=300), at=st.integers(0, 200), byte=st.integers(0, 255))
def test_any_bytes_are_a_session_or_refused(raw: bytes, at: int, byte: int) -> None:
    genuine = bytearray(session().to_bytes())
    genuine[at % len(genuine)] = byte
    for candidate in (raw, bytes(genuine)):
        try:
            found = Session.from_bytes(candidate)
        except MalformedMessageError:
            continue
        assert found.to_bytes() == candidate


@settings(max_examples=25)
@given(stage=st.sampled_from(STAGES), at=st.integers(0), byte=st.integers(1, 255))
def test_a_changed_byte_never_gives_a_wrong_sum(stage: Kind, at: int, byte: int) -> None:
    """Whatever a member sends, the sum is right, given up, or off by its own vector only."""
    group: Group = make_group(4, length=3)
    group.run_to(stage)
    raw = bytearray(group.answer("m01"))
    raw[at % len(raw)] ^= byte
    try:
        group.server.receive("m01", bytes(raw))
        for member in ("m00", "m02", "m03"):
            group.server.receive(member, group.answer(member))
        group.inbox = group.server.advance()
        while group.server.stage is not None:
            for member in list(group.inbox):
                group.server.receive(member, group.answer(member))
            group.inbox = group.server.advance()
    except SecureAggregationError:
        return
    expected = np.sum([group.values[m] for m in group.server.result.contributors], axis=0)
    if stage is not Kind.VECTOR:
        np.testing.assert_array_equal(group.server.result.total, expected)
