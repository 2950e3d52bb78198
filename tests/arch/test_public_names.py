"""The public names of edge_sdk are documented, and the stub of the C++ module tells the truth."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import edge_sdk
from tests.arch.import_graph import ROOT

ALLOWLIST = Path(__file__).with_name("stubtest_allowlist.txt")


def own_callables(cls: type) -> dict[str, object]:
    """Public methods and properties that a class of this project defines itself."""
    return {
        name: member
        for name, member in vars(cls).items()
        if not name.startswith("_")
        and (callable(member) or isinstance(member, (property, classmethod, staticmethod)))
    }


def test_all_lists_each_name_once_in_order() -> None:
    assert list(edge_sdk.__all__) == sorted(set(edge_sdk.__all__))


def test_everything_imported_into_the_package_is_listed() -> None:
    values = {name: value for name, value in vars(edge_sdk).items() if not name.startswith("_")}
    public = {n for n, v in values.items() if inspect.isclass(v) or inspect.isfunction(v)}
    assert public <= set(edge_sdk.__all__)


@pytest.mark.parametrize("name", edge_sdk.__all__)
def test_a_public_name_is_documented(name: str) -> None:
    value = getattr(edge_sdk, name)
    if not callable(value):
        return
    assert inspect.getdoc(value)
    if inspect.isclass(value):
        bare = [n for n, member in own_callables(value).items() if not inspect.getdoc(member)]
        assert not bare


def test_the_stub_of_the_core_equals_the_module() -> None:
    done = subprocess.run(
        [
            sys.executable, "-m", "mypy.stubtest", "edge_sdk._core",
            "--allowlist", ALLOWLIST,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
