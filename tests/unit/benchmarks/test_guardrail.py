"""A fast version of benchmarks/guard/guardrail.py, on real writers and an untrained backbone."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra export")

import torch

from benchmarks.guard.figures import by_user, harm, keep_rates
from benchmarks.guard.simulation import (
    random_labels,
    swapped_labels,
    teach_in_stages,
    teach_once,
    teach_own_labels,
)
from benchmarks.guard.writers import Crowd, find_archive, read_crowd, write_labelled
from edge_sdk import Engine
from export.learners.base import LearnerOptions
from export.learners.prototypical import Prototypical
from tests.support.exported import export

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow  # the export of the backbone

LETTERS = 26
USERS = 12


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        learner = Prototypical(LearnerOptions(ways=32, hidden=32))
    return export(learner, tmp_path_factory.mktemp("source")).engine


@pytest.fixture(scope="module")
def crowd(source: Engine) -> Crowd:
    archive = find_archive()
    if archive is None:
        where = os.environ.get("EDGE_SDK_DATA", "which is not set")
        pytest.skip(f"needs unipen/unipen_chars.npz in EDGE_SDK_DATA ({where})")
    return read_crowd(archive, source)


def engine_of(source: Engine, crowd: Crowd, folder: Path, prior_count: float) -> Engine:
    path = folder / f"{prior_count:g}"
    return Engine(write_labelled(source.bundle, crowd, path, spoil=0.0, prior_count=prior_count))


def test_harmful_models_are_refused_and_good_ones_kept(
    source: Engine, crowd: Crowd, tmp_path: Path
) -> None:
    cells = []
    for prior in (0.25, 2.0, 10.0):
        engine = engine_of(source, crowd, tmp_path, prior)
        for poison in (0.0, 0.5, 0.9):
            outcomes = teach_once(
                engine,
                crowd.users[:USERS],
                share=2 / 3,
                poison=random_labels(poison, LETTERS),
                splits=2,
                seed=0,
            )
            found = by_user(poison, outcomes)
            if poison <= 0.5:
                assert harm(found)["served minus base"]["mean"] >= -0.01, (prior, poison)
            cells += found
    rates = keep_rates(cells)
    assert rates["-30"]["models"] >= 10
    assert rates["-30"]["mean"] <= 0.1  # one of ten; the full run has enough models for 1 %
    assert rates["-10"]["mean"] <= 0.2
    honest = [cell for cell in cells if cell.poison == 0 and cell.difference >= 0.1]
    assert honest
    assert np.mean([o.decision == "keep" for c in honest for o in c.outcomes]) >= 0.85


def test_users_who_teach_in_stages_get_what_is_no_worse_than_the_base(
    source: Engine, crowd: Crowd, tmp_path: Path
) -> None:
    outcomes = teach_in_stages(
        engine_of(source, crowd, tmp_path, 2.0),
        crowd.users[:USERS],
        stages=4,
        poison_from=2,
        poison=random_labels(0.5, LETTERS),
        splits=1,
        seed=0,
    )
    assert len(outcomes) == 4 * USERS
    assert harm(by_user(0.5, outcomes))["served minus base"]["mean"] >= -0.01
    assert {o.decision for o in outcomes} >= {"keep", "shadow"}


def test_a_bundle_without_labels_serves_from_one_shot_and_refuses_noise(
    source: Engine, crowd: Crowd
) -> None:
    kept = {}
    for shots, poison in ((1, 0.0), (5, 0.0), (5, 0.8)):
        outcomes = teach_own_labels(
            source, crowd.users[:USERS], ways=5, shots=shots, poison=poison, splits=8, seed=0
        )
        kept[shots, poison] = np.mean([o.decision == "keep" for o in outcomes])
    assert kept[1, 0.0] == 1
    assert kept[5, 0.0] >= 0.9
    # 0.8 wrong of five labels: nothing but noise. 15 % by chance, and more as folds share examples
    assert kept[5, 0.8] <= 0.35


def test_swapped_labels_are_exchanged_in_pairs(rng: np.random.Generator) -> None:
    slots = np.arange(LETTERS)
    swapped = swapped_labels(0.5, LETTERS)(slots, rng)
    assert np.array_equal(swapped[swapped], slots)
    assert (swapped != slots).sum() == 14 or (swapped != slots).sum() == 12


def test_random_labels_are_wrong_as_often_as_asked(rng: np.random.Generator) -> None:
    slots = np.zeros(5000, dtype=np.int64)
    wrong = random_labels(0.3, LETTERS)(slots, rng)
    assert np.mean(wrong != 0) == pytest.approx(0.3, abs=0.03)
    assert wrong.max() == LETTERS - 1
