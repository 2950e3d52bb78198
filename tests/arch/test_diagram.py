"""The diagram of docs/ARCHITECTURE.md says what the imports say."""

from __future__ import annotations

import pytest

from tests.arch.import_graph import (
    ROOT,
    Graph,
    between_drawn,
    reachable,
    read_diagram,
    read_imports,
)


@pytest.fixture(scope="module")
def drawn() -> Graph:
    return read_diagram((ROOT / "docs" / "ARCHITECTURE.md").read_text("utf-8"))


@pytest.fixture(scope="module")
def imports() -> Graph:
    return read_imports()


def test_the_diagram_shows_all_three_packages_and_the_core(drawn: Graph) -> None:
    assert {module.partition(".")[0] for module in drawn} == {"edge_sdk", "export", "federated"}
    assert "edge_sdk._core" in drawn
    assert sum(map(len, drawn.values())) >= 10


def test_every_module_in_the_diagram_exists(drawn: Graph, imports: Graph) -> None:
    assert set(drawn) <= set(imports)


def test_every_arrow_is_an_import(drawn: Graph, imports: Graph) -> None:
    real = between_drawn(imports, set(drawn))
    invented = [f"{a} --> {b}" for a, targets in drawn.items() for b in sorted(targets - real[a])]
    assert not invented, "drawn, but not imported"


def test_every_import_between_drawn_modules_follows_from_the_arrows(
    drawn: Graph, imports: Graph
) -> None:
    real = between_drawn(imports, set(drawn))
    missing = [
        f"{a} --> {b}" for a, targets in real.items() for b in sorted(targets - reachable(drawn, a))
    ]
    assert not missing, "imported, but not drawn"


def test_the_arrows_have_no_cycle(drawn: Graph) -> None:
    assert not {module for module in drawn if module in reachable(drawn, module)}


DIAGRAM = """
```mermaid
flowchart LR
  subgraph server
    train[export.train] --> tasks[(export.tasks: episodes)] --> numpy[(numpy)]
  end
  train == bundle ==> both[edge_sdk.engine + edge_sdk.arrays]
  both --> core[edge_sdk._core C++]
```
"""


def test_reading_a_diagram() -> None:
    assert read_diagram(DIAGRAM) == {
        "export.train": {"export.tasks"},
        "export.tasks": set(),
        "edge_sdk.engine": {"edge_sdk._core"},
        "edge_sdk.arrays": {"edge_sdk._core"},
        "edge_sdk._core": set(),
    }


def test_undrawn_modules_are_passed_through_and_inner_ones_folded() -> None:
    imports = {"a.x": {"a.hidden"}, "a.hidden": {"b.pack.inner"}, "b.pack.inner": {"c"}, "c": set()}
    assert between_drawn(imports, {"a.x", "b.pack", "c"}) == {
        "a.x": {"b.pack"},
        "b.pack": {"c"},
        "c": set(),
    }
