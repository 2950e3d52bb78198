"""An app without Python: built from the installed package, it predicts what Python predicts."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edge_sdk import State
from tests.conftest import GOLDEN
from tests.support.embedding import (
    Build,
    personalize_in_python,
    read_logits,
    run,
    runtime_library,
    tool,
)

BUNDLES = ["tiny_prototypical", "tiny_gradient", "tiny_labelled"]
C_EXAMPLE = Path(__file__).parents[2] / "examples" / "c" / "main.c"


@pytest.fixture(scope="module")
def cpp_example(installed_sdk: Build) -> Path:
    return installed_sdk.example("cpp")


def test_the_installed_tree_is_whole(installed_sdk: Build) -> None:
    found = {
        re.sub(r"^lib[^/]*/", "lib/", path.relative_to(installed_sdk.prefix).as_posix())
        for path in installed_sdk.prefix.rglob("*")
        if not path.is_dir()
    }
    assert found == {
        "include/edge_sdk.h",
        "include/edge_sdk.hpp",
        "lib/cmake/edge_sdk/edge_sdkConfig.cmake",
        "lib/cmake/edge_sdk/edge_sdkConfigVersion.cmake",
        "lib/cmake/edge_sdk/edge_sdkTargets-release.cmake",
        "lib/cmake/edge_sdk/edge_sdkTargets.cmake",
        "lib/libedge_sdk.a",
        "lib/libedge_sdk.so",
        "lib/libedge_sdk.so.0",
        "lib/libedge_sdk.so.0.1.0",
        "lib/pkgconfig/edge_sdk.pc",
    }


def test_no_installed_text_names_where_it_was_built(installed_sdk: Build) -> None:
    texts = [p for p in installed_sdk.prefix.rglob("*") if p.suffix in {".cmake", ".pc", ".h"}]
    assert len(texts) >= 5
    for path in texts:
        assert str(installed_sdk.folder) not in path.read_text("utf-8"), path.name


def test_exactly_the_declared_functions_are_exported(installed_sdk: Build) -> None:
    header = (installed_sdk.prefix / "include" / "edge_sdk.h").read_text("utf-8")
    declared = set(re.findall(r"^EDGE_API [^;(]*?\b(edge_\w+)\(", header, re.MULTILINE))
    library = next(installed_sdk.prefix.glob("lib*/libedge_sdk.so"))
    lines = run(["nm", "-D", "--defined-only", library]).splitlines()
    assert {line.split()[-1] for line in lines} == declared
    assert len(declared) > 30


@pytest.mark.parametrize(
    ("compiler", "standard", "header"),
    [
        ("cc", "c11", "edge_sdk.h"),
        ("cc", "c99", "edge_sdk.h"),
        ("c++", "c++11", "edge_sdk.h"),
        ("c++", "c++17", "edge_sdk.hpp"),
        ("c++", "c++20", "edge_sdk.hpp"),
    ],
)
def test_a_header_compiles_alone_without_a_warning(
    installed_sdk: Build, tmp_path: Path, compiler: str, standard: str, header: str
) -> None:
    source = tmp_path / ("alone.c" if compiler == "cc" else "alone.cpp")
    source.write_text(f"#include <{header}>\n#include <{header}>\n")
    flags = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-fsyntax-only"]
    run([compiler, f"-std={standard}", *flags, f"-I{installed_sdk.prefix / 'include'}", source])


@pytest.mark.parametrize("name", BUNDLES)
def test_the_cpp_example_predicts_what_python_does(
    cpp_example: Path, tmp_path: Path, name: str
) -> None:
    want = personalize_in_python(GOLDEN / name)

    def personalize(verb: str) -> str:
        return run([cpp_example, verb, GOLDEN / name, tmp_path, runtime_library()])

    np.testing.assert_array_equal(read_logits(personalize("teach")), want.taught)
    assert (tmp_path / "state.bin").read_bytes() == want.taught_bytes
    np.testing.assert_array_equal(read_logits(personalize("predict")), want.taught)
    np.testing.assert_array_equal(read_logits(personalize("forget")), want.forgot)
    assert (tmp_path / "state.bin").read_bytes() == want.forgot_bytes
    np.testing.assert_array_equal(read_logits(personalize("predict")), want.forgot)
    State.from_bytes((tmp_path / "state.bin").read_bytes())


def test_the_c_example_predicts_what_python_does(installed_sdk: Build) -> None:
    program = installed_sdk.example("c")
    for name in BUNDLES:
        output = run([program, GOLDEN / name, runtime_library()])
        np.testing.assert_array_equal(
            read_logits(output), personalize_in_python(GOLDEN / name).taught
        )


def test_the_runtime_is_found_through_the_environment(cpp_example: Path, tmp_path: Path) -> None:
    command = [cpp_example, "teach", GOLDEN / BUNDLES[0], tmp_path]
    run(command, {"EDGE_SDK_ONNXRUNTIME": runtime_library()})
    refused = subprocess.run(
        command, env={"LD_LIBRARY_PATH": ""}, capture_output=True, text=True, check=False
    )
    if refused.returncode != 0:  # else the system has an onnxruntime of its own
        assert "no libonnxruntime found" in refused.stderr


def test_damaged_files_are_refused_by_name(cpp_example: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(GOLDEN / BUNDLES[0], tmp_path / "bundle"))
    command = [cpp_example, "predict", bundle, tmp_path, runtime_library()]
    run([cpp_example, "teach", *command[2:]])
    stored = bytearray((tmp_path / "state.bin").read_bytes())
    stored[40] ^= 1
    (tmp_path / "state.bin").write_bytes(stored)
    damaged = subprocess.run(command, capture_output=True, text=True, check=False)
    assert damaged.returncode == 1
    assert "state bytes are damaged" in damaged.stderr
    (bundle / "predict.onnx").write_bytes(b"")
    damaged = subprocess.run(command, capture_output=True, text=True, check=False)
    assert damaged.returncode == 1
    assert "predict.onnx has 0 bytes" in damaged.stderr


def test_pkg_config_links_the_shared_library(installed_sdk: Build, tmp_path: Path) -> None:
    pkg_config = shutil.which("pkg-config") or pytest.skip("pkg-config is not installed")
    folder = next(installed_sdk.prefix.glob("lib*/pkgconfig"))
    flags = run([pkg_config, "--cflags", "--libs", "edge_sdk"], {"PKG_CONFIG_PATH": str(folder)})
    program = tmp_path / "program"
    run(["cc", "-std=c11", C_EXAMPLE, "-o", program, *flags.split(), f"-Wl,-rpath,{folder.parent}"])
    read_logits(run([program, GOLDEN / BUNDLES[0], runtime_library()]))


def test_the_static_library_needs_no_other(installed_sdk: Build, tmp_path: Path) -> None:
    project = tmp_path / "CMakeLists.txt"
    project.write_text(
        "cmake_minimum_required(VERSION 3.20)\n"
        "project(static LANGUAGES C CXX)\n"
        "find_package(edge_sdk 0.1 REQUIRED)\n"
        f"add_executable(program {C_EXAMPLE})\n"
        "target_link_libraries(program PRIVATE edge_sdk::static)\n"
    )
    package = next(installed_sdk.prefix.glob("lib*/cmake/edge_sdk"))
    build = tmp_path / "build"
    ninja = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}"]
    run([tool("cmake"), "-S", tmp_path, "-B", build, f"-Dedge_sdk_DIR={package}", *ninja])
    run([tool("cmake"), "--build", build])
    assert "libedge_sdk" not in run(["ldd", build / "program"])
    output = run([build / "program", GOLDEN / BUNDLES[0], runtime_library()])
    np.testing.assert_array_equal(
        read_logits(output), personalize_in_python(GOLDEN / BUNDLES[0]).taught
    )
