from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk import Engine
from export.tasks.base import NotEnoughImagesError
from federated.demo.few_shot import FewShotOptions, draws, run_few_shot
from tests.unit.federated.demo.samples import CLASSES, pool

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = FewShotOptions(ways=CLASSES, shots=(1, 3), queries=5, seeds=4)


def test_no_image_is_both_taught_and_asked() -> None:
    for draw in draws(pool(), OPTIONS):
        taught = {image.tobytes() for image in draw.support.reshape(-1, 16)}
        asked = {image.tobytes() for image in draw.query.reshape(-1, 16)}
        assert len(taught) == 3 * CLASSES
        assert len(asked) == 5 * CLASSES
        assert not taught & asked


def test_draws_depend_on_the_seed_and_differ_from_each_other() -> None:
    first, again = (list(draws(pool(), OPTIONS)) for _ in range(2))
    assert all(np.array_equal(a.support, b.support) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0].support, first[1].support)


@pytest.mark.parametrize("options", [FewShotOptions(ways=4), FewShotOptions(ways=3, queries=99)])
def test_a_pool_that_is_too_small_is_refused(options: FewShotOptions) -> None:
    with pytest.raises(NotEnoughImagesError):
        next(draws(pool(), options))


def test_easy_classes_are_learned_and_every_prediction_is_counted(tiny_bundle: Path) -> None:
    result = run_few_shot(Engine(tiny_bundle), pool(), OPTIONS)
    assert [entry.shots for entry in result.by_shots] == [1, 3]
    assert result.at(3).adapted.mean > 0.9
    assert result.queries == 5 * CLASSES
    for shots in (1, 3):
        counts = np.array(result.confusions[shots])
        assert counts.sum() == 4 * 5 * CLASSES
        assert np.trace(counts) / counts.sum() == pytest.approx(result.at(shots).adapted.mean)


def test_the_gain_is_over_the_better_baseline(tiny_bundle: Path) -> None:
    for entry in run_few_shot(Engine(tiny_bundle), pool(), OPTIONS).by_shots:
        best = max(entry.nearest.mean, entry.logistic.mean)
        assert entry.baseline.mean == best
        assert entry.gain.mean == pytest.approx(entry.adapted.mean - best)


def test_classes_that_differ_between_seeds_have_no_confusions(tiny_bundle: Path) -> None:
    two = FewShotOptions(ways=2, shots=(1,), queries=5, seeds=2)
    assert run_few_shot(Engine(tiny_bundle), pool(), two).confusions == {}
