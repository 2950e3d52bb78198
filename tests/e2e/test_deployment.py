"""A deployment on loopback, with TLS and authenticated nodes: who is let in, and what a kill costs.

The service and the devices are the processes that `edge-sdk federated serve` and `join` start.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest

pytest.importorskip("cryptography", reason="needs the extra secure")
with warnings.catch_warnings():  # as in tests/unit/federated/conftest.py
    warnings.filterwarnings("ignore", r"'click\.utils\.", DeprecationWarning)
    from flwr.supercore.control import ControlHttpClient

from flwr.proto.control_pb2 import ListNodesRequest, RegisterNodeRequest, StartRunRequest
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.runtime import RuntimeHttpClient

from edge_sdk import Engine, Personalizer, open_bundle
from federated.next_bundle import name_labels
from federated.service.certificates import ensure_certificates
from federated.service.config import DeploymentOptions
from federated.service.files import DeploymentFiles
from federated.service.roster import make_keys, read_public_key, register, revoke
from tests.support.live_processes import MARK, marked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="what is left is looked up in /proc"),
]

PROGRAM = str(Path(sys.executable).with_name("edge-sdk"))
DEVICES = ("ann", "bob")
PATIENCE_S = 420.0
CONFIG = """
[server]
out = "{out}"
report = "{out}.json"
min_clients = 2
join_deadline_s = 120.0
round_deadline_s = 120.0

[rounds]
rounds = 2
cohort_size = 2
server_lr = 0.75
clipping_norm = 0.8
seed = 4

[deployment]
port = {port}
"""


def wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not come about"
        time.sleep(0.02)


@dataclass
class Site:
    """A folder with a bundle, three users' homes and keys, and the processes started there."""

    folder: Path
    port: int
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.out").open("wb") as out:
            process = subprocess.Popen(
                [PROGRAM, "federated", *arguments],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    MARK: self.mark,
                    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.2",
                    "OMP_NUM_THREADS": "1",
                },
            )
        self.running.append(process)
        return process

    def join(self, client: str) -> subprocess.Popen[bytes]:
        return self.start(
            client, "join", f"localhost:{self.port}", "--client", client, "--key", f"{client}.key",
            "--home", f"homes/{client}", "--bundle", "bundle", "--ca", "deployment/ca.pem",
            "--patience-s", "0",
        )  # fmt: skip

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.out").read_text()

    @property
    def files(self) -> DeploymentFiles:
        return DeploymentFiles.of(DeploymentOptions(folder=str(self.folder / "deployment")))

    @property
    def mark(self) -> str:
        return f"{os.getpid()}-{self.port}"

    def processes(self, command: str = "") -> list[int]:
        """Live processes of this site whose command line holds `command`."""
        return marked(self.mark, command)

    def kill(self, command: str) -> None:
        (pid,) = self.processes(command)
        os.kill(pid, signal.SIGKILL)

    def times_asked(self) -> int:
        """How many train messages have reached ann and bob."""
        logs = [self.folder / "homes" / f"{n}.node" / "logs" / "supernode.log" for n in DEVICES]
        return sum(log.read_text().count("Receiving: train message") for log in logs)

    def has_resumed(self, out: str) -> bool:
        return b'"kind": "resumed"' in (self.folder / f"{out}.run.jsonl").read_bytes()

    def next_round(self, out: str) -> int:
        try:
            with np.load(self.folder / f"{out}.checkpoint") as arrays:
                about = arrays["about"].tobytes()
        except FileNotFoundError:
            return 0
        return int(about.split(b'"next_round": ')[1].split(b",")[0])


@pytest.fixture
def site(tmp_path: Path, tiny_gradient_bundle: Path) -> Iterator[Site]:
    base = open_bundle(tiny_gradient_bundle)
    name_labels(tmp_path / "bundle", base, ["circle", "square"], prior_count=1.0)
    rng = np.random.default_rng(0)
    for name in ("ann", "bob", "eve", "mal"):
        with Personalizer(tmp_path / "bundle", home=tmp_path / "homes" / name) as personalizer:
            for label in ("circle", "square"):
                personalizer.teach(label, rng.normal(size=(3, 1, 4, 4)).astype(np.float32))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for out in ("undisturbed", "disturbed"):
        (tmp_path / f"{out}.toml").write_text(CONFIG.format(out=out, port=port))
    made = Site(tmp_path, port)
    try:
        yield made
    finally:
        for process in made.running:
            if process.poll() is None:
                process.kill()
            process.wait()
        deadline = time.monotonic() + 10
        while left := made.processes():
            if time.monotonic() > deadline:
                for pid in left:
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)


def refused_without_secrets(site: Site) -> None:
    """Who knows neither token nor secret can command nothing and take no task."""
    where = {
        "server_address": f"localhost:{site.port}",
        "insecure": False,
        "root_certificates": site.files.authority.read_bytes(),
        "interceptors": [RuntimeVersionHttpInterceptor(component_name="test")],
    }
    with closing(ControlHttpClient.from_server_address(**where)) as control:
        calls = [
            lambda: control.RegisterNode(RegisterNodeRequest()),
            lambda: control.StartRun(StartRunRequest()),
            lambda: control.ListNodes(ListNodesRequest()),
        ]
        with closing(RuntimeHttpClient.from_server_address(**where)) as runtime:
            calls.append(lambda: runtime.AcquireTask(AcquireTaskRequest()))
            for call in calls:
                with pytest.raises(httpx.HTTPStatusError) as caught:
                    call()
                assert caught.value.response.status_code == 401


def test_strangers_stay_out_and_kills_leave_the_same_state(site: Site) -> None:
    ensure_certificates(site.files, DeploymentOptions())
    for name in ("ann", "bob", "eve", "mal"):
        public = make_keys(site.folder / f"{name}.key")
        if name != "eve":
            register(site.files.roster, name, read_public_key(public))

    # Undisturbed, while who may not join tries to.
    serve = site.start("serve", "serve", "undisturbed.toml")
    devices = [site.join(name) for name in DEVICES]
    wait_until(lambda: "the rounds begin" in site.said("serve"), "a run")
    eve = site.join("eve")
    refused_without_secrets(site)
    wait_until(lambda: site.next_round("undisturbed") > 0, "the first round")
    mal = site.join("mal")  # too late for these rounds, which have their clients
    log = site.folder / "homes" / "mal.node" / "logs" / "supernode.log"
    wait_until(lambda: log.exists() and "SuperNode ID" in log.read_text(), "mal's connection")
    revoke(site.files.roster, "mal")
    assert serve.wait(PATIENCE_S) == 0, site.said("serve")

    assert eve.wait(PATIENCE_S) == 1
    assert "the service refuses this device's key" in site.said("eve")

    # The same rounds, with the ServerApp and the SuperLink killed in the midst of one.
    serve = site.start("again", "serve", "disturbed.toml")
    assert mal.wait(PATIENCE_S) == 1
    assert "the service refuses this device's key" in site.said("mal")
    wait_until(lambda: site.next_round("disturbed") == 1, "the first round")
    site.kill("flwr-serverapp")
    asked = site.times_asked()
    wait_until(
        lambda: site.has_resumed("disturbed") and site.times_asked() > asked,
        "the second round, again",
    )
    site.kill("flower_process superlink")
    assert serve.wait(PATIENCE_S) == 0, site.said("again")
    said = site.said("again")
    assert "the ServerApp has ended before its time" in said
    assert "the superlink ended with status -9" in said

    want, got = (open_bundle(site.folder / out) for out in ("undisturbed", "disturbed"))
    want_state, got_state = (Engine(bundle).initial_state() for bundle in (want, got))
    start = Engine(site.folder / "bundle").initial_state()
    assert np.abs(want_state["mixing"] - start["mixing"]).max() > 1e-3
    for name in want_state.names:
        np.testing.assert_array_equal(got_state[name], want_state[name])
    assert got.digest == want.digest
    assert not list(site.folder.glob("*.checkpoint"))

    # A device that is killed leaves nothing either.
    assert all(device.poll() is None for device in devices)
    for device in devices:
        device.kill()
    wait_until(lambda: site.processes() == [], "the end of all processes")
