"""Real Flower processes on loopback: their rounds end in the bundle that the simulator gives."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from edge_sdk import Engine, Personalizer, open_bundle
from federated.deploy import DeployOptions, run_on_loopback
from federated.errors import DeploymentError
from federated.next_bundle import RunSummary, name_labels, write_next_bundle
from federated.processes import MARK_NAME
from federated.round_core import RoundOptions
from federated.simulate import SimulatedClient, simulate

HERE = Path(__file__).parent
NODES = ("ann", "bob", "cat")
OPTIONS = RoundOptions(rounds=3, cohort_size=2, server_lr=0.75, clipping_norm=0.8, seed=4)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="what is left is looked up in /proc"),
]


def flower_processes() -> set[int]:
    """Live processes that a deployment of this test's own environment started."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        ours = f"EDGE_SDK_TEST={os.getpid()}".encode()
        if ours in environment.split(b"\0") and MARK_NAME.encode() in environment:
            found.add(int(entry.name))
    return found


@pytest.fixture
def bundle(tmp_path: Path, tiny_gradient_bundle: Path) -> Path:
    """A gradient learner with shared, slot and personal tensors; it names two of its slots."""
    base = open_bundle(tiny_gradient_bundle)
    name_labels(tmp_path / "bundle", base, ["circle", "square"], prior_count=1.0)
    return tmp_path / "bundle"


@pytest.fixture
def homes(tmp_path: Path, bundle: Path) -> list[Path]:
    """Three users' devices; one has taught a label of their own as well."""
    rng = np.random.default_rng(0)
    for node in NODES:
        with Personalizer(bundle, home=tmp_path / "homes" / node) as personalizer:
            for label in ("circle", "square"):
                personalizer.teach(label, rng.normal(size=(3, 1, 4, 4)).astype(np.float32))
            if node == "bob":
                personalizer.teach("bob's own", rng.normal(size=(2, 1, 4, 4)).astype(np.float32))
            personalizer.adapt()
    return [tmp_path / "homes" / node for node in NODES]


def simulated(bundle: Path, homes: list[Path], out: Path) -> None:
    """The same rounds in this process, written by the same writer."""
    engine = Engine(bundle)
    clients = []
    for home in homes:
        with Personalizer(bundle, home=home) as personalizer:
            features, slots = personalizer.support()
        clients.append(SimulatedClient(client_id=home.name, features=features, slots=slots))
    result = simulate(engine, clients, OPTIONS)
    summary = RunSummary.of(OPTIONS, result.reports, num_clients=len(clients))
    write_next_bundle(out, engine.bundle, result.shared, summary)


def test_flower_and_the_simulator_end_in_the_same_bundle(
    bundle: Path, homes: list[Path], tmp_path: Path
) -> None:
    watch = tmp_path / "imports"
    watch.mkdir()
    environment = {
        "EDGE_SDK_TEST": str(os.getpid()),
        "IMPORT_WATCH": str(watch),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(
            [str(HERE / "import_watch"), *filter(None, [os.environ.get("PYTHONPATH")])]
        ),
    }
    report = run_on_loopback(
        bundle, homes, tmp_path / "flower", OPTIONS, DeployOptions(environment=environment)
    )
    assert flower_processes() == set()

    # All rounds were whole: nobody was missing, refused or had to be clipped by the server.
    assert report["clients"] == list(NODES)
    assert [entry["num_accepted"] for entry in report["rounds"]] == [2, 2, 2]
    assert all(
        (entry["num_missing"], entry["num_clipped"], entry["refused"], entry["failed"])
        == (0, 0, {}, {})
        for entry in report["rounds"]
    )

    # The new bundle is the simulator's.
    simulated(bundle, homes, tmp_path / "simulated")
    old, new, want = (
        open_bundle(path) for path in (bundle, tmp_path / "flower", tmp_path / "simulated")
    )
    assert new.digest == report["bundle_digest"]
    assert (new.manifest.version, new.manifest.parent) == (old.manifest.version + 1, old.digest)
    got_state, want_state = Engine(new).initial_state(), Engine(want).initial_state()
    start = Engine(old).initial_state()
    assert got_state.names == want_state.names
    for name in got_state.names:
        np.testing.assert_allclose(got_state[name], want_state[name], rtol=0, atol=1e-6)
    assert np.abs(got_state["mixing"] - start["mixing"]).max() > 1e-3
    np.testing.assert_array_equal(got_state["counts"], start["counts"])

    # The client processes ran the device package, and neither torch nor the exporter.
    notes = {path.name: set(path.read_text().split()) for path in watch.iterdir()}
    clients = [seen for name, seen in notes.items() if name.startswith("flwr-clientapp-")]
    servers = [seen for name, seen in notes.items() if name.startswith("flwr-serverapp-")]
    assert len(clients) >= len(NODES)
    for seen in clients:
        assert {"federated.client_app", "edge_sdk.personalizer"} <= seen
        assert {name.partition(".")[0] for name in seen} <= {"edge_sdk", "federated", "onnxruntime"}
    assert any("export.bundle_writer" in seen for seen in servers)  # the watch sees imports


def test_a_run_that_fails_says_why_keeps_its_logs_and_leaves_no_process(
    bundle: Path, homes: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    environment = {"EDGE_SDK_TEST": str(os.getpid())}
    options = DeployOptions(join_deadline_s=0.01, environment=environment)
    with pytest.raises(DeploymentError, match="were online after") as caught:
        run_on_loopback(bundle, homes[:1], tmp_path / "new", OPTIONS, options)
    assert flower_processes() == set()
    assert not (tmp_path / "new").exists()
    assert str(tmp_path) in str(caught.value)
    assert list(tmp_path.glob("edge-sdk-flower-*/logs/superlink.log"))
