"""What an installed package holds: the bundles come along, and open without the checkout."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

import edge_sdk
from edge_sdk import _core, pretrained, pretrained_names
from tests.arch.import_graph import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("scikit_build_core", reason="needs the extra dev")

# Without `site` there is no editable install: edge_sdk can only come from the first folder.
SCRIPT = """
import json, sys
sys.path[:0] = sys.argv[1:]
import edge_sdk
import numpy as np
found = {name: edge_sdk.pretrained(name).digest for name in edge_sdk.pretrained_names()}
engine = edge_sdk.Engine(edge_sdk.pretrained("glyphs-prototypical"))
x = np.eye(28, dtype=np.float32)[None, None]
state = engine.adapt(engine.embed(np.concatenate([x, x[..., ::-1]])), np.array([0, 1])).state
answer = int(engine.predict(engine.embed(x), state).logits.argmax())
print(json.dumps({"file": edge_sdk.__file__, "digests": found, "answer": answer}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel without the compiled core, which takes no part here and a minute to build."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "wheel", ROOT,
            "--no-deps", "--no-build-isolation", "--wheel-dir", folder,
            "--config-settings=cmake.define.EDGE_BUILD_PYTHON=OFF",
            "--config-settings=build.targets=list_install_components",  # which compiles nothing
            f"--config-settings=build-dir={folder / 'build'}",
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    (found,) = folder.glob("*.whl")
    return found


def test_the_wheel_holds_every_bundle_once_with_its_notices(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert len(names) == len(set(names))
    folder = "edge_sdk/bundles/"
    shipped = {name.removeprefix(folder) for name in names if name.startswith(folder)}
    files = [path for path in (ROOT / "bundles").rglob("*") if path.is_file()]
    assert shipped == {path.relative_to(ROOT / "bundles").as_posix() for path in files}
    assert not [name for name in names if name.startswith("bundles/")]
    assert [n for n in names if n.endswith("/licenses/bundles/NOTICE")]


def test_an_installed_package_opens_its_own_bundles(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    shutil.copy(_core.__file__, tmp_path / "site" / "edge_sdk")
    packages = [path for path in sys.path if path.endswith("-packages")]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", SCRIPT, tmp_path / "site", *packages],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    found = json.loads(done.stdout)
    assert found["file"] == str(tmp_path / "site" / "edge_sdk" / "__init__.py")
    assert found["file"] != edge_sdk.__file__
    assert found["digests"] == {name: pretrained(name).digest for name in pretrained_names()}
    assert found["answer"] == 0
