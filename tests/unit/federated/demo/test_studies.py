from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk.errors import InvalidOptionError
from export.progress import LineProgress
from federated.demo.run import run_demo
from federated.demo.studies import DemoOptions, _plainly_named, open_studies
from tests.unit.federated.demo.samples import pool

if TYPE_CHECKING:
    from pathlib import Path


def test_without_data_there_are_the_digits_alone() -> None:
    studies, notes = open_studies(DemoOptions(quick=True))
    assert [study.name for study in studies] == ["digits"]
    assert any("quick" in note for note in notes)


def test_a_data_folder_without_omniglot_is_said(tmp_path: Path) -> None:
    studies, notes = open_studies(DemoOptions(data=tmp_path))
    assert [study.name for study in studies] == ["digits"]
    assert any("Omniglot was left out" in note for note in notes)


def test_no_participant_has_an_image_of_the_held_out_writers() -> None:
    people = open_studies(DemoOptions(quick=True))[0][0].population
    assert not set(people.taking_part.users) & set(people.held_out.users)
    assert people.labels == tuple("0123456789")


def test_the_new_user_has_enough_images_for_the_full_run() -> None:
    study = open_studies(DemoOptions())[0][0]
    sizes = np.bincount(study.new_user.classes)
    assert sizes.min() >= max(study.few_shot.shots) + study.few_shot.queries
    assert study.few_shot.seeds == 20


def test_one_seed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidOptionError, match="seeds"):
        run_demo(DemoOptions(seeds=1), tmp_path, say=lambda _: None, show_progress=LineProgress)
    assert list(tmp_path.iterdir()) == []


def test_characters_have_short_names() -> None:
    images = replace(pool(), class_names=["Old_Tengwar/character07/rot000", "A/b1/c", "A/b2/c"])
    assert _plainly_named(images).class_names[0] == "Old Tengwar 07"
