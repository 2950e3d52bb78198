"""The C++ example cross-compiled for 64-bit ARM, under qemu, predicts what this machine does.

`make test-targets` installs what it needs: g++-aarch64-linux-gnu, qemu-user, and the aarch64
onnxruntime of the version that is installed here.
"""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

import numpy as np
import pytest

from edge_sdk import Engine
from tests.conftest import GOLDEN
from tests.support.embedding import (
    ROOT,
    TOOLCHAIN_AARCH64,
    Build,
    personalize_in_python,
    read_logits,
    record,
    run,
    runtime_library,
)
from tests.support.tiny import INPUT_SHAPE, rewrite

pytest.importorskip("onnx")

import onnx
from onnx import numpy_helper

from tests.support.int8_graph import int8_embed

pytestmark = pytest.mark.device

LIBRARY_VARIABLE = "EDGE_TEST_ONNXRUNTIME_AARCH64"
DOWNLOADED = ROOT / "build" / "targets" / "aarch64"
REMEDY = "`make test-targets` installs it"
# Every processor that the runtime has kernels for says what it can do; qemu's -cpu must agree.
CPU = "cortex-a72"
CPU_INFO = """processor\t: 0
BogoMIPS\t: 100.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

"""


def _runtime() -> Path:
    """The aarch64 libonnxruntime of the version installed here."""
    chosen = os.environ.get(LIBRARY_VARIABLE)
    found = [Path(chosen)] if chosen else sorted(DOWNLOADED.rglob("libonnxruntime.so*"))
    if not found:
        pytest.skip(f"no aarch64 libonnxruntime; {REMEDY}")
    version = Engine(GOLDEN / "tiny_prototypical").runtime_version
    if not chosen and not found[0].name.endswith(version):
        pytest.skip(f"the aarch64 libonnxruntime is not version {version}; {REMEDY}")
    return found[0]


class Arm64:
    """Runs programs for 64-bit ARM, on a processor that ONNX Runtime can find out about."""

    def __init__(self, folder: Path) -> None:
        self.runtime = _runtime()
        qemu = shutil.which("qemu-aarch64")
        if qemu is None or shutil.which("aarch64-linux-gnu-g++") is None:
            pytest.skip(f"no qemu-aarch64 or aarch64-linux-gnu-g++; {REMEDY}")
        root = folder / "root"  # qemu looks here first for what the program opens by its full name
        (root / "proc").mkdir(parents=True)
        (root / "proc" / "cpuinfo").write_text(CPU_INFO)
        (root / "lib").symlink_to("/usr/aarch64-linux-gnu/lib")
        self._command = [qemu, "-cpu", CPU, "-L", str(root)]
        self.build = Build(folder, TOOLCHAIN_AARCH64)
        self.build.install()
        self.example = self.build.example("cpp")

    def personalize(self, verb: str, bundle: Path, home: Path) -> np.ndarray:
        """Logits `[2, ways]` that the example prints."""
        command = [*self._command, self.example, verb, bundle, home, self.runtime]
        return read_logits(run(command))

    def run_test(self, program: Path) -> str:
        """What a C++ test prints; it passes."""
        return run([*self._command, program], {"EDGE_TEST_ONNXRUNTIME": str(self.runtime)})


@pytest.fixture(scope="module")
def arm64(tmp_path_factory: pytest.TempPathFactory) -> Arm64:
    if platform.machine() != "x86_64":
        pytest.skip("compares with x86-64")
    return Arm64(tmp_path_factory.mktemp("arm64"))


@pytest.fixture
def int8_bundle(tmp_path: Path) -> Path:
    """The closed form on int8 features."""
    return rewrite(
        GOLDEN / "tiny_prototypical", tmp_path / "int8", graphs={"embed.onnx": int8_embed(seed=1)}
    )


def test_the_int8_graph_tells_saturating_kernels_apart(int8_bundle: Path) -> None:
    """On this machine, the engine's features are those of exact integer arithmetic."""
    engine = Engine(int8_bundle)
    weights = onnx_weights(int8_bundle)
    takes = [(thing, take) for thing in range(2) for take in range(6)]
    x = np.concatenate([record(INPUT_SHAPE, thing, take) for thing, take in takes])
    levels = np.clip(np.rint(x.reshape(len(x), -1) * 128) + 128, 0, 255).astype(np.int64)
    products = levels[:, :, None] * weights[None]
    pairs = products[:, 0::2] + products[:, 1::2]
    assert np.abs(pairs).max() > 2**15 - 1, "no sum of two products exceeds 16 bits"
    sums = (levels - 128) @ weights
    want = np.clip(np.rint(sums / (128 * 512 / 16)) + 128, 0, 255)
    np.testing.assert_allclose(engine.embed(x) * 16 + 128, want, atol=0.01)


def onnx_weights(bundle: Path) -> np.ndarray:
    """The int8 weights of the bundle's embed.onnx, as int64."""
    model = onnx.load(bundle / "embed.onnx")
    weights = next(tensor for tensor in model.graph.initializer if tensor.name == "w")
    return numpy_helper.to_array(weights).astype(np.int64)


@pytest.mark.parametrize("name", ["tiny_prototypical", "tiny_gradient", "tiny_labelled"])
def test_float_predictions_are_those_of_this_machine(
    arm64: Arm64, tmp_path: Path, name: str
) -> None:
    want = personalize_in_python(GOLDEN / name)
    for verb, logits in (("teach", want.taught), ("predict", want.taught), ("forget", want.forgot)):
        got = arm64.personalize(verb, GOLDEN / name, tmp_path)
        np.testing.assert_allclose(got, logits, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(got.argmax(1), logits.argmax(1))


def test_int8_predictions_are_those_of_exact_arithmetic(
    arm64: Arm64, int8_bundle: Path, tmp_path: Path
) -> None:
    want = personalize_in_python(int8_bundle)
    for verb, logits in (("teach", want.taught), ("forget", want.forgot)):
        got = arm64.personalize(verb, int8_bundle, tmp_path)
        # Features are multiples of 1/16 on both: nothing is left to round but the last steps.
        np.testing.assert_allclose(got, logits, rtol=1e-6, atol=1e-5)
        np.testing.assert_array_equal(got.argmax(1), logits.argmax(1))


def test_a_state_moves_between_processors(
    arm64: Arm64, installed_sdk: Build, tmp_path: Path
) -> None:
    bundle = GOLDEN / "tiny_gradient"
    taught_there = arm64.personalize("teach", bundle, tmp_path)
    here = run([installed_sdk.example("cpp"), "predict", bundle, tmp_path, runtime_library()])
    np.testing.assert_allclose(read_logits(here), taught_there, rtol=1e-6, atol=1e-6)


def test_masks_and_updates_pass_their_cpp_tests(arm64: Arm64) -> None:
    """Devices of both kinds are in one group, so masks must be the same to the bit."""
    names = ("chacha20_test", "mask_test", "compress_test", "update_test", "cohort_test")
    for program in arm64.build.cpp_tests(names):
        assert arm64.run_test(program).rstrip().endswith("0 failures")
