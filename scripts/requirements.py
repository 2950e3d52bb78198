"""Prints what pyproject.toml asks for: `build` requirements, or those of an extra with the base.

The Makefile installs these apart from the project itself, so that a change of the C++ sources
rebuilds the core without another look at the package index.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"


def requirements(config: dict[str, Any], wanted: str) -> list[str]:
    """Return the requirements of the extra `wanted`, with those of the extras it names in turn.

    Args:
        config: The parsed pyproject.toml.
        wanted: `build`, or the name of an extra.

    Raises:
        KeyError: There is no such extra.
    """
    if wanted == "build":
        return list(config["build-system"]["requires"])
    project = config["project"]
    own = re.compile(re.escape(project["name"]) + r"\[(?P<extras>[^]]+)\]")
    found: list[str] = list(project["dependencies"])
    for requirement in project["optional-dependencies"][wanted]:
        inner = own.fullmatch(requirement)
        if inner is None:
            found.append(requirement)
        else:
            for extra in inner["extras"].split(","):
                found.extend(requirements(config, extra.strip()))
    return sorted(set(found))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: requirements.py build|EXTRA")
    sys.stdout.write(
        "\n".join(requirements(tomllib.loads(PYPROJECT.read_text("utf-8")), sys.argv[1])) + "\n"
    )
