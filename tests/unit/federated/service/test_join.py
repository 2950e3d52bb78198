"""What a device does when its SuperNode ends, without Flower's processes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Self

import pytest

from edge_sdk.errors import InvalidOptionError
from federated.errors import DeploymentError
from federated.service import join as module
from federated.service.join import JoinOptions, join
from federated.service.restarts import Restarts
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
    for name in ("ca.pem", "device.key"):
        (tmp_path / name).touch()
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
    patient = JoinOptions(
        **{name: getattr(options, name) for name in JoinOptions.__slots__} | {"patience_s": 60.0}
    )
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
