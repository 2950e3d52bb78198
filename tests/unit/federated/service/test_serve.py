"""What the service does when things go wrong, without Flower's processes."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("cryptography", reason="needs the extra secure")

from edge_sdk.errors import InvalidOptionError
from federated.errors import CheckpointError, DeploymentError
from federated.run_lock import hold_run
from federated.service import serve as service
from federated.service.config import CoordinatorConfig, read_config
from federated.service.control import RunStatus, SuperLinkUnreachableError
from federated.service.files import DeploymentFiles
from federated.service.restarts import Restarts
from federated.service.roster import make_keys, read_public_key, register, revoke
from federated.settings import checkpoint_path, refusal_path

GONE = RunStatus(finished=False, details="")
FAILED = RunStatus(finished=True, details="Task failed with unknown error.")
REPORT = '{"rounds": [1, 2]}'


class Processes:
    """Processes that end when a test says so."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.ended: dict[str, int] = {}

    def start(self, name: str, command: list[str]) -> None:
        del command
        self.started.append(name)
        self.ended.pop(name, None)

    def exit_status(self, name: str) -> int | None:
        return self.ended.get(name)

    def log_tail(self, name: str, num_lines: int = 12) -> str:
        return f"the log of {name}"[: num_lines * 100]


class FakeControl:
    """A SuperLink whose runs have the statuses it is given, one for each question.

    The run after the last of them writes its report, as a ServerApp does at its end.
    """

    def __init__(self, statuses: list[RunStatus | Exception], report: Path) -> None:
        self.statuses = statuses
        self.report = report
        self.there: dict[str, int] = {}
        self.runs: list[int] = []
        self.stopped: list[int] = []

    def nodes(self) -> dict[str, int]:
        return dict(self.there)

    def register(self, client_id: str, public_key: str) -> int:
        del client_id
        self.there[public_key] = 100 + len(self.there)
        return self.there[public_key]

    def unregister(self, node_id: int) -> None:
        self.there = {key: node for key, node in self.there.items() if node != node_id}

    def unfinished_runs(self) -> list[int]:
        return [run for run in self.runs if run not in self.stopped]

    def stop_run(self, run_id: int) -> None:
        self.stopped.append(run_id)

    def start_run(self, app: Path) -> int:
        assert (app / "pyproject.toml").is_file()
        self.runs.append(len(self.runs) + 1)
        if not self.statuses:
            self.report.write_text(REPORT)
        return self.runs[-1]

    def run_status(self, run_id: int) -> RunStatus:
        assert run_id == self.runs[-1]
        status = self.statuses.pop(0)
        if isinstance(status, Exception):
            raise status
        return status


@pytest.fixture
def config(tmp_path: Path, tiny_labelled_bundle: Path) -> CoordinatorConfig:
    path = tmp_path / "coordinator.toml"
    path.write_text(
        f'[server]\nbundle = "{tiny_labelled_bundle}"\n[deployment]\nrestarts = 2\n'
        "restart_window_s = 60.0\n"
    )
    return read_config(path)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_POLL_S", 0.0)
    monkeypatch.setattr(service, "_BEGIN_S", 0.0)
    monkeypatch.setattr(service, "_END_S", 0.0)
    monkeypatch.setattr(service, "Restarts", partial(Restarts, sleep=lambda _: None))


def started(
    config: CoordinatorConfig,
    statuses: list[RunStatus | Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> SimpleNamespace:
    """A service whose processes and SuperLink are the test's."""
    files = DeploymentFiles.of(config.deployment)
    service._prepare(config, files)
    processes, control, said = (
        Processes(),
        FakeControl(statuses, Path(config.server.report)),
        list[str](),
    )
    made = service._Service(config, files, processes, control, said.append)  # type: ignore[arg-type]
    monkeypatch.setattr(made, "_listens", lambda: True)
    return SimpleNamespace(
        service=made, files=files, processes=processes, control=control, said=said
    )


def test_rounds_that_complete_give_their_report(
    config: CoordinatorConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = started(config, [], monkeypatch)
    assert made.service.run() == json.loads(REPORT)
    assert made.processes.started == ["superlink", "superexec"]
    assert made.control.runs == [1]


def test_a_server_app_that_died_goes_on_in_a_new_run(
    config: CoordinatorConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreachable = SuperLinkUnreachableError("away")
    made = started(config, [unreachable, FAILED, GONE], monkeypatch)
    made.service.run()
    assert made.control.runs == [1, 2, 3]
    assert made.control.stopped == [1, 2]
    assert sum("ended before its time" in line for line in made.said) == 2


def test_a_server_app_that_dies_too_often_is_given_up(
    config: CoordinatorConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = started(config, [FAILED] * 3, monkeypatch)
    with pytest.raises(DeploymentError, match="given up after 2 restarts"):
        made.service.run()


def test_refused_rounds_are_not_tried_again(
    config: CoordinatorConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = started(config, [FAILED], monkeypatch)
    refusal_path(config.server).write_text("budget_exhausted: the budget is gone")
    with pytest.raises(DeploymentError, match="refused: budget_exhausted: the budget is gone"):
        made.service.run()
    assert made.control.runs == [1]
    service._prepare(config, made.files)  # started again, it is tried again
    assert not refusal_path(config.server).exists()


def test_a_run_whose_lock_is_held_is_left_alone(
    config: CoordinatorConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = started(config, [FAILED], monkeypatch)
    made.service._begin()
    checkpoint = checkpoint_path(config.server)
    with hold_run(checkpoint):
        assert not made.service._is_complete(1)
    assert made.control.statuses == [FAILED]  # nobody asked
    Path(config.server.report).write_text(REPORT)
    assert made.service._is_complete(1)


@pytest.mark.parametrize("name", ["superlink", "superexec"])
def test_a_process_that_died_is_started_again(
    config: CoordinatorConfig, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    made = started(config, [], monkeypatch)
    made.service._start_superlink()
    made.service._start_superexec()
    for _ in range(2):
        made.processes.ended[name] = -9
        made.service._revive()
    assert made.processes.started.count(name) == 3
    made.processes.ended[name] = -9
    with pytest.raises(DeploymentError, match=f"{name} ended; the log of {name}"):
        made.service._revive()


def test_the_superlink_follows_the_roster(
    config: CoordinatorConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = started(config, [], monkeypatch)
    keys = {name: read_public_key(make_keys(tmp_path / name)) for name in ("ann", "bob", "cat")}
    made.control.there = {"a key that is not on the roster": 1}
    for name in ("ann", "bob"):
        register(made.files.roster, name, keys[name])
    made.service._follow_roster()
    assert set(made.control.there) == {keys["ann"], keys["bob"]}
    revoke(made.files.roster, "ann")
    register(made.files.roster, "cat", keys["cat"])
    made.service._follow_roster()
    assert set(made.control.there) == {keys["bob"], keys["cat"]}
    named = json.loads(Path(config.server.nodes).read_text())
    assert named == {str(made.control.there[keys[name]]): name for name in ("bob", "cat")}


def test_a_new_bundle_that_exists_is_refused_unless_a_run_was_interrupted(
    config: CoordinatorConfig,
) -> None:
    files = DeploymentFiles.of(config.deployment)
    Path(config.server.out).mkdir()
    with pytest.raises(InvalidOptionError, match=r"server: out .* exists"):
        service._prepare(config, files)
    checkpoint_path(config.server).touch()
    service._prepare(config, files)


def test_a_port_that_another_program_uses_is_refused_by_name(
    config: CoordinatorConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_PORT_S", 0.05)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        taken = replace(config, deployment=replace(config.deployment, port=port))
        with pytest.raises(DeploymentError, match=rf"port {port}: .*\[deployment\]"):
            service.serve(taken, say=print)
    service._wait_for_free_port(taken.deployment)
    elsewhere = replace(config.deployment, host="192.0.2.1")  # an address for documents
    with pytest.raises(DeploymentError, match=r"cannot listen at 192\.0\.2\.1"):
        service._wait_for_free_port(elsewhere)


def test_two_services_do_not_share_a_folder(
    config: CoordinatorConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("federated.run_lock._WAIT_S", 0.05)
    files = DeploymentFiles.of(config.deployment)
    with (
        hold_run(files.folder / "service"),
        pytest.raises(CheckpointError, match="another process"),
    ):
        service.serve(config, say=print)
