"""Builds and installs the C library, builds the examples against what was installed, runs them."""

from __future__ import annotations

import importlib.util
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk import Engine
from edge_sdk.runtime import find_runtime_library

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]
TAKES = 4
THINGS = 2
TOOLCHAIN_AARCH64 = ROOT / "cmake" / "aarch64-linux-gnu.cmake"
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


def tool(name: str) -> str:
    """A build tool: the program inside the wheel where there is one, which is no Python script."""
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.submodule_search_locations:
        for location in spec.submodule_search_locations:
            found = next(Path(location).glob(f"data/bin/{name}"), None)
            if found is not None:
                return str(found)
    on_path = shutil.which(name)
    if on_path is None:
        pytest.skip(f"{name} is not installed")
    return on_path


def run(command: Sequence[str | os.PathLike[str]], env: Mapping[str, str] | None = None) -> str:
    """Standard output of a command; the test fails with all output where the command does."""
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Build:
    """Where things are built without Python, for one processor."""

    folder: Path
    toolchain: Path | None = None

    @property
    def prefix(self) -> Path:
        """Where the library is, after `install`."""
        return self.folder / "moved"

    def environment(self) -> dict[str, str]:
        """A path on which every Python leaves a mark and fails."""
        traps = self.folder / "traps"
        traps.mkdir(exist_ok=True)
        for name in ("python", "python3"):
            trap = traps / name
            trap.write_text(f"#!/bin/sh\ntouch {self.folder / 'python-was-called'}\nexit 1\n")
            trap.chmod(trap.stat().st_mode | stat.S_IXUSR)
        return {"PATH": f"{traps}:{_SYSTEM_PATH}", "HOME": str(self.folder)}

    def install(self) -> None:
        """Build and install the library, then move it: it must not know its place."""
        self._cmake(ROOT, "library", "-DEDGE_BUILD_TESTS=OFF", "-DEDGE_WERROR=ON")
        installed = self.folder / "installed"
        run(
            [tool("cmake"), "--install", self.folder / "library", "--prefix", installed],
            self.environment(),
        )
        installed.rename(self.prefix)
        assert not (self.folder / "python-was-called").exists()

    def example(self, language: str) -> Path:
        """The program of `examples/<language>`, built against the installed package."""
        name = f"example_{language}"
        package = next(self.prefix.glob("lib*/cmake/edge_sdk"))
        self._cmake(ROOT / "examples" / language, name, f"-Dedge_sdk_DIR={package}")
        assert not (self.folder / "python-was-called").exists()
        return self.folder / name / {"cpp": "personalize", "c": "personalize_c"}[language]

    def cpp_tests(self, names: Sequence[str]) -> list[Path]:
        """Build programs of `csrc/tests`; the library's own tests, not those of an app."""
        self._cmake(ROOT, "tests", "-DEDGE_BUILD_TESTS=ON", targets=names)
        return [self.folder / "tests" / "csrc" / "tests" / name for name in names]

    def _cmake(self, source: Path, name: str, *options: str, targets: Sequence[str] = ()) -> None:
        cmake, ninja = tool("cmake"), tool("ninja")
        cross = [] if self.toolchain is None else [f"-DCMAKE_TOOLCHAIN_FILE={self.toolchain}"]
        build = self.folder / name
        generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
        run([cmake, "-S", source, "-B", build, *generator, *options, *cross], self.environment())
        chosen = ["--target", *targets] if targets else []
        run([cmake, "--build", build, *chosen], self.environment())


def record(shape: tuple[int, ...], thing: int, take: int) -> NDArray[np.float32]:
    """One recording, `[1, *shape]`: the same numbers as `record` in examples/cpp/main.cpp."""
    k = np.arange(np.prod(shape, dtype=int))
    pattern = (31 * k + 57 * thing * k + 17 * thing) % 64
    own = (13 * k + 29 * take) % 16
    x = pattern.astype(np.float32) / 32 - 1 + own.astype(np.float32) / 256
    return x.astype(np.float32).reshape(1, *shape)


@dataclass(frozen=True)
class PythonRun:
    """What the examples do, in Python: taught, and with the second thing forgotten."""

    taught: NDArray[np.float32]
    """Logits `[THINGS, ways]`."""
    forgot: NDArray[np.float32]
    taught_bytes: bytes
    forgot_bytes: bytes


def personalize_in_python(bundle: Path) -> PythonRun:
    """Teach, predict, forget and predict as the examples do."""
    engine = Engine(bundle)
    shape = engine.bundle.manifest.input.shape
    order = [(take, thing) for take in range(TAKES) for thing in range(THINGS)]
    features = np.concatenate([engine.embed(record(shape, thing, take)) for take, thing in order])
    slots = np.array([thing for _, thing in order], np.int64)
    queries = [engine.embed(record(shape, thing, TAKES + 1)) for thing in range(THINGS)]
    taught = engine.adapt(features, slots).state
    forgot = engine.adapt(features[slots == 0], slots[slots == 0]).state
    return PythonRun(
        *(
            np.concatenate([engine.predict(query, state).logits for query in queries])
            for state in (taught, forgot)
        ),
        taught.to_bytes(),
        forgot.to_bytes(),
    )


def read_logits(output: str) -> NDArray[np.float32]:
    """The logits that an example printed, `[THINGS, ways]`; nine digits give back each float32."""
    rows = re.findall(r"^thing \d+ looks like slot \d+, logits (.+)$", output, re.MULTILINE)
    assert len(rows) == THINGS, output
    return np.array([row.split() for row in rows]).astype(np.float32)


def runtime_library() -> str:
    """The libonnxruntime of the installed wheel."""
    return str(find_runtime_library())
