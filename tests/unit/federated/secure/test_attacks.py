"""What a server or a member may try: each attempt is a typed error, and reveals nothing."""

from __future__ import annotations

import secrets

import numpy as np
import pytest

from edge_sdk import _core
from edge_sdk.signing import SigningKey
from federated.secure import key_agreement as ka
from federated.secure import shamir
from federated.secure.client import MASK_SHARE, SELF_SHARE
from federated.secure.errors import (
    BadShareError,
    DuplicateMessageError,
    ForgedKeyError,
    ImplausibleSumError,
    InconsistentSurvivorsError,
    MalformedMessageError,
    NotAMemberError,
    OutOfOrderError,
    TooFewMembersError,
    WrongSessionError,
)
from federated.secure.messages import SERVER, Kind, decode, encode
from tests.support.secure import Group, make_group

EVIL = SigningKey.generate()


def keys_by(key: SigningKey, group: Group, place: int) -> bytes:
    """Keys of the attacker's own making for a member, signed by `key`."""
    public = ka.private_key(secrets.token_bytes(32)).public_key().public_bytes_raw()
    return ka.sign_keys(group.session, place, ka.MemberKeys(public, public, bytes(32)), key)


def book_with(group: Group, **changed: bytes) -> bytes:
    """The key book, with some members' keys changed."""
    book = decode(Kind.KEY_BOOK, group.session, group.inbox["m00"]).items
    places = {int(name[1:]): item for name, item in changed.items()}
    return encode(Kind.KEY_BOOK, group.session, SERVER, {**book, **places})


def test_a_server_that_swaps_a_key_is_caught() -> None:
    group = make_group().run_to(Kind.SHARES)
    other = make_group(nonce=b"o" * 32).run_to(Kind.SHARES)
    genuine = decode(Kind.KEY_BOOK, group.session, group.inbox["m00"]).items
    replayed = decode(Kind.KEY_BOOK, other.session, other.inbox["m00"]).items
    broken = bytearray(genuine[2])
    broken[-1] ^= 1
    for swapped in (
        keys_by(EVIL, group, 2),  # signed by the server
        genuine[3],  # another member's
        replayed[2],  # the member's own, of another session
        bytes(broken),
        bytes(160),
    ):
        with pytest.raises(ForgedKeyError, match="m02"):
            group.clients["m00"].share(book_with(group, m02=swapped))
    own = keys_by(group.keys["m00"], group, 0)
    with pytest.raises(ForgedKeyError, match="own keys"):
        group.clients["m00"].share(book_with(group, m00=own))
    without = {place: item for place, item in genuine.items() if place != 0}
    with pytest.raises(ForgedKeyError, match="own keys"):
        group.clients["m00"].share(encode(Kind.KEY_BOOK, group.session, SERVER, without))
    group.step()  # after all that, the genuine book is taken
    assert group.server.stage is Kind.VECTOR


def test_a_member_whose_signature_is_wrong_is_refused_alone() -> None:
    group = make_group()
    item = keys_by(EVIL, group, 1)
    with pytest.raises(ForgedKeyError):
        group.server.receive("m01", encode(Kind.KEYS, group.session, 1, {1: item}))
    group.step(gone={"m01"})
    assert group.run_to(Kind.REVEALED).server.waiting_for == ("m00", "m02", "m03", "m04", "m05")


def test_a_member_that_the_roster_does_not_know() -> None:
    group = make_group().run_to(Kind.SHARES)
    known = {m: key.public_key for m, key in group.keys.items() if m != "m05"}
    stranger = make_group()
    object.__setattr__(stranger.roster, "keys", known)
    stranger.clients["m00"].keys()
    with pytest.raises(ForgedKeyError, match="m05 is not in the roster"):
        stranger.clients["m00"].share(group.inbox["m00"])
    with pytest.raises(ForgedKeyError, match="another identity key"):
        type(group.clients["m00"])(group.session, "m00", EVIL, group.roster)


def test_a_key_of_small_order_is_refused() -> None:
    group = make_group().run_to(Kind.SHARES)
    zero = ka.MemberKeys(bytes(32), bytes(32), bytes(32))
    item = ka.sign_keys(group.session, 1, zero, group.keys["m01"])  # a member that colludes
    with pytest.raises(ForgedKeyError, match="small order"):
        group.clients["m00"].share(book_with(group, m01=item))


def test_members_that_were_told_of_different_keys_do_not_go_on() -> None:
    group = make_group().run_to(Kind.SHARES)
    book = decode(Kind.KEY_BOOK, group.session, group.inbox["m00"]).items
    fewer = encode(Kind.KEY_BOOK, group.session, SERVER, {p: k for p, k in book.items() if p != 5})
    told = {m: fewer if m in ("m00", "m01") else group.inbox[m] for m in group.session.members}
    sealed = {
        m: decode(Kind.SHARES, group.session, group.answer(m, told[m])).items
        for m in group.session.members
    }
    delivery = {p: sealed[f"m{p:02d}"][0] for p in range(1, 5)}
    raw = encode(Kind.SHARE_DELIVERY, group.session, 0, delivery)
    with pytest.raises(BadShareError):
        group.clients["m00"].mask(raw, group.values["m00"])


def test_shares_that_were_moved_changed_or_replayed_do_not_open() -> None:
    group = make_group().run_to(Kind.VECTOR)
    items = decode(Kind.SHARE_DELIVERY, group.session, group.inbox["m00"]).items
    for damaged in (
        {**items, 1: items[2]},
        {**items, 1: bytes(82)},
        {**items, 1: items[1][:-1] + bytes((items[1][-1] ^ 1,))},
    ):
        raw = encode(Kind.SHARE_DELIVERY, group.session, 0, damaged)
        with pytest.raises(BadShareError):
            group.clients["m00"].mask(raw, group.values["m00"])
    few = encode(Kind.SHARE_DELIVERY, group.session, 0, {p: items[p] for p in (1, 2, 3)})
    with pytest.raises(TooFewMembersError):
        group.clients["m00"].mask(few, group.values["m00"])
    own = encode(Kind.SHARE_DELIVERY, group.session, 0, {**items, 0: items[1]})
    with pytest.raises(BadShareError, match="no keys"):
        group.clients["m00"].mask(own, group.values["m00"])
    with pytest.raises(MalformedMessageError, match="not for this member"):
        group.clients["m00"].mask(group.inbox["m01"], group.values["m00"])
    group.step()
    assert group.server.stage is Kind.TAGS


def test_a_server_that_tells_of_two_sets_of_survivors_learns_no_share() -> None:
    # To unmask m05 alone it needs the seed of its self mask and its mask key: both shares.
    group = make_group(9).run_to(Kind.TAGS)
    everyone = dict.fromkeys(range(9), b"")
    without = dict.fromkeys(range(8), b"")
    told = {m: everyone if i % 2 else without for i, m in enumerate(group.session.members[:8])}
    tags = {
        m: decode(
            Kind.TAGS,
            group.session,
            group.clients[m].confirm(encode(Kind.SURVIVORS, group.session, SERVER, said)),
        ).items
        for m, said in told.items()
    }
    for place, member in enumerate(told):
        delivery = {sender: tags[f"m{sender:02d}"][place] for sender in range(8) if sender != place}
        raw = encode(Kind.TAG_DELIVERY, group.session, place, delivery)
        with pytest.raises(InconsistentSurvivorsError, match="4 members confirm"):
            group.clients[member].reveal(raw)
    with pytest.raises(OutOfOrderError):  # nor does a second try at the other set help
        group.clients["m00"].confirm(encode(Kind.SURVIVORS, group.session, SERVER, everyone))


def test_tags_that_were_made_up_do_not_count() -> None:
    group = make_group().run_to(Kind.REVEALED)
    items = decode(Kind.TAG_DELIVERY, group.session, group.inbox["m00"]).items
    made_up = dict.fromkeys(items, bytes(32))
    raw = encode(Kind.TAG_DELIVERY, group.session, 0, {**made_up, 0: bytes(32)})
    with pytest.raises(InconsistentSurvivorsError, match="1 members confirm"):
        group.clients["m00"].reveal(raw)
    group.step()
    assert group.server.result.contributors == group.session.members


def test_survivors_that_cannot_be() -> None:
    group = make_group(6)
    group.run_to(Kind.VECTOR)
    group.step(gone={"m05"})
    client = group.clients["m00"]
    for named, error in (
        (range(1, 5), NotAMemberError),
        (range(3), TooFewMembersError),
    ):
        raw = encode(Kind.SURVIVORS, group.session, SERVER, dict.fromkeys(named, b""))
        with pytest.raises(error):
            client.confirm(raw)
    lonely = make_group(6)
    lonely.step()
    lonely.step(gone={"m05"})  # has keys, but shared nothing
    lonely.run_to(Kind.TAGS)
    raw = encode(Kind.SURVIVORS, lonely.session, SERVER, dict.fromkeys(range(6), b""))
    with pytest.raises(MalformedMessageError, match="shared nothing"):
        lonely.clients["m00"].confirm(raw)


def test_a_late_vector_stays_masked() -> None:
    group = make_group(9, length=4000).run_to(Kind.VECTOR)
    late = group.answer("m08")  # made in time, arrives after the stage was closed
    group.step(gone={"m08"})
    with pytest.raises(NotAMemberError, match="missed an earlier stage"):
        group.server.receive("m08", late)
    group.step()
    revealed = {
        m: decode(Kind.REVEALED, group.session, group.answer(m)).items
        for m in group.session.members[:8]
    }
    assert all(items[8][0] == MASK_SHARE for items in revealed.values())
    assert all(items[p][0] == SELF_SHARE for items in revealed.values() for p in range(8))
    # The server takes away every mask that it can make with the key of the one who is gone.
    weights = shamir.weights_at_zero(range(1, 8))
    shares = {p + 1: revealed[f"m{p:02d}"][8][1:] for p in range(7)}
    key = ka.private_key(shamir.join(shares, weights))
    book = group.server._book
    context = ka.book_digest(group.session, book)
    seeds = b"".join(ka.mask_seed(key, book[p].mask, context, 8, p) for p in range(8))
    words = np.frombuffer(decode(Kind.VECTOR, group.session, late).items[8], np.uint32)
    unmasked = _core.apply_masks(words, add=seeds, subtract=b"")
    difference = (unmasked - group.values["m08"].astype(np.uint32)).view(np.uint8)
    counts = np.bincount(difference, minlength=256)
    chi_square = float(((counts - counts.mean()) ** 2 / counts.mean()).sum())
    assert abs(chi_square - 255) < 5 * np.sqrt(2 * 255)


def test_late_early_duplicate_and_foreign_answers() -> None:
    group = make_group()
    first = group.answer("m00")
    group.server.receive("m00", first)
    with pytest.raises(DuplicateMessageError):
        group.server.receive("m00", first)
    with pytest.raises(NotAMemberError, match="another member's name"):
        group.server.receive("m01", first)
    with pytest.raises(NotAMemberError):
        group.server.receive("m77", first)
    other = make_group(nonce=b"o" * 32)
    with pytest.raises(WrongSessionError):
        group.server.receive("m01", other.answer("m01"))
    with pytest.raises(OutOfOrderError):
        group.clients["m01"].share(group.session.to_bytes())
    for member in group.session.members[1:]:
        group.server.receive(member, group.answer(member))
    group.inbox = group.server.advance()
    with pytest.raises(OutOfOrderError, match="kind 1"):
        group.server.receive("m00", first)
    with pytest.raises(OutOfOrderError):
        group.clients["m00"].keys()
    group.step()
    with pytest.raises(OutOfOrderError):  # a client answers each stage once
        group.clients["m00"].share(book_of(group))


def book_of(group: Group) -> bytes:
    return encode(Kind.KEY_BOOK, group.session, SERVER, {})


def test_an_answer_about_other_members_than_asked() -> None:
    group = make_group().run_to(Kind.SHARES)
    items = decode(Kind.SHARES, group.session, group.answer("m00")).items
    del items[3]
    with pytest.raises(MalformedMessageError, match="about the members"):
        group.server.receive("m00", encode(Kind.SHARES, group.session, 0, items))
    assert "m00" in group.server.waiting_for


def test_a_member_that_reveals_a_wrong_share_or_kind() -> None:
    group = make_group().run_to(Kind.REVEALED)
    items = decode(Kind.REVEALED, group.session, group.answer("m00")).items
    wrong_kind = {**items, 2: bytes((MASK_SHARE,)) + items[2][1:]}
    with pytest.raises(MalformedMessageError, match="wrong kind"):
        group.server.receive("m00", encode(Kind.REVEALED, group.session, 0, wrong_kind))
    wrong = {**items, 2: bytes((SELF_SHARE,)) + bytes(33)}
    group.server.receive("m00", encode(Kind.REVEALED, group.session, 0, wrong))
    for member in group.session.members[1:]:
        group.server.receive(member, group.answer(member))
    with pytest.raises(BadShareError):
        group.server.advance()
    assert group.server.stage is None


def test_a_member_that_sends_noise_as_its_vector() -> None:
    group = make_group(length=200).run_to(Kind.VECTOR)
    noise = secrets.token_bytes(group.session.vector_bytes)
    group.server.receive("m00", encode(Kind.VECTOR, group.session, 0, {0: noise}))
    for member in group.session.members[1:]:
        group.server.receive(member, group.answer(member))
    group.inbox = group.server.advance()
    for member in group.session.members[1:]:
        group.server.receive(member, group.answer(member))
    group.inbox = group.server.advance()
    for member in group.inbox:
        group.server.receive(member, group.answer(member))
    with pytest.raises(ImplausibleSumError):
        group.server.advance()
    assert group.server.stage is None


def test_a_client_forgets_its_secrets() -> None:
    group = make_group()
    while group.server.stage is not None:
        group.step()
    assert not hasattr(group.clients["m00"], "_secrets")
    assert hasattr(make_group().clients["m00"], "_secrets")
