"""Edge SDK and its peers, side by side: `make bench`, or `run.py --venvs DIR --out FILE`.

Every measurement is a fresh process on one thread, and the peers take turns, so that a busy machine
slows all of them alike. A figure is the median over those processes; `cpu_ms` is the median CPU
time of one adaptation (5 steps), from the examples on. A peer that is not installed is reported as
missing; one whose losses are not those of the reference is reported as wrong, and not compared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from core_size import core_size
from work import LOSS_TOLERANCE, STEPS, TASKS

HERE = Path(__file__).parent
FIGURES = (
    "cpu_ms", "wall_ms", "open_and_first_ms", "open_and_first_cpu_ms", "memory_added_mb",
    "loss_gap",
)  # fmt: skip
COMPARED = ("cpu_ms", "open_and_first_cpu_ms", "memory_added_mb")
SLOW_MS = 1000.0  # a peer that takes longer is measured in one process only


@dataclass(frozen=True)
class Peer:
    """A runtime: its name in the results, its module here, its environment's folder."""

    name: str
    module: str
    venv: str | None = None

    def python(self, venvs: Path) -> Path:
        """The interpreter that has it installed."""
        return venvs / self.venv / "bin" / "python" if self.venv else Path(sys.executable)


US = Peer("edge", "peer_edge")
PEERS = (
    US,
    Peer("torch", "peer_torch"),
    Peer("ort-training", "peer_ort_training", "ort-training"),
    Peer("litert", "peer_litert", "litert"),
    Peer("mnn", "peer_mnn", "mnn"),
    Peer("executorch", "peer_executorch", "executorch"),
)


def ask(peer: Peer, venvs: Path, action: str, *arguments: str) -> object:
    """Run `one_run.py` in the peer's environment.

    Raises:
        RuntimeError: The peer is not installed, or failed; holds the end of its output.
    """
    python = peer.python(venvs)
    if not python.exists():
        msg = f"not installed; see {HERE.name}/make_venvs.sh"
        raise RuntimeError(msg)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    environment |= {"OPENBLAS_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(  # noqa: S603  (our own script)
        [python, HERE / "one_run.py", action, peer.module, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise RuntimeError(last)
    return json.loads(done.stdout.splitlines()[-1])["result"]


def prepare(task: str, venvs: Path, work: Path) -> dict[str, str]:
    """Have each peer write what it loads, if it has not yet; gives those that cannot, and why."""
    missing: dict[str, str] = {}
    for peer in PEERS:
        folder = work / peer.name / task
        if (folder / "prepared").exists():
            continue
        try:
            ask(peer, venvs, "prepare", "--task", task, "--folder", str(folder))
            (folder / "prepared").touch()
        except RuntimeError as error:
            missing[peer.name] = str(error)
    return missing


def compare(task: str, venvs: Path, work: Path, repeats: int, seconds: float) -> dict[str, object]:
    """All peers on one task, taking turns."""
    missing = prepare(task, venvs, work)
    rows: dict[str, list[dict[str, float]]] = {p.name: [] for p in PEERS if p.name not in missing}
    for _ in range(repeats):
        for peer in PEERS:
            if peer.name not in rows or is_slow(rows[peer.name]):
                continue
            folder = str(work / peer.name / task)
            arguments = ("--task", task, "--folder", folder, "--seconds", str(seconds))
            try:
                row = ask(peer, venvs, "measure", *arguments)
            except RuntimeError as error:
                missing[peer.name] = str(error)
                del rows[peer.name]
                continue
            assert isinstance(row, dict)  # noqa: S101  (one_run.py's own output)
            rows[peer.name].append(row)
    results = {name: summary(found) for name, found in rows.items()}
    wrong = sorted(n for n, r in results.items() if not r["loss_gap"] <= LOSS_TOLERANCE)
    right = {n: r for n, r in results.items() if n not in (US.name, *wrong)}
    report: dict[str, object] = {"peers": results}
    for figure in COMPARED:
        ours = results[US.name][figure]
        ratios = {n: float(f"{ours / max(r[figure], 1e-9):.4g}") for n, r in right.items()}
        report[f"our_{figure}_over"] = ratios
        report[f"our_{figure}_over_best"] = max(ratios.values(), default=None)
    return {**report, "missing": missing, "wrong": wrong}


def is_slow(rows: list[dict[str, float]]) -> bool:
    """Whether one process with this peer was enough."""
    return bool(rows) and rows[0]["cpu_ms"] > SLOW_MS


def summary(rows: list[dict[str, float]]) -> dict[str, float]:
    """Medians over processes, and the least and largest CPU time."""
    figures = {key: statistics.median(row[key] for row in rows) for key in FIGURES}
    cpu = [row["cpu_ms"] for row in rows]
    figures |= {"cpu_ms_least": min(cpu), "cpu_ms_largest": max(cpu), "processes": len(rows)}
    return {key: float(f"{value:.5g}") for key, value in figures.items()}


def predicting(tasks: list[str], venvs: Path, work: Path) -> dict[str, object]:
    """`predict` beside bare ONNX Runtime, for each task's own predict.onnx."""
    found = {}
    for task in tasks:
        folder = str(work / US.name / task)
        found[task] = ask(US, venvs, "predict", "--task", task, "--folder", folder)
    return found


def machine() -> dict[str, object]:
    """The processor in words, without anything that names the host."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {"processor": model, "cores": os.cpu_count(), "system": platform.system()}


def main() -> None:
    """Measure, write the JSON and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venvs", type=Path, default=Path("build/bench-venvs"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/device.json"))
    parser.add_argument("--work", type=Path, help="keep what the peers load here, and use it again")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    args = parser.parse_args()
    versions = {}
    for peer in PEERS:
        try:
            versions[peer.name] = ask(peer, args.venvs, "version")
        except RuntimeError as error:
            versions[peer.name] = f"missing: {error}"
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or Path(temporary)
        tasks = {
            task: compare(task, args.venvs, work, args.repeats, args.seconds) for task in args.tasks
        }
        predict = predicting(args.tasks, args.venvs, work)
    options = f"--repeats {args.repeats} --seconds {args.seconds:g} --tasks {' '.join(args.tasks)}"
    report = {
        "command": f"python benchmarks/device/run.py {options}",
        "figure": f"median CPU ms of one adaptation ({STEPS} steps) on one thread; see run.py",
        "machine": machine(),
        "python": platform.python_version(),
        "versions": versions,
        "tasks": tasks,
        "predict": predict,
        "core": core_size(),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    for task, result in tasks.items():
        sys.stdout.write(f"{task}: {json.dumps(result['our_cpu_ms_over'])}\n")


if __name__ == "__main__":
    main()
