from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from edge_sdk import open_bundle
from edge_sdk.cli.app import app
from edge_sdk.store import FILE_NAME
from federated import deploy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from federated.round_core import RoundOptions


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["federated", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_label_writes_a_version_with_labels(tiny_bundle: Path, tmp_path: Path) -> None:
    status, out, _ = run(
        "label", tiny_bundle, "--label", "circle", "--label", "square", "--out", tmp_path / "named"
    )
    assert status == 0
    named = open_bundle(tmp_path / "named")
    assert named.manifest.labels == ("circle", "square")
    assert named.digest in out.replace("\n", "")


def simulate_arguments(bundle: Path, out: Path) -> list[object]:
    return [
        "simulate", bundle, "--tasks", "digits", "--writers", 4, "--held-out", 3, "--images", 3,
        "--rounds", 2, "--cohort", 3, "--clipping-norm", 5, "--out", out,
    ]  # fmt: skip


def test_simulate_reports_old_against_new_with_intervals(
    patches_bundle: Path, tmp_path: Path
) -> None:
    status, out, _ = run(*simulate_arguments(patches_bundle, tmp_path / "new"), "--json")
    assert status == 0
    report = json.loads(out)
    assert report["new_digest"] == open_bundle(tmp_path / "new").digest
    assert report["start_digest"] == open_bundle(tmp_path / "new-start").digest
    assert report["gain"]["count"] == 3
    assert report["gain"]["mean"] == pytest.approx(
        report["after"]["mean"] - report["before"]["mean"]
    )
    assert [entry["num_accepted"] for entry in report["rounds"]] == [3, 3]


def test_private_rounds_spend_a_budget_and_the_bundle_says_so(
    patches_bundle: Path, tmp_path: Path
) -> None:
    private = ["--epsilon", 30, "--noise-multiplier", 0.7, "--noise-seed", 1, "--ledger"]
    arguments = [*simulate_arguments(patches_bundle, tmp_path / "new"), *private, tmp_path / "led"]
    status, out, err = run(*arguments, "--json")
    assert status == 0, err
    report = json.loads(out)["privacy"]
    assert (report["unit"], report["relation"]) == ("user", "add-or-remove-one")
    assert (report["rounds"], report["sampling_rate"]) == (2, 0.75)
    assert 0 < report["epsilon"] == report["epsilon_pld"] <= 30

    new = open_bundle(tmp_path / "new")
    assert new.manifest.provenance["privacy"] == report
    (entry,) = new.manifest.provenance["federated"]  # type: ignore[misc]
    assert entry["privacy"] == report
    assert not {"num_updates", "seed"} & set(entry)
    card = new.files["MODEL_CARD.md"].decode()
    assert f"epsilon {report['epsilon']:g}" in card
    assert "there is no guarantee" in card  # its noise came from a seed
    shown = CliRunner().invoke(app, ["inspect", str(tmp_path / "new")]).stdout
    assert "unit user" in " ".join(shown.split())

    again = [*simulate_arguments(tmp_path / "new", tmp_path / "newer"), *private, tmp_path / "led"]
    status, _, err = run(*again, "--rounds", 60)
    assert status == 1
    assert "the budget is 30" in " ".join(err.split())
    assert not (tmp_path / "newer").exists()


def test_distributed_noise_gives_a_bundle_too(patches_bundle: Path, tmp_path: Path) -> None:
    status, out, err = run(
        *simulate_arguments(patches_bundle, tmp_path / "new"), "--json",
        "--epsilon", 30, "--noise-multiplier", 0.9, "--noise", "distributed",
        "--min-contributors", 2, "--sampling", "fixed",
    )  # fmt: skip
    assert status == 0, err
    report = json.loads(out)
    assert (report["privacy"]["noise"], report["privacy"]["relation"]) == (
        "distributed",
        "zero-out",
    )
    assert [entry["num_accepted"] for entry in report["rounds"]] == [3, 3]
    assert (tmp_path / "new.ledger").exists()


def test_simulate_prints_tables_for_people(patches_bundle: Path, tmp_path: Path) -> None:
    status, out, _ = run(*simulate_arguments(patches_bundle, tmp_path / "new"))
    assert status == 0
    for words in ("writers who took no part", "gain, paired", "25.0 %", "accuracy"):
        assert words in out


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("--rounds", 0, "rounds must be an integer >= 1"),
        ("--clipping-norm", 0, "clipping_norm must be finite and > 0"),
        ("--held-out", 1, "held_out must be >= 2"),
        ("--tasks", "letters", "tasks must be one of digits, glyphs, hapt, omniglot"),
        ("--prior-count", 0, "prior_count must be finite and > 0"),
    ],
)
def test_a_wrong_option_is_one_clean_line_and_writes_nothing(
    patches_bundle: Path, tmp_path: Path, option: str, value: object, complaint: str
) -> None:
    arguments = simulate_arguments(patches_bundle, tmp_path / "out" / "new")
    status, _, err = run(*arguments, option, value)
    assert status == 1
    assert complaint in " ".join(err.split())
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_not_replaced(patches_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "new-start").mkdir()
    for arguments in (
        simulate_arguments(patches_bundle, patches_bundle),
        simulate_arguments(patches_bundle, tmp_path / "new"),
        ["label", patches_bundle, "--label", "circle", "--out", patches_bundle],
    ):
        status, _, err = run(*arguments)
        assert status == 1
        assert "exists; name a folder that does not" in " ".join(err.split())


def test_run_gives_each_home_a_node(
    tiny_labelled_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Path, list[str], Path, RoundOptions]] = []

    def pretend(
        bundle: Path,
        homes: Sequence[Path],
        out: Path,
        options: RoundOptions,
        *_: object,
        **__: object,
    ) -> dict[str, Any]:
        asked.append((bundle, [home.name for home in homes], out, options))
        return {"bundle_digest": "d", "clients": [], "rounds": [], "evaluation": None}

    monkeypatch.setattr(deploy, "run_on_loopback", pretend)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    for name in ("bob", "ann"):
        (tmp_path / "homes" / name).mkdir(parents=True)
        (tmp_path / "homes" / name / FILE_NAME).touch()
    (tmp_path / "homes" / ".cache").mkdir()
    (tmp_path / "homes" / "notes.txt").write_text("not a home")
    arguments = ["run", "--bundle", tiny_labelled_bundle, "--homes", tmp_path / "homes"]
    status, out, _ = run(*arguments, "--rounds", 4, "--out", tmp_path / "new", "--json")

    assert status == 0
    assert json.loads(out)["bundle_digest"] == "d"
    ((bundle, homes, target, options),) = asked
    assert (bundle, homes, target) == (tiny_labelled_bundle, ["ann", "bob"], tmp_path / "new")
    assert options.rounds == 4


def test_run_without_homes_says_what_to_do(tiny_labelled_bundle: Path, tmp_path: Path) -> None:
    arguments = ["run", "--bundle", tiny_labelled_bundle, "--out", tmp_path / "new", "--homes"]
    status, _, err = run(*arguments, tmp_path / "lost")
    assert status == 1
    assert "one Personalizer home for each user" in " ".join(err.split())
    (tmp_path / "empty").mkdir()
    status, _, err = run(*arguments, tmp_path / "empty")
    assert status == 1
    assert "teach at least one user first" in " ".join(err.split())


def test_simulate_without_the_exporters_packages_says_what_to_install(
    patches_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "federated.population", raising=False)
    monkeypatch.delitem(sys.modules, "export.tasks.digits", raising=False)
    monkeypatch.setitem(sys.modules, "export.tasks.digits", None)  # type: ignore[arg-type]
    status, _, err = run(*simulate_arguments(patches_bundle, tmp_path / "new"))
    assert status == 2
    assert "pip install 'edge-sdk[export,federated]'" in " ".join(err.split())
