from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from edge_sdk import open_bundle


def test_the_demo_goes_once_round(tmp_path: Path) -> None:
    command = [
        str(Path(sys.executable).with_name("edge-sdk")),
        *("demo", "--quick", "--seeds", "2", "--work", "work"),
        *("--out", "report.html", "--json", "figures.json"),
    ]
    environment = {k: v for k, v in os.environ.items() if k != "EDGE_SDK_DATA"}
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**environment, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    html = (tmp_path / "report.html").read_text("utf-8")
    assert html.count("<svg") == 8
    (study,) = json.loads((tmp_path / "figures.json").read_text())["studies"]
    assert study["personal"]["forget_exact"]
    assert study["personal"]["reopened_same"]
    assert study["personal"]["predicted_after"] == 0
    assert study["federated"]["before"]["mean"] == 0.1  # a tie, which the first label wins
    assert study["federated"]["lift"]["mean"] > 0.1  # hardly trained, and yet
    folder = tmp_path / "work" / "digits"
    base, labelled, new = (open_bundle(folder / name) for name in ("base", "labelled", "federated"))
    assert [b.manifest.version for b in (base, labelled, new)] == [1, 2, 3]
    assert [labelled.manifest.parent, new.manifest.parent] == [base.digest, labelled.digest]
    assert not (folder / "homes").exists()
    for line in ("new user, 1 example", "Missed on digits" if _missed(study) else "All targets"):
        assert line in done.stdout


def _missed(study: dict[str, list[dict[str, bool]]]) -> bool:
    return not all(check["met"] for check in study["checks"])
