from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk import Engine, open_bundle
from edge_sdk.errors import InvalidOptionError
from export.tasks.base import NotEnoughImagesError
from federated.population import PopulationOptions, open_population
from federated.round_core import RoundOptions
from federated.simulate import clients_of
from federated.study import accuracy_of_users, labelled, run_study

if TYPE_CHECKING:
    from pathlib import Path

    from edge_sdk import Bundle
    from federated.population import Population

PEOPLE = PopulationOptions(writers=6, held_out=8, images=5, seed=1)


@pytest.fixture
def bundle(patches_bundle: Path) -> Bundle:
    return open_bundle(patches_bundle)


@pytest.fixture
def people() -> Population:
    """Writers of the digits 0 to 3."""
    return open_population("digits", PEOPLE, max_classes=4)


def test_rounds_help_writers_who_took_no_part(
    bundle: Bundle, people: Population, tmp_path: Path
) -> None:
    start = labelled(bundle, people.labels, tmp_path / "start", prior_count=1.0)
    options = RoundOptions(rounds=3, cohort_size=4, clipping_norm=10.0)
    report = run_study(start, people, options, tmp_path / "new")

    assert report.before.mean == pytest.approx(0.25)  # all prototypes alike: always slot 0
    assert report.gain.low > 0
    assert report.gain.mean == pytest.approx(report.after.mean - report.before.mean)
    assert report.per_round[-1] == pytest.approx(report.after.mean)
    assert len(report.per_round) == len(report.rounds) == 3
    new = open_bundle(tmp_path / "new")
    assert (new.digest, new.manifest.parent) == (report.new_digest, report.start_digest)
    assert new.manifest.version == 3
    assert report.data_digest == people.digest

    engine = Engine(new)
    users = clients_of(engine, people.held_out, np.unique(people.held_out.users).tolist())
    scores = accuracy_of_users(engine, engine.initial_state(), users)
    assert scores.shape == (PEOPLE.held_out,)
    assert report.after.mean == pytest.approx(scores.mean())


def test_a_bundle_with_labels_is_used_as_it_is_and_must_name_the_tasks(
    bundle: Bundle, people: Population, tmp_path: Path
) -> None:
    other = labelled(bundle, ["a", "b", "c", "d"], tmp_path / "start", prior_count=1.0)
    assert labelled(other, people.labels, tmp_path / "unused", prior_count=1.0) is other
    with pytest.raises(InvalidOptionError, match="other labels"):
        run_study(other, people, RoundOptions(), tmp_path / "new")


def test_an_existing_folder_is_refused_before_any_work(
    bundle: Bundle, people: Population, tmp_path: Path
) -> None:
    start = labelled(bundle, people.labels, tmp_path / "start", prior_count=1.0)
    with pytest.raises(InvalidOptionError, match="exists"):
        run_study(start, people, RoundOptions(), tmp_path / "start")


@pytest.mark.parametrize("tasks", ["digits", "glyphs"])
def test_no_user_and_no_image_is_in_both_groups(tasks: str) -> None:
    people = open_population(tasks, PEOPLE, max_classes=4)
    groups = people.taking_part, people.held_out
    first, second = (set(np.unique(group.users).tolist()) for group in groups)
    assert (len(first), len(second)) == (PEOPLE.writers, PEOPLE.held_out)
    assert not first & second
    for group in groups:
        assert len(people.labels) == len(group.class_names) == 4
        table = np.zeros((max(first | second) + 1, 4), int)
        np.add.at(table, (group.users, group.classes), 1)
        assert set(table[table.sum(1) > 0].ravel()) == {PEOPLE.images}
    images = [{image.tobytes() for image in group.images} for group in groups]
    assert not images[0] & images[1]


def test_the_same_options_give_the_same_people() -> None:
    first, again = (open_population("digits", PEOPLE, max_classes=10) for _ in range(2))
    other = open_population("digits", replace(PEOPLE, seed=2), max_classes=10)
    np.testing.assert_array_equal(first.taking_part.images, again.taking_part.images)
    assert np.any(first.taking_part.images != other.taking_part.images)
    assert first.labels == tuple("0123456789")


def test_a_population_that_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="digits, glyphs, hapt, omniglot"):
        open_population("letters", PEOPLE, max_classes=10)
    with pytest.raises(NotEnoughImagesError, match="writers with 90 images"):
        open_population("digits", replace(PEOPLE, images=90), max_classes=10)
    with pytest.raises(InvalidOptionError, match="held_out must be >= 2"):
        PopulationOptions(held_out=1)
