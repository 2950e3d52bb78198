"""Masked rounds over Flower's messages: exact sums, drop-outs, and what hostile parties get."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict

from edge_sdk.grid import flatten
from federated.privacy.mechanism import DecodedSum
from federated.round_core import RoundOptions, run_rounds
from federated.secure.messages import Kind
from federated.secure.session_vault import FILE_NAME
from tests.support.masked_fleet import (
    CLIPPING_NORM,
    STAGE_NAMES,
    Fleet,
    asked_for,
    exact_sum,
    make_fleet,
)

pytestmark = pytest.mark.usefixtures("flower_process")


@pytest.fixture
def fleet(tmp_path: Path, tiny_labelled_bundle: Path) -> Fleet:
    return make_fleet(tmp_path, tiny_labelled_bundle)


def payload(reply: Message) -> bytes:
    raw = reply.content["stage"]["payload"]  # type: ignore[index, call-overload]
    assert isinstance(raw, bytes)
    return raw


def test_all_stay_and_the_sum_is_exact_to_the_bit(fleet: Fleet) -> None:
    result = fleet.round()
    assert isinstance(result, DecodedSum)
    assert (result.num_contributors, result.counts.num_missing) == (4, 0)
    assert (dict(result.failed), dict(result.counts.refused)) == ({}, {})
    np.testing.assert_array_equal(result.total, exact_sum(fleet, set(fleet.settings)))
    assert np.abs(result.total).max() > 0.1
    # no secret of a session outlives it
    for client, device in fleet.settings.items():
        assert FILE_NAME not in fleet.states[client]
        assert not list(_files(device.home, FILE_NAME))


def _files(home: str, name: str) -> list[Path]:
    return sorted(Path(home).glob(name))


@pytest.mark.parametrize("stage", STAGE_NAMES, ids=STAGE_NAMES.get)
def test_the_sum_is_exact_whenever_a_member_leaves(fleet: Fleet, stage: int) -> None:
    fleet.leaves = {"u02": stage}
    result = fleet.round()
    counted = stage > Kind.VECTOR
    left = set(fleet.settings) - (set() if counted else {"u02"})
    np.testing.assert_array_equal(result.total, exact_sum(fleet, left))
    assert result.num_contributors == len(left)
    assert result.counts.num_missing == (0 if counted else 1)


def test_many_devices_may_be_offline_when_a_round_begins(
    tmp_path: Path, tiny_labelled_bundle: Path
) -> None:
    fleet = make_fleet(tmp_path, tiny_labelled_bundle, num=10)
    gone = {"u01", "u04", "u05", "u09"}
    fleet.leaves = dict.fromkeys(gone, 0)
    result = fleet.round()
    assert (result.num_contributors, result.counts.num_missing) == (6, 4)
    np.testing.assert_array_equal(result.total, exact_sum(fleet, set(fleet.settings) - gone))


@pytest.mark.parametrize(
    "stage", [int(Kind.KEYS), int(Kind.VECTOR), int(Kind.REVEALED)], ids=STAGE_NAMES.get
)
def test_under_the_threshold_the_round_is_refused_and_counted(fleet: Fleet, stage: int) -> None:
    fleet.leaves = {"u00": stage, "u03": stage}
    task = fleet.task()
    result = run_rounds(
        task.shared,
        sorted(fleet.settings),
        task.bundle_digest,
        RoundOptions(rounds=1, cohort_size=4, clipping_norm=CLIPPING_NORM),
        lambda asked: fleet.round(task=asked),
    )
    (report,) = result.reports
    assert (report.num_accepted, report.given_up) == (0, {"too_few_members": 1})
    assert report.step_norm == 0
    for name, value in task.shared.items():
        np.testing.assert_array_equal(result.shared[name], value)


def test_a_round_over_the_grid_takes_the_step_of_the_mean(fleet: Fleet) -> None:
    task = fleet.task()
    result = run_rounds(
        task.shared,
        sorted(fleet.settings),
        task.bundle_digest,
        RoundOptions(rounds=1, cohort_size=4, clipping_norm=CLIPPING_NORM, server_lr=0.5),
        lambda asked: fleet.round(task=asked),
    )
    (report,) = result.reports
    assert (report.num_accepted, report.denominator) == (4, 4.0)
    moved = flatten(result.shared) - flatten(task.shared)
    np.testing.assert_allclose(
        moved, 0.5 * exact_sum(fleet, set(fleet.settings)) / 4, rtol=0, atol=1e-6
    )


# --- hostile members -----------------------------------------------------------------------------

FORGERIES = {
    "no records": lambda _: RecordDict(),
    "no bytes": lambda _: RecordDict({"stage": ConfigRecord({"kind": 5, "payload": "x"})}),
    "empty": lambda _: RecordDict({"stage": ConfigRecord({"kind": 5, "payload": b""})}),
    "cut short": lambda raw: RecordDict({"stage": ConfigRecord({"payload": raw[:-1]})}),
    "other session": lambda raw: RecordDict(
        {"stage": ConfigRecord({"payload": raw[:6] + bytes(32) + raw[38:]})}
    ),
    "other member": lambda raw: RecordDict(
        {"stage": ConfigRecord({"payload": raw[:38] + b"\0\0" + raw[40:]})}
    ),
    "not a code": lambda _: RecordDict({"failure": ConfigRecord({"code": "Secret text!"})}),
}


@pytest.mark.parametrize(
    ("stage", "forgery"),
    [
        (0, "no records"),
        (int(Kind.SHARES), "other member"),
        *((int(Kind.VECTOR), forgery) for forgery in FORGERIES),
    ],
)
def test_a_wrong_answer_is_refused_counted_and_harms_nobody(
    fleet: Fleet, stage: int, forgery: str
) -> None:
    def forge(client: str, msg: Message, reply: Message) -> Message:
        if client != "u01" or asked_for(msg) != stage:
            return reply
        return Message(FORGERIES[forgery](payload(reply)), reply_to=msg)

    fleet.forge = forge
    result = fleet.round()
    assert sum(result.counts.refused.values()) == 1
    assert result.num_contributors == 3
    np.testing.assert_array_equal(result.total, exact_sum(fleet, {"u00", "u02", "u03"}))


def test_a_crashed_client_and_a_replay_are_counted(fleet: Fleet) -> None:
    first: dict[str, RecordDict] = {}

    def forge(client: str, msg: Message, reply: Message) -> Message:
        if client == "u03" and asked_for(msg) == Kind.KEYS:
            if "u03" in first:
                return Message(first["u03"], reply_to=msg)  # of the round before
            first["u03"] = reply.content
        return reply

    fleet.forge = forge
    fleet.round()
    result = fleet.round()
    assert dict(result.counts.refused) == {"wrong_session": 1}
    assert result.num_contributors == 3
    fleet.forge = lambda client, msg, reply: (
        Message(Error(code=2, reason="secret"), reply_to=msg) if client == "u00" else reply
    )
    result = fleet.round()
    assert dict(result.failed) == {"crashed": 1}


# --- a hostile server ----------------------------------------------------------------------------


def failures(fleet: Fleet) -> set[str]:
    return {
        str(reply.content["failure"]["code"])  # type: ignore[index, call-overload]
        for _, reply in fleet.replies
        if "failure" in reply.content
    }


def with_payload(msg: Message, raw: bytes) -> Message:
    changed = copy.deepcopy(msg)
    changed.content["stage"]["payload"] = raw  # type: ignore[index, call-overload]
    return changed


def test_a_server_that_swaps_a_key_gets_no_vector(fleet: Fleet) -> None:
    def tamper(_: str, msg: Message) -> Message:
        if asked_for(msg) != Kind.SHARES:
            return msg
        raw = bytearray(payload(msg))
        raw[-160:-128] = b"\x09" + bytes(31)  # a channel key of the server's own
        return with_payload(msg, bytes(raw))

    fleet.tamper = tamper
    result = fleet.round()
    assert failures(fleet) == {"forged_key"}
    assert result.num_contributors == 0
    assert int(Kind.VECTOR) not in {asked_for(msg) for _, msg in fleet.sent}


def test_a_stage_is_answered_once_even_from_an_old_context(fleet: Fleet) -> None:
    """A server that gets two sets of survivors confirmed would learn both kinds of shares."""
    old: dict[str, RecordDict] = {}
    second: list[Message] = []

    def tamper(client: str, msg: Message) -> Message:
        if client == "u01" and asked_for(msg) == Kind.TAGS:
            old["u01"] = copy.deepcopy(fleet.states["u01"])
        return msg

    def forge(client: str, msg: Message, reply: Message) -> Message:
        if client == "u01" and asked_for(msg) == Kind.TAGS:
            fleet.states["u01"] = old["u01"]  # the reply was faster than the context
            second.append(fleet.call("u01", copy.deepcopy(msg)))
        return reply

    fleet.tamper, fleet.forge = tamper, forge
    result = fleet.round()
    assert result.num_contributors == 4
    (again,) = second
    assert again.content["failure"]["code"] == "out_of_order"  # type: ignore[index, call-overload]


def test_the_secrets_of_a_session_are_sealed_and_die_with_the_supernode(fleet: Fleet) -> None:
    device = fleet.settings["u02"]
    seen: list[bytes] = []

    def tamper(client: str, msg: Message) -> Message:
        if client == "u02" and asked_for(msg) == Kind.VECTOR:
            (kept,) = _files(device.home, FILE_NAME)
            seen.append(kept.read_bytes())
            assert kept.stat().st_mode & 0o077 == 0
            fleet.states["u02"] = RecordDict()  # the SuperNode was restarted
        return msg

    fleet.tamper = tamper
    result = fleet.round()
    assert dict(result.failed) == {"wrong_session": 1}
    np.testing.assert_array_equal(result.total, exact_sum(fleet, {"u00", "u01", "u03"}))
    (sealed,) = seen
    assert b"mask_key" not in sealed
    histogram = np.bincount(np.frombuffer(sealed, np.uint8), minlength=256)
    expected = len(sealed) / 256
    assert ((histogram - expected) ** 2 / expected).sum() < 256 + 5 * np.sqrt(2 * 256)


def test_a_damaged_vault_stops_its_member_only(fleet: Fleet) -> None:
    device = fleet.settings["u02"]

    def tamper(client: str, msg: Message) -> Message:
        if client == "u02" and asked_for(msg) == Kind.SHARES:
            (kept,) = _files(device.home, FILE_NAME)
            kept.write_bytes(kept.read_bytes()[:-1] + b"x")
        return msg

    fleet.tamper = tamper
    result = fleet.round()
    assert dict(result.failed) == {"wrong_session": 1}
    assert result.num_contributors == 3


# --- what a device asks for ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"identity_key": ""}, "invalid_option"),
        ({"min_members": 5}, "not_a_member"),
        ({"min_noise_multiplier": 0.5}, "weak_noise"),
        ({"local_epsilon": 1.0}, "weak_noise"),
        ({"authority": "{folder}/keys/u00.pub"}, "bad_signature"),
        ({"identity_key": "{folder}/keys/u00"}, "forged_key"),
    ],
)
def test_a_device_that_wants_more_leaves_and_says_why(
    fleet: Fleet, tmp_path: Path, changes: dict[str, object], code: str
) -> None:
    filled = {
        name: value.format(folder=tmp_path) if isinstance(value, str) else value
        for name, value in changes.items()
    }
    fleet.settings["u01"] = replace(fleet.settings["u01"], **filled)  # type: ignore[arg-type]
    result = fleet.round()
    assert dict(result.failed) == {code: 1}
    assert result.num_contributors == 3


def test_who_is_not_enrolled_is_in_no_group(fleet: Fleet) -> None:
    task = fleet.task(cohort=(*sorted(fleet.settings), "stranger"))
    result = fleet.round(task=task)
    assert dict(result.failed) == {"not_enrolled": 1}
    assert result.num_contributors == 4
