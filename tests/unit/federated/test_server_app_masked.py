"""The ServerApp's whole main with secure aggregation, the real ClientApp behind its Grid."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from flwr.supercore.task_identity import TaskIdentity

from edge_sdk import Engine, open_bundle
from edge_sdk.errors import InvalidOptionError, SignatureError
from edge_sdk.grid import flatten
from federated import server_app
from federated.local_round import shared_tensors
from federated.privacy.options import PrivacyOptions
from federated.round_core import RoundOptions
from federated.secure.messages import Kind
from federated.settings import ServerSettings, decode_masking, encode_run_config
from tests.support.masked_fleet import CLIPPING_NORM, Fleet, asked_for, exact_sum, make_fleet

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from flwr.app import Message

OPTIONS = RoundOptions(rounds=2, cohort_size=5, clipping_norm=CLIPPING_NORM)
DISTRIBUTED = PrivacyOptions(
    noise="distributed", noise_multiplier=4.0, min_contributors=4, sampling="fixed", epsilon=8.0,
    accountant="rdp",
)  # fmt: skip


class FleetGrid:
    """A Grid whose nodes are a fleet."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.answers: dict[str, Message] = {}

    def get_node_ids(self) -> list[int]:
        return list(self.fleet.nodes.values())

    def push_messages(self, batch: Iterable[Message]) -> list[str]:
        clients = {node: client for client, node in self.fleet.nodes.items()}
        ids = []
        for msg in batch:
            client = clients[msg.metadata.dst_node_id]
            ids.append(f"m{len(self.fleet.sent)}")
            msg.metadata.__dict__["_message_id"] = ids[-1]
            self.fleet.sent.append((client, msg))
            if "stage" not in msg.content or asked_for(msg) < self.fleet.leaves.get(client, 99):
                self.answers[ids[-1]] = self.fleet.call(client, msg)
        return ids

    def pull_messages(self, ids: Iterable[str]) -> list[Message]:
        return [self.answers.pop(one) for one in ids if one in self.answers]


@pytest.fixture(autouse=True)
def flower_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    monkeypatch.setattr("federated.server_app._POLL_S", 0.001)


@pytest.fixture
def fleet(tmp_path: Path, tiny_labelled_bundle: Path) -> Fleet:
    return make_fleet(tmp_path, tiny_labelled_bundle, num=5, group_size=5)


def serve(
    fleet: Fleet, folder: Path, privacy: PrivacyOptions | None = None, **changes: object
) -> dict[str, object]:
    settings = ServerSettings(
        bundle=next(iter(fleet.settings.values())).bundle,
        out=str(folder / "new"),
        report=str(folder / "report.json"),
        min_clients=5,
        ledger=str(folder / "ledger"),
    )
    config = encode_run_config(settings, OPTIONS, privacy, fleet.masking) | changes  # type: ignore[operator]
    server_app.main(FleetGrid(fleet), SimpleNamespace(run_config=config))  # type: ignore[arg-type]
    report: dict[str, object] = json.loads((folder / "report.json").read_text())
    return report


def test_distributed_noise_runs_and_the_bundle_says_so(fleet: Fleet, tmp_path: Path) -> None:
    fleet.leaves = {"u04": int(Kind.SHARES)}
    report = serve(fleet, tmp_path, DISTRIBUTED)
    rounds = report["rounds"]
    assert isinstance(rounds, list)
    assert [entry["num_accepted"] for entry in rounds] == [4, 4]
    assert [entry["num_missing"] for entry in rounds] == [1, 1]
    claim = open_bundle(tmp_path / "new").manifest.provenance["privacy"]
    assert isinstance(claim, dict)
    assert (claim["noise"], claim["rounds"], claim["sampling"]) == ("distributed", 2, "fixed")
    assert any("sums only" in str(said) for said in claim["assumptions"])  # type: ignore[union-attr]
    # no message from a device held its update: each vector was masked and noised
    assert all("update" not in reply.content for _, reply in fleet.replies)


def test_masked_rounds_without_noise_take_the_step_of_the_mean(
    fleet: Fleet, tmp_path: Path
) -> None:
    fleet.leaves = {"u02": int(Kind.VECTOR)}
    bundle = open_bundle(next(iter(fleet.settings.values())).bundle)
    start = shared_tensors(bundle, Engine(bundle).initial_state())
    first = exact_sum(fleet, set(fleet.settings) - {"u02"}) / 4
    report = serve(fleet, tmp_path, rounds=1)
    assert report["privacy"] is None
    new = open_bundle(tmp_path / "new")
    moved = flatten(shared_tensors(new, Engine(new).initial_state())) - flatten(start)
    np.testing.assert_allclose(moved, first, rtol=0, atol=1e-6)


def test_refused_rounds_leave_the_state_and_cost_their_budget(fleet: Fleet, tmp_path: Path) -> None:
    fleet.leaves = {"u01": int(Kind.VECTOR), "u03": int(Kind.VECTOR)}
    report = serve(fleet, tmp_path, DISTRIBUTED)
    rounds, claim = report["rounds"], report["privacy"]
    assert isinstance(rounds, list)
    assert isinstance(claim, dict)
    assert all(
        entry["given_up"] == {"too_few_members": 1, "too_few_contributors": 1} for entry in rounds
    )
    old = open_bundle(next(iter(fleet.settings.values())).bundle)
    new = open_bundle(tmp_path / "new")
    for name, value in shared_tensors(old, Engine(old).initial_state()).items():
        got = shared_tensors(new, Engine(new).initial_state())[name]
        np.testing.assert_array_equal(got, value)
    assert claim["rounds"] == 2


def test_what_cannot_be_had_is_refused_before_anybody_is_asked(
    fleet: Fleet, tmp_path: Path
) -> None:
    for privacy, changes, error in (
        (PrivacyOptions(), {}, InvalidOptionError),  # Poisson sampling
        (None, {"masking-group-sise": 4}, InvalidOptionError),
        (None, {"masking-authority": str(tmp_path / "keys" / "u00.pub")}, SignatureError),
        (None, {"aggregator": "median"}, InvalidOptionError),
    ):
        with pytest.raises(error):
            serve(fleet, tmp_path, privacy, **changes)
    assert fleet.sent == []
    assert not (tmp_path / "new").exists()


def test_masking_is_a_section_of_the_run_config(fleet: Fleet) -> None:
    settings = ServerSettings(bundle="b", out="o", report="r")
    config = encode_run_config(settings, OPTIONS, None, fleet.masking)
    assert decode_masking(config) == fleet.masking
    assert decode_masking(encode_run_config(settings, OPTIONS)) is None
