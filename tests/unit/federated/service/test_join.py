"""What a device does when its SuperNode ends, without Flower's processes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Self

import pytest

from edge_sdk.errors import InvalidOptionError
from federated.errors import DeploymentError
from federated.service import join as module
from federated.service.join import JoinOptions, join
from federated.service.restarts import Restarts
from federated.service.roster import make_keys
from federated.settings import ClientSettings

if TYPE_CHECKING:
    from pathlib import Path

REFUSED = "[code: 2004] Failed to activate SuperNode."


class Nodes:
    """SuperNodes that end at once, each with the next of some last words."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.commands: list[list[str]] = []

    def __call__(self, logs: Path, environment: object) -> Nodes:
        del environment
        self.log = logs / "supernode.log"
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.log.with_name("stopped").touch()

    def start(self, name: str, command: list[str]) -> None:
        assert name == "supernode"
        self.commands.append(command)
        with self.log.open("a") as log:
            log.write(self.words.pop(0))

    def exit_status(self, name: str) -> int:
        assert name == "supernode"
        return 1

    def log_tail(self, name: str) -> str:
        return f"the log of {name}"


@pytest.fixture
def options(tmp_path: Path, tiny_labelled_bundle: Path) -> JoinOptions:
    (tmp_path / "ca.pem").touch()
    (tmp_path / "home").mkdir()
    make_keys(tmp_path / "device.key")
    return JoinOptions(
        superlink="localhost:9",
        authority=tmp_path / "ca.pem",
        key=tmp_path / "device.key",
        client=ClientSettings(
            client_id="ann", bundle=str(tiny_labelled_bundle), home=str(tmp_path / "home")
        ),
        folder=tmp_path / "home.node",
        patience_s=0.0,
    )


def run(options: JoinOptions, words: list[str], monkeypatch: pytest.MonkeyPatch) -> Nodes:
    nodes = Nodes(words)
    monkeypatch.setattr(module, "ProcessSet", nodes)
    monkeypatch.setattr(module, "_RETRY_S", 0.0)
    monkeypatch.setattr(module, "Restarts", partial(Restarts, sleep=lambda _: None))
    join(options, say=print)
    return nodes


def test_a_key_that_is_refused_says_what_to_register(
    options: JoinOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DeploymentError, match=r"registers .*device\.key\.pub"):
        run(options, [REFUSED], monkeypatch)
    assert (options.folder / "logs" / "stopped").exists()


def test_a_key_that_is_refused_after_a_crash_is_tried_again(
    options: JoinOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = replace(options, patience_s=60.0)
    words = ["a crash", REFUSED, REFUSED, "CERTIFICATE_VERIFY_FAILED"]
    with pytest.raises(DeploymentError, match="is not of the authority"):
        run(patient, words, monkeypatch)
    assert words == []


def test_one_that_dies_too_often_is_given_up(
    options: JoinOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DeploymentError, match=r"given up after .*the log of supernode"):
        run(options, ["a crash"] * 30, monkeypatch)


@pytest.mark.parametrize("name", ["ca.pem", "device.key"])
def test_a_missing_file_is_named(
    options: JoinOptions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).unlink()
    with pytest.raises(InvalidOptionError, match=name):
        run(options, [], monkeypatch)


@pytest.mark.parametrize("where", ["localhost", "localhost:", ":9092", "localhost:x", "h:70000"])
def test_an_address_without_a_host_or_a_port_is_refused(
    options: JoinOptions, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    with pytest.raises(InvalidOptionError, match="HOST:PORT"):
        run(replace(options, superlink=where), [], monkeypatch)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"home": "nowhere"}, "nowhere is no home"),
        ({"bundle": "nowhere"}, "nowhere is no bundle"),
        ({"identity_key": "nowhere"}, "no identity key at nowhere"),
        ({"roster": "nowhere"}, "no roster at nowhere"),
        ({"key_file": "nowhere"}, "no key of the home at nowhere"),
    ],
)
def test_what_rounds_would_lack_later_is_missed_now(
    options: JoinOptions, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], says: str
) -> None:
    client = replace(options.client, **changes)  # type: ignore[arg-type]
    with pytest.raises(InvalidOptionError, match=says):
        run(replace(options, client=client), [], monkeypatch)


def test_a_file_that_is_no_private_key_is_refused(
    options: JoinOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = options.key.with_name("device.key.pub")
    with pytest.raises(InvalidOptionError, match="no private key of a device"):
        run(replace(options, key=public), [], monkeypatch)


def test_a_service_that_is_not_there_yet_is_waited_for_aloud(
    options: JoinOptions, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DeploymentError):
        run(options, ["CERTIFICATE_VERIFY_FAILED"], monkeypatch)
    assert "localhost:9 does not answer yet" in capsys.readouterr().out
