"""What is no path is a typed error, wherever an app gives one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edge_sdk import Engine, Personalizer, TrustedKey, open_bundle
from edge_sdk.accepted import AcceptedVersions
from edge_sdk.errors import InvalidOptionError
from edge_sdk.keys import FileKeyStore
from edge_sdk.paths import as_path
from tests.conftest import GOLDEN

if TYPE_CHECKING:
    from collections.abc import Callable

USES: dict[str, Callable[[Any], object]] = {
    "open_bundle": open_bundle,
    "Engine": Engine,
    "home": lambda path: Personalizer(GOLDEN / "tiny_prototypical", home=path),
    "key file": FileKeyStore,
    "accepted versions": AcceptedVersions,
    "trusted key": TrustedKey.read,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("path", ["a\0b", "a\ud800b", 5, None, b"a"], ids=repr)
def test_what_is_no_path_is_refused(use: Callable[[Any], object], path: object) -> None:
    with pytest.raises(InvalidOptionError, match="must be a path"):
        use(path)


def test_a_path_is_left_as_it_is(tmp_path: Path) -> None:
    assert as_path(str(tmp_path), name="path") == tmp_path
    assert as_path("\udc80", name="path") == Path("\udc80")  # a byte that is not UTF-8
