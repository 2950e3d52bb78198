"""Each call that changes a file fails in turn: I/O error, full disk, interrupt, half of a write.

What is left is the old or the new version, whole; an error is a typed one; and the same change then
works. (`test_failing_writes` has the kernel refuse writes; `test_kill` kills.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support import faults
from tests.support.fault_worker import FILE_CHANGES, STORE_CHANGES

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return faults.build(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("fault", faults.FAULTS)
def test_a_change_on_a_failing_disk_is_whole_or_absent(
    library: Path, tiny_gradient_bundle: Path, tmp_path: Path, fault: str
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    said = faults.run_worker(library, fault, tiny_gradient_bundle, scratch)
    lines = [line.split() for line in said.splitlines()]
    assert {line[0] for line in lines} == {"open", *STORE_CHANGES, *FILE_CHANGES}
    for name, calls, failed, _ in lines:
        assert int(calls) > 2, name  # the faults were where they should be
        if fault.startswith("EIO"):
            assert int(failed) > 1, name
