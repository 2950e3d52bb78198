from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from edge_sdk.errors import InvalidOptionError
from federated.demo.cli import app

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("option", ["--out", "--json"])
def test_a_place_that_cannot_be_written_is_refused_before_any_work(
    option: str, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    result = CliRunner().invoke(
        app, [option, str(tmp_path / "absent" / "file"), "--work", str(work), "--quick"]
    )
    assert isinstance(result.exception, InvalidOptionError)
    assert not work.exists()


def test_the_help_names_every_option() -> None:
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "100"}).output
    for option in ("--out", "--json", "--data", "--work", "--seed", "--seeds", "--quick"):
        assert option in text
