"""Threads beside the app: their priority is lower, they pause, and nobody else does."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from edge_sdk import Personalizer, background
from tests.support.homes import shots

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads share one priority")
def test_a_background_adaptation_has_a_lower_priority(tiny_bundle: Path, tmp_path: Path) -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = niceness()
    beside: set[int] = set()
    blocking: set[int] = set()
    with Personalizer(tiny_bundle, home=tmp_path / "home") as personal:
        personal.teach("anna", shots(0))
        personal.adapt(background=True, progress=lambda _: beside.add(niceness())).result(30)
        personal.adapt(progress=lambda _: blocking.add(niceness()))
    assert (beside, blocking) == ({min(before + 5, 19)}, {before})
    assert niceness() == before


def test_only_threads_beside_the_app_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    naps: list[float] = []
    monkeypatch.setattr(time, "sleep", naps.append)
    background.pause()
    assert not naps

    def work() -> None:
        background.yield_to_the_app()
        background.pause()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(naps) == 1
    background.pause()
    assert len(naps) == 1
