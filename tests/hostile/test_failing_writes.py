"""Every write of a change fails in turn: the home then holds the old or the new version, whole.

The kernel refuses to let files grow past a limit (RLIMIT_FSIZE: write() fails with EFBIG), which is
lowered before a change and raised after it: from a limit that stops its first write to one that
stops none.
"""

from __future__ import annotations

import resource
import shutil
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_sdk import Capacity, Personalizer, StoreError
from edge_sdk.store import FILE_NAME
from tests.support.homes import shots, teach_in_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CHANGES: dict[str, Callable[[Personalizer], object]] = {
    "teach": lambda personal: personal.teach("cleo", shots(2, 40)),
    "adapt": lambda personal: personal.adapt(),
    "adapt in the background": lambda personal: personal.adapt(background=True).result(30),
    "roll back": lambda personal: personal.roll_back(),
    "forget": lambda personal: personal.forget("anna"),
    "forget one": lambda personal: personal.forget(2),
    "erase": lambda personal: personal.erase(),
}
CAPACITY = Capacity(per_label=30)
STEP = 2048  # WAL frames have 4096 bytes and a header, so no write is missed


@contextmanager
def no_file_larger_than(num_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def contents(personal: Personalizer) -> tuple[Any, ...]:
    features, slots = personal.support()
    state = personal.state.to_bytes(), personal.version
    return personal.examples, features.tobytes(), slots.tobytes(), *state


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("key", [None, bytes(32)], ids=["plain", "encrypted"])
def test_a_change_whose_writes_fail_is_whole_or_absent(
    tiny_gradient_bundle: Path,
    tmp_path: Path,
    change: Callable[[Personalizer], object],
    key: bytes | None,
) -> None:
    if key is not None:
        pytest.importorskip("cryptography")
    good, home = tmp_path / "good", tmp_path / "home"
    options: dict[str, Any] = {"key": key, "capacity": CAPACITY}
    with Personalizer(tiny_gradient_bundle, home=good, **options) as personal:
        teach_in_turn(personal, "anna", "ben")
        old = contents(personal)
    failures = 0
    for limit in range(0, 400 * STEP, STEP):
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(good, home)
        with Personalizer(tiny_gradient_bundle, home=home, **options) as personal:
            failed = False
            with no_file_larger_than(limit):
                try:
                    change(personal)
                except StoreError:
                    failed = True
                x = np.ones((1, 1, 4, 4), np.float32)
                if personal.version:
                    assert personal.predict(x).version == personal.version
            found = contents(personal)
        with Personalizer(tiny_gradient_bundle, home=home, **options) as personal:
            assert personal.status.damage == ""
            assert contents(personal) == found
        failures += failed
        if not failed:
            break
        if found == old:
            continue
        assert limit > 4096  # it was committed, and only cleaning up failed
    else:
        pytest.fail("no limit was high enough")
    assert failures > 2
    assert found != old
    assert (good / FILE_NAME).exists()
