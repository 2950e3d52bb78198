"""Killed at any moment of any change, a store holds the old or the new version.

`EDGE_SDK_KILLS=1000 pytest tests/e2e/test_kill.py -s` kills more often and prints what was hit.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk.errors import StoreDamagedError
from tests.support.killing import Killer

if TYPE_CHECKING:
    from pathlib import Path

NUM_KILLS = int(os.environ.get("EDGE_SDK_KILLS", "120")) // 2  # of each kind
NUM_TORN = 60
# Where only the rows of the examples are torn, the store's own check finds them first.
TORN = r"not whole|neither the old nor the new|was lost|examples are missing"


@pytest.mark.parametrize(
    ("learner", "mode"), [("closed_form", "transactional"), ("gradient", "encrypted")]
)
def test_every_kill_leaves_the_old_or_the_new_version(
    tiny_bundle: Path, tiny_gradient_bundle: Path, tmp_path: Path, learner: str, mode: str
) -> None:
    if mode == "encrypted":
        pytest.importorskip("cryptography")
    bundle = tiny_bundle if learner == "closed_form" else tiny_gradient_bundle
    with Killer(bundle, tmp_path / "home", mode) as killer:
        tally = killer.kill_many(NUM_KILLS, np.random.default_rng(42))
    print(tally)  # noqa: T201 - shown by -s
    assert tally.kills == NUM_KILLS
    assert tally.acknowledged > NUM_KILLS
    # A worker has nothing to do between operations, so most kills come in the middle of one.
    assert sum(tally.lost.values()) + sum(tally.kept.values()) > NUM_KILLS // 4


def test_a_store_without_transactions_is_found_torn(tiny_bundle: Path, tmp_path: Path) -> None:
    """The control: the same check, on the same store, each statement committed by itself."""
    with (
        Killer(tiny_bundle, tmp_path / "home", "torn") as killer,
        pytest.raises((AssertionError, StoreDamagedError), match=TORN),
    ):
        killer.kill_many(NUM_TORN, np.random.default_rng(42))
