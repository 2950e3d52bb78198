"""Edge SDK and its peers, side by side: `make bench`, or `run.py --venvs DIR --out FILE`.

Every measurement is a fresh process on one thread, and the peers take turns, so that a busy machine
slows all of them alike. A figure is the median over those processes of the median CPU time of one
adaptation (5 steps). A peer that is not installed is reported as missing; one whose losses are not
those of the reference is reported as wrong.
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

from work import LOSS_TOLERANCE, STEPS, TASKS

HERE = Path(__file__).parent
FIGURES = ("cpu_ms", "wall_ms", "load_and_first_ms", "memory_added_mb", "loss_gap")


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


def compare(task: str, venvs: Path, work: Path, repeats: int, seconds: float) -> dict[str, object]:
    """All peers on one task, taking turns."""
    missing: dict[str, str] = {}
    rows: dict[str, list[dict[str, float]]] = {}
    for peer in PEERS:
        try:
            ask(peer, venvs, "prepare", "--task", task, "--folder", str(work / peer.name / task))
            rows[peer.name] = []
        except RuntimeError as error:
            missing[peer.name] = str(error)
    for _ in range(repeats):
        for peer in PEERS:
            if peer.name not in rows:
                continue
            folder = str(work / peer.name / task)
            arguments = ("--task", task, "--folder", folder, "--seconds", str(seconds))
            row = ask(peer, venvs, "measure", *arguments)
            assert isinstance(row, dict)  # noqa: S101  (one_run.py's own output)
            rows[peer.name].append(row)
    results = {name: summary(found) for name, found in rows.items()}
    right = {n: r for n, r in results.items() if r["loss_gap"] <= LOSS_TOLERANCE and n != US.name}
    ratios = {n: round(results[US.name]["cpu_ms"] / r["cpu_ms"], 4) for n, r in right.items()}
    wrong = sorted(set(results) - set(right) - {US.name})
    return {"peers": results, "our_cpu_over": ratios, "missing": missing, "wrong": wrong}


def summary(rows: list[dict[str, float]]) -> dict[str, float]:
    """Medians over processes, and the least and largest CPU time."""
    figures = {key: statistics.median(row[key] for row in rows) for key in FIGURES}
    cpu = [row["cpu_ms"] for row in rows]
    figures |= {"cpu_ms_least": min(cpu), "cpu_ms_largest": max(cpu), "processes": len(rows)}
    return {key: float(f"{value:.5g}") for key, value in figures.items()}


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
    with tempfile.TemporaryDirectory() as folder:
        tasks = {
            task: compare(task, args.venvs, Path(folder), args.repeats, args.seconds)
            for task in args.tasks
        }
    options = f"--repeats {args.repeats} --seconds {args.seconds:g} --tasks {' '.join(args.tasks)}"
    report = {
        "command": f"python benchmarks/device/run.py {options}",
        "figure": f"median CPU ms of one adaptation ({STEPS} steps) on one thread; see run.py",
        "machine": machine(),
        "python": platform.python_version(),
        "versions": versions,
        "tasks": tasks,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    for task, result in tasks.items():
        sys.stdout.write(f"{task}: {json.dumps(result['our_cpu_over'])}\n")


if __name__ == "__main__":
    main()
