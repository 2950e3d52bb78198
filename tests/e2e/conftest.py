"""Fixtures of the end-to-end tests: the C library, built and installed once."""

from __future__ import annotations

import shutil

import pytest

from tests.support.bundle_readers import CReader
from tests.support.embedding import Build


@pytest.fixture(scope="session")
def installed_sdk(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """The C library for this machine, installed into a folder of its own."""
    if shutil.which("c++", path="/usr/local/bin:/usr/bin:/bin") is None:
        pytest.skip("no C++ compiler")
    build = Build(tmp_path_factory.mktemp("embedding"))
    build.install()
    return build


@pytest.fixture(scope="session")
def c_reader(installed_sdk: Build) -> CReader:
    """The reader of the installed C library."""
    return CReader(next(installed_sdk.prefix.glob("lib*/libedge_sdk.so")))
