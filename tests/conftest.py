"""Fixtures for every test: a seeded generator and tiny, genuine bundles (tests/golden)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).parent / "golden" / "bundle_format_1"

try:
    from hypothesis import HealthCheck, settings
except ModuleNotFoundError:  # the device tests run with numpy, onnxruntime and pytest alone
    pass
else:
    # No deadlines: machines are shared. Fixtures that only hold paths may be reused.
    _COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}
    settings.register_profile("dev", max_examples=50, **_COMMON)
    settings.register_profile("ci", max_examples=200, derandomize=True, **_COMMON)
    settings.register_profile("nightly", max_examples=5000, **_COMMON)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator that is the same in every run."""
    return np.random.default_rng(20240229)


def _copy(name: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / name, tmp_path / name))


@pytest.fixture
def tiny_bundle(tmp_path: Path) -> Path:
    """A closed-form bundle, the test's own copy: input `[1, 4, 4]`, features `[8]`, 4 ways."""
    return _copy("tiny_prototypical", tmp_path)


@pytest.fixture
def tiny_gradient_bundle(tmp_path: Path) -> Path:
    """A gradient bundle (5 steps) with a shared, two slot and a personal tensor; sizes as above."""
    return _copy("tiny_gradient", tmp_path)


@pytest.fixture
def tiny_sequential_bundle(tmp_path: Path) -> Path:
    """A learner that reads one example after the other; sizes as above."""
    return _copy("tiny_sequential", tmp_path)


@pytest.fixture
def tiny_regression_bundle(tmp_path: Path) -> Path:
    """A regression of 2 numbers with a variance; input and features as above."""
    return _copy("tiny_regression", tmp_path)


@pytest.fixture
def tiny_labelled_bundle(tmp_path: Path) -> Path:
    """The closed form with labels ("circle", "square") and a prior for them, 4 ways."""
    return _copy("tiny_labelled", tmp_path)
