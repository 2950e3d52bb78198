"""learn2learn imports torchvision for its data sets alone; where that is missing, a stand-in."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

_MODULES = ("", ".transforms", ".models", ".datasets", ".datasets.folder", ".datasets.utils")


class _Anything(ModuleType):
    """A module in which every name exists: classes to inherit from, or more such modules."""

    __path__: list[str] = []  # noqa: RUF012  (what makes a module a package)

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {}) if name[:1].isupper() else _Anything(f"{self.__name__}.{name}")


def stand_in() -> None:
    """Put stand-ins for torchvision's modules where they would be imported from."""
    if importlib.util.find_spec("torchvision") is not None:
        return
    for name in (*_MODULES, ".datasets.omniglot"):
        sys.modules[f"torchvision{name}"] = _Anything(f"torchvision{name}")
