"""The ServerApp's whole main, private, on a grid that answers at once."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from flwr.app import Message, MessageType
from flwr.supercore.task_identity import TaskIdentity

from edge_sdk import open_bundle
from edge_sdk.errors import InvalidOptionError
from edge_sdk.update import ModelUpdate
from federated import messages, server_app
from federated.errors import BudgetExhaustedError
from federated.privacy.options import PrivacyOptions
from federated.round_core import RoundOptions
from federated.settings import ServerSettings, encode_run_config

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NODES = {11: "ann", 22: "bob", 33: "cat"}
OPTIONS = RoundOptions(rounds=2, cohort_size=2, clipping_norm=1.0)
PRIVACY = PrivacyOptions(noise_multiplier=3.0, epsilon=4.0, accountant="rdp")


class Devices:
    """Three devices that are always there; from round `dies_in` on the server's process is not."""

    def __init__(self, dies_in: int | None = None) -> None:
        self.sent: dict[str, Message] = {}
        self.dies_in = dies_in
        self.rounds: list[int] = []

    def get_node_ids(self) -> list[int]:
        return list(NODES)

    def push_messages(self, batch: Iterable[Message]) -> list[str]:
        ids = []
        for msg in batch:
            ids.append(f"m{len(self.sent)}")
            msg.metadata.__dict__["_message_id"] = ids[-1]
            self.sent[ids[-1]] = msg
        return ids

    def pull_messages(self, ids: Iterable[str]) -> list[Message]:
        replies = []
        for msg in (self.sent[one] for one in ids):
            if msg.metadata.message_type == MessageType.QUERY:
                answer = messages.encode_client(NODES[msg.metadata.dst_node_id])
            else:
                asked = messages.decode_instruction(msg.content)
                self.rounds.append(asked.server_round)
                if asked.server_round == self.dies_in:
                    raise KeyboardInterrupt
                delta = {name: np.full_like(v, 0.01) for name, v in asked.shared.items()}
                answer = messages.encode_update(
                    ModelUpdate(asked.bundle_digest, delta), asked.server_round
                )
            replies.append(Message(answer, reply_to=msg))
        return replies


@pytest.fixture(autouse=True)
def flower_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    monkeypatch.setattr("federated.server_app._POLL_S", 0.001)


def serve(
    folder: Path, bundle: Path, devices: Devices, privacy: PrivacyOptions = PRIVACY, **changes: Any
) -> None:
    settings = {
        "bundle": str(bundle), "out": str(folder / "new"), "report": str(folder / "report.json"),
        "min_clients": 3, "ledger": str(folder / "ledger"), **changes,
    }  # fmt: skip
    config = encode_run_config(ServerSettings(**settings), OPTIONS, privacy)
    server_app.main(devices, SimpleNamespace(run_config=config))  # type: ignore[arg-type]


def test_the_report_and_the_bundle_say_what_was_spent(
    tiny_labelled_bundle: Path, tmp_path: Path
) -> None:
    serve(tmp_path, tiny_labelled_bundle, Devices())
    report = json.loads((tmp_path / "report.json").read_text())
    claim = open_bundle(tmp_path / "new").manifest.provenance["privacy"]
    assert report["privacy"] == claim
    assert isinstance(claim, dict)
    assert (claim["rounds"], claim["noise"], claim["relation"]) == (
        2, "central", "add-or-remove-one",
    )  # fmt: skip
    assert not any("NOT MET" in str(said) for said in claim["assumptions"])  # type: ignore[union-attr]
    assert [entry["denominator"] for entry in report["rounds"]] == [2, 2]
    assert all(entry["noise_deviation"] > 2.9 for entry in report["rounds"])
    assert not (tmp_path / "new.checkpoint").exists()


def test_a_server_that_died_goes_on_where_it_was(
    tiny_labelled_bundle: Path, tmp_path: Path
) -> None:
    fixed = PrivacyOptions(noise_multiplier=3.0, epsilon=4.0, accountant="rdp", sampling="fixed")
    with pytest.raises(KeyboardInterrupt):
        serve(tmp_path, tiny_labelled_bundle, Devices(dies_in=1), fixed)
    assert (tmp_path / "new.checkpoint").exists()
    devices = Devices()
    serve(tmp_path, tiny_labelled_bundle, devices, fixed)
    assert set(devices.rounds) == {1}
    report = json.loads((tmp_path / "report.json").read_text())
    assert [entry["server_round"] for entry in report["rounds"]] == [0, 1]
    assert report["privacy"]["rounds"] == 2  # the round that was cut off is paid for once


def test_a_spent_budget_refuses_the_run_and_asks_nobody(
    tiny_labelled_bundle: Path, tmp_path: Path
) -> None:
    devices = Devices()
    dear = PrivacyOptions(noise_multiplier=0.3, epsilon=4.0, accountant="rdp")
    with pytest.raises(BudgetExhaustedError):
        serve(tmp_path, tiny_labelled_bundle, devices, dear)
    assert devices.rounds == []
    assert not (tmp_path / "new").exists()
    refusal = (tmp_path / "report.json.refused").read_text()  # what `serve` tells the coordinator
    assert refusal.startswith("budget_exhausted: ")


def test_a_server_that_died_after_it_wrote_the_bundle_ends_what_is_left(
    tiny_labelled_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(server_app, "write_report", die)
        with pytest.raises(KeyboardInterrupt):
            serve(tmp_path, tiny_labelled_bundle, Devices())
    digest = open_bundle(tmp_path / "new").digest
    devices = Devices()
    serve(tmp_path, tiny_labelled_bundle, devices)
    assert devices.rounds == []
    assert open_bundle(tmp_path / "new").digest == digest
    assert json.loads((tmp_path / "report.json").read_text())["bundle_digest"] == digest
    assert not (tmp_path / "new.checkpoint").exists()


@pytest.mark.parametrize(
    ("privacy", "changes", "says"),
    [
        (PRIVACY, {"ledger": ""}, "need a ledger"),
        (PRIVACY, {"min_replies": 1}, "displace"),
        (
            PrivacyOptions(noise="distributed", min_contributors=2, sampling="fixed"),
            {},
            "secure aggregation",
        ),
    ],
)
def test_settings_that_break_the_guarantee_are_refused(
    tiny_labelled_bundle: Path,
    tmp_path: Path,
    privacy: PrivacyOptions,
    changes: dict[str, Any],
    says: str,
) -> None:
    with pytest.raises(InvalidOptionError, match=says):
        serve(tmp_path, tiny_labelled_bundle, Devices(), privacy, **changes)
