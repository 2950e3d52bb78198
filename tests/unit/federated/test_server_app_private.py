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
from edge_sdk.judgement import Judgement
from edge_sdk.update import ModelUpdate
from federated import messages, server_app
from federated.errors import BudgetExhaustedError
from federated.evaluation.options import EvaluationOptions
from federated.evaluation.records import encode_judgement
from federated.privacy.options import PrivacyOptions
from federated.round_core import RoundOptions
from federated.run_log.reader import find_log, read_log
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
        self.judgement = Judgement(current=500, candidate=800)

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
            elif msg.metadata.message_type == MessageType.EVALUATE:
                answer = encode_judgement(self.judgement)
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
    folder: Path,
    bundle: Path,
    devices: Devices,
    privacy: PrivacyOptions | None = PRIVACY,
    evaluation: EvaluationOptions | None = None,
    **changes: Any,
) -> None:
    settings = {
        "bundle": str(bundle), "out": str(folder / "new"), "report": str(folder / "report.json"),
        "min_clients": 3, "ledger": str(folder / "ledger"), **changes,
    }  # fmt: skip
    config = encode_run_config(ServerSettings(**settings), OPTIONS, privacy, evaluation=evaluation)
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
    log = read_log(find_log(tmp_path / "new"))
    assert (log.status, log.num_resumed) == ("completed", 1)
    assert [entry.server_round for entry in log.rounds] == [0, 1]
    assert log.epsilon == report["privacy"]["epsilon"]


def test_the_log_has_what_crossed_the_grid_and_what_was_spent(
    tiny_labelled_bundle: Path, tmp_path: Path
) -> None:
    devices = Devices()
    serve(tmp_path, tiny_labelled_bundle, devices)
    log = read_log(tmp_path / "new.run.jsonl")
    assert (log.about.source, log.about.num_clients) == ("flower", 3)
    assert (log.about.budget_epsilon, log.about.budget_delta) == (4.0, 1e-5)
    rounds = [m for m in devices.sent.values() if m.metadata.message_type == MessageType.TRAIN]
    traffic = [entry.traffic for entry in log.rounds]
    assert sum(t.devices_down for t in traffic if t is not None) == len(rounds)
    size = sum(record.count_bytes() for message in rounds for record in message.content.values())
    assert sum(t.bytes_down for t in traffic if t is not None) == size  # joining is not in it
    first, second = (entry.epsilon for entry in log.rounds)
    assert first is not None
    assert second is not None
    assert 0 < first < second <= 4
    assert log.end["bundle_digest"] == open_bundle(tmp_path / "new").digest


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("candidate", [800, 100])
def test_devices_judge_the_candidate_before_it_is_promoted(
    tiny_labelled_bundle: Path, tmp_path: Path, private: bool, candidate: int
) -> None:
    devices = Devices()
    devices.judgement = Judgement(current=500, candidate=candidate)
    evaluation = EvaluationOptions(devices=3, min_devices=2)
    serve(tmp_path, tiny_labelled_bundle, devices, PRIVACY if private else None, evaluation)
    report = json.loads((tmp_path / "report.json").read_text())
    judged = report["evaluation"]
    asked = [m for m in devices.sent.values() if m.metadata.message_type == MessageType.EVALUATE]
    assert len(asked) == judged["num_accepted"] == 3
    promoted = judged["verdict"]["promoted"]
    if private:  # three users hide in the noise
        assert not promoted
        assert report["privacy"]["rounds"] == 3
        assert judged["verdict"]["noise_deviation"] > 2
    else:
        assert promoted == (candidate == 800)
    assert (tmp_path / "new").exists() == promoted == (report["bundle_digest"] is not None)
    assert (tmp_path / "new.checkpoint").exists() != promoted
    log = read_log(find_log(tmp_path / "new"))
    assert log.evaluation is not None
    assert log.evaluation.verdict.promoted == promoted


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


def test_a_candidate_that_was_promoted_is_not_judged_again_after_a_crash(
    tiny_labelled_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    evaluation = EvaluationOptions(devices=3, min_devices=2)
    for _ in range(2):  # it dies at the same place once more
        with monkeypatch.context() as patch:
            patch.setattr(server_app, "write_report", die)
            with pytest.raises(KeyboardInterrupt):
                serve(tmp_path, tiny_labelled_bundle, Devices(), None, evaluation)
    devices = Devices()
    devices.judgement = Judgement(current=800, candidate=100)  # what they would say now
    serve(tmp_path, tiny_labelled_bundle, devices, None, evaluation)
    assert MessageType.EVALUATE not in {m.metadata.message_type for m in devices.sent.values()}
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["evaluation"]["verdict"]["promoted"]
    assert report["bundle_digest"] == open_bundle(tmp_path / "new").digest
    log = read_log(find_log(tmp_path / "new"))
    assert log.evaluation is not None
    assert log.evaluation.verdict.promoted


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
