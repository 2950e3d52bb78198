"""The C++ engine itself, made from the tiny bundles without the Python layer above it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from edge_sdk._core import Engine
from edge_sdk.runtime import find_runtime_library

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EngineArguments = dict[str, Any]


def engine_arguments(bundle: Path) -> EngineArguments:
    """What `Engine` is made from, read from the files as they are."""
    manifest = json.loads((bundle / "manifest.json").read_text())

    def graph(name: str) -> bytes:
        return (bundle / f"{name}.onnx").read_bytes()

    return {
        "init": graph("init"),
        "embed": graph("embed") if "embed.onnx" in manifest["files"] else None,
        "adapt": graph("adapt"),
        "predict": graph("predict"),
        "state": [(spec["name"], tuple(spec["shape"])) for spec in manifest["state"]],
        "ways": manifest["ways"],
        "input_shape": tuple(manifest["input"]["shape"]),
        "feature_shape": tuple(manifest["features"]["shape"]),
        "steps": manifest["steps"],
        "adaptation": manifest["adaptation"],
        "library": str(find_runtime_library()),
        "providers": ["cpu"],
        "threads": 1,
    }


@pytest.fixture
def gradient_arguments(tiny_gradient_bundle: Path) -> EngineArguments:
    return engine_arguments(tiny_gradient_bundle)


@pytest.fixture
def gradient_engine(gradient_arguments: EngineArguments) -> Engine:
    return Engine(**gradient_arguments)


@pytest.fixture
def closed_form_engine(tiny_bundle: Path) -> Engine:
    return Engine(**engine_arguments(tiny_bundle))


@pytest.fixture
def engine_with(gradient_arguments: EngineArguments) -> Callable[..., Engine]:
    """Makes the gradient engine with some arguments replaced."""
    return lambda **changes: Engine(**{**gradient_arguments, **changes})
