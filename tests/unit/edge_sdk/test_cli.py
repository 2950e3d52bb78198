"""The `edge-sdk` command: inspect, lazy sub-commands, and errors as one clean line."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("typer", reason="needs the extra cli")

from typer.testing import CliRunner

from edge_sdk.cli import group
from edge_sdk.cli.app import app
from edge_sdk.errors import BadBundleError
from edge_sdk.manifest import FeaturesSpec, FileEntry, InputSpec, Manifest, TensorSpec
from edge_sdk.manifest_json import encode_manifest
from tests.support.onnx_wire import padded

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

CONTENTS = {
    "init.onnx": padded(5000),
    "embed.onnx": padded(3_000_000),
    "adapt.onnx": padded(100),
    "predict.onnx": padded(200),
    "MODEL_CARD.md": b"# card\n",
}


def make_manifest(labels: tuple[str, ...] = ()) -> Manifest:
    return Manifest(
        name="glyphs-prototypical",
        version=3,
        parent="ab" * 32,
        learner="prototypical",
        adaptation="closed_form",
        steps=1,
        ways=32,
        labels=labels,
        input=InputSpec(shape=(1, 28, 28), description="ink 1, paper 0"),
        features=FeaturesSpec(shape=(256,)),
        state=(
            TensorSpec(name="prototypes", shape=(32, 256), role="slot"),
            TensorSpec(name="counts", shape=(32,), role="personal"),
        ),
        quantization={"embed": "int8", "init": "float32", "target": "x86"},
        quality={"fp32_accuracy": 0.5, "int8_accuracy": 0.25},
        provenance={"seed": 0},
        files={
            name: FileEntry(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
            for name, data in CONTENTS.items()
        },
    )


@pytest.fixture
def write_folder(tmp_path: Path) -> Callable[[Manifest], Path]:
    """Write a bundle whose graphs hold nothing: enough for what reads the manifest."""

    def write(manifest: Manifest) -> Path:
        folder = tmp_path / "bundle"
        folder.mkdir()
        for name, data in CONTENTS.items():
            (folder / name).write_bytes(data)
        raw = encode_manifest(manifest)
        (folder / "manifest.json").write_bytes(raw)
        (folder / "manifest.sha256").write_text(hashlib.sha256(raw).hexdigest() + "\n", "ascii")
        return folder

    return write


def run(*arguments: str, columns: int = 80) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": str(columns)})


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    """Make `source` the module behind the sub-command `command`, the only one there is."""

    def install(command: str, source: str) -> str:
        module = f"plugin_of_{tmp_path.name}"
        (tmp_path / f"{module}.py").write_text(source, "utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        point = EntryPoint(command, f"{module}:app", group.ENTRY_POINT_GROUP)
        monkeypatch.setattr(group, "entry_points", lambda **_: [point])
        return module

    return install


TYPER_APP = """
import typer
app = typer.Typer(help="Makes things.")

@app.callback()
def root() -> None: ...

@app.command()
def go() -> None:
    {body}
"""


@pytest.mark.parametrize("columns", [60, 80])
def test_inspect_fits_the_terminal_and_shows_everything(
    write_folder: Callable[[Manifest], Path], columns: int
) -> None:
    result = run("inspect", str(write_folder(make_manifest())), columns=columns)
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= columns
    words = " ".join(result.output.split())
    for word in (
        "glyphs-prototypical, version 3",
        "prototypical (closed form)",
        "up to 32",
        "float32 [n, 1, 28, 28]: ink 1, paper 0",
        "embed int8",
        "int8_accuracy 0.25",
        "abababababab",
        "prototypes [32, 256] slot 32.0 KiB",
        "counts [32] personal 128 B",
        *CONTENTS,
        "2.9 MiB",
    ):
        assert word in words


def test_inspect_json_is_the_manifest_and_its_digest(
    write_folder: Callable[[Manifest], Path],
) -> None:
    folder = write_folder(make_manifest(("zero", "one")))
    raw = (folder / "manifest.json").read_bytes()
    result = run("inspect", str(folder), "--json")
    assert result.exit_code == 0
    assert json.loads(result.output) == {
        "digest": hashlib.sha256(raw).hexdigest(),
        "manifest": json.loads(raw),
    }


def test_inspect_shows_some_labels_and_no_control_characters(
    write_folder: Callable[[Manifest], Path],
) -> None:
    labels = ("\x1b[31mred", "[bold]b", *map(str, range(12)))
    result = run("inspect", str(write_folder(make_manifest(labels))))
    assert "?[31mred, [bold]b, 0, 1" in result.output
    assert "and 2 more" in result.output
    assert "\x1b" not in result.output


def test_a_damaged_bundle_gives_one_line_on_stderr(
    write_folder: Callable[[Manifest], Path],
) -> None:
    folder = write_folder(make_manifest())
    (folder / "adapt.onnx").write_bytes(b"b" * 100)
    result = run("inspect", str(folder))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("edge-sdk: adapt.onnx does not match its SHA-256")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("how", ["option", "environment"])
def test_debug_lets_the_error_through(tmp_path: Path, how: str) -> None:
    arguments = ["inspect", str(tmp_path / "absent")]
    if how == "option":
        result = CliRunner().invoke(app, ["--debug", *arguments])
    else:
        result = CliRunner().invoke(app, arguments, env={"EDGE_SDK_DEBUG": "1"})
    assert isinstance(result.exception, BadBundleError)


def test_sub_commands_are_imported_only_when_named(
    plugin: Callable[[str, str], str], tmp_path: Path
) -> None:
    module = plugin("export", TYPER_APP.format(body="typer.echo('gone')"))
    run("inspect", str(tmp_path))
    assert module not in sys.modules
    result = run("export", "go")
    assert (result.exit_code, result.output) == (0, "gone\n")
    assert module in sys.modules


@pytest.mark.parametrize(
    ("command", "extras"),
    [("export", "export"), ("federated", "federated"), ("demo", "export,federated")],
)
def test_a_command_without_its_extra_says_what_to_install(
    plugin: Callable[[str, str], str], command: str, extras: str
) -> None:
    plugin(command, "import surely_not_installed.part")
    result = run(command, "train", "--steps", "3")
    assert result.exit_code == 2
    assert result.stderr == (
        f"edge-sdk: {command} needs surely_not_installed; "
        f"install it with: pip install 'edge-sdk[{extras}]'\n"
    )


def test_help_lists_a_command_whose_extra_is_missing(plugin: Callable[[str, str], str]) -> None:
    plugin("export", "import surely_not_installed")
    result = run("--help")
    assert result.exit_code == 0
    assert "inspect" in result.output
    assert "surely_not_installed is not installed" in result.output


def test_an_import_that_fails_while_a_command_runs_says_what_to_install(
    plugin: Callable[[str, str], str],
) -> None:
    plugin("export", TYPER_APP.format(body="import surely_not_installed"))
    result = run("export", "go")
    assert result.exit_code == 2
    assert "pip install 'edge-sdk[export]'" in result.stderr


def test_a_missing_module_of_our_own_is_a_bug_and_shown_as_one(
    plugin: Callable[[str, str], str],
) -> None:
    plugin("export", "import edge_sdk.no_such_module")
    assert isinstance(run("export", "go").exception, ModuleNotFoundError)


def test_an_entry_point_that_is_no_typer_app_is_refused(
    plugin: Callable[[str, str], str],
) -> None:
    plugin("export", "app = 3")
    assert isinstance(run("export", "go").exception, TypeError)


def test_unknown_commands_exit_2() -> None:
    assert run("no-such-command").exit_code == 2


def test_version() -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert result.output.startswith("edge-sdk ")


BLOCK_CLI_EXTRA = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"click", "rich", "typer"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Block())
from edge_sdk.cli import main
main()
"""


def test_without_the_extra_the_command_says_what_to_install() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCK_CLI_EXTRA], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "edge-sdk: the command line needs typer; install it with: pip install 'edge-sdk[cli]'\n"
    )
