"""Every learner exported once for the whole session: exporting takes seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from export.learners.base import LearnerOptions
from export.learners.registry import make_learner
from tests.support.exported import Exported, export
from tests.support.learners import SMALL

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Exported]:
    """Give the exported learner of a name; each is exported once."""
    done: dict[str, Exported] = {}

    def get(name: str) -> Exported:
        if name not in done:
            options = LearnerOptions(hidden=8, ways=6, steps=5, settings=SMALL.get(name, {}))
            learner = make_learner(name, options, seed=3)
            done[name] = export(learner, tmp_path_factory.mktemp("exported"))
        return done[name]

    return get
