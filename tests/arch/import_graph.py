"""Reads which module of the three packages imports which, and the module diagram of a document.

The sources are parsed, not imported, so the compiled `edge_sdk._core` is a node like any other.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("edge_sdk", "export", "federated")
COMPILED = "edge_sdk._core"

Graph: TypeAlias = dict[str, set[str]]
"""Each module's name, and the names of the modules that it imports directly."""

_NODE = re.compile(r"(?P<id>\w+)\s*(?:\[\(?(?P<label>[^])]+)\)?\])?")
_ARROW = re.compile(r"\s*(-->|==>|==[^=>]+==>)\s*")
_MODULE = re.compile(rf"\b(?:{'|'.join(PACKAGES)})\.\w+(?:\.\w+)*")


def read_imports(root: Path = ROOT) -> Graph:
    """Parse every source file; a name re-exported by a package leads to the module that has it."""
    files = {
        _module_name(path, root): path for name in PACKAGES for path in (root / name).rglob("*.py")
    }
    known = {*files, COMPILED}
    trees = {name: ast.parse(path.read_text("utf-8")) for name, path in files.items()}
    exported = {
        name: dict(_imported_names(trees[name], known))
        for name, path in files.items()
        if path.name == "__init__.py"
    }
    graph: Graph = {COMPILED: set()}
    for name, tree in trees.items():
        found = set()
        for imported, module in _imported_names(tree, known):
            found.add(exported.get(module, {}).get(imported, module))
        graph[name] = found - {name}
    return graph


def _module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported_names(tree: ast.Module, known: set[str]) -> list[tuple[str, str]]:
    """Return each imported name with the known module that it comes from."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.extend((alias.name, alias.name) for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in known:
                    found.append((alias.name, inner))
                elif node.module in known:
                    found.append((alias.name, node.module))
    return found


def read_diagram(text: str) -> Graph:
    """Read the arrows `-->` between modules from the first mermaid block of a document.

    A node stands for the modules its label names in full; `==>` is an artefact, no import.
    """
    block = text.partition("```mermaid\n")[2].partition("```")[0]
    labels: dict[str, list[str]] = {}
    pairs: list[tuple[str, str]] = []
    for line in block.splitlines():
        parts = _ARROW.split(line.strip())
        nodes = [match for part in parts[::2] if (match := _NODE.fullmatch(part))]
        if len(nodes) != len(parts[::2]):
            assert len(parts) == 1, f"cannot read the arrows of: {line}"
            continue
        for node in nodes:
            if node["label"]:
                labels[node["id"]] = _MODULE.findall(node["label"])
        pairs += [
            (source["id"], target["id"])
            for source, arrow, target in zip(nodes, parts[1::2], nodes[1:], strict=False)
            if arrow == "-->"
        ]
    graph: Graph = {module: set() for modules in labels.values() for module in modules}
    for source, target in pairs:
        for module in labels.get(source, []):
            graph[module].update(labels.get(target, []))
    return graph


def reachable(graph: Graph, start: str) -> set[str]:
    """Return all modules that `start` leads to, over one arrow or more."""
    found: set[str] = set()
    todo = list(graph.get(start, ()))
    while todo:
        module = todo.pop()
        if module not in found:
            found.add(module)
            todo.extend(graph.get(module, ()))
    return found


def between_drawn(imports: Graph, drawn: set[str]) -> Graph:
    """Fold an import graph onto the drawn modules.

    A module below a drawn one counts as that one; modules that are not drawn are passed through.
    """

    def owner(module: str) -> str:
        parts = module.split(".")
        names = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
        return next((name for name in names if name in drawn), module)

    folded: Graph = {}
    for module, targets in imports.items():
        folded.setdefault(owner(module), set()).update(owner(t) for t in targets)
    result: Graph = {}
    for module in drawn:
        seen: set[str] = set()
        todo = list(folded.get(module, ()))
        while todo:
            target = todo.pop()
            if target in seen or target == module:
                continue
            seen.add(target)
            if target not in drawn:
                todo.extend(folded.get(target, ()))
        result[module] = seen & drawn
    return result
