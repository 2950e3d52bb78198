from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from flwr.cli.config_utils import load_and_validate
from flwr.common.config import parse_config_args

from edge_sdk.errors import BadBundleError, EdgeError, InvalidOptionError
from federated import deploy
from federated.deploy import run_on_loopback
from federated.errors import DeploymentError
from federated.flower_app import APP, toml
from federated.processes import ProcessSet
from federated.round_core import RoundOptions
from federated.settings import (
    ClientSettings,
    ServerSettings,
    decode_client_settings,
    decode_run_config,
    encode_client_settings,
    encode_run_config,
)

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = RoundOptions(rounds=2, clipping_norm=0.1, server_lr=1e-3)
SERVER = ServerSettings(bundle="/a b/c", out="/näher", report="/r", min_clients=2)


def test_flower_accepts_the_app_and_reads_back_its_config(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text("Apache-2.0")
    path = tmp_path / "pyproject.toml"
    path.write_text(APP + toml(encode_run_config(SERVER, OPTIONS)), "utf-8")
    config, warnings = load_and_validate(path)
    assert warnings == []
    assert decode_run_config(config["tool"]["flwr"]["app"]["config"]) == (SERVER, OPTIONS)


def test_flower_reads_back_a_node_config_with_spaces_in_its_paths() -> None:
    client = ClientSettings(client_id="user-1", bundle="/a b/c=d", home="/home of/user 1")
    line = toml(encode_client_settings(client), " ")
    assert decode_client_settings(parse_config_args([line])) == client


@pytest.mark.parametrize("text", ['"', "'", "\\", "\n", "\x7f"])
def test_a_path_that_would_break_out_of_its_quotes_is_refused(text: str) -> None:
    with pytest.raises(InvalidOptionError, match="out must not hold quotes"):
        toml({"out": f"/a{text}b"})


@pytest.mark.parametrize(
    ("homes", "complaint"),
    [
        ((), "no home"),
        (("a/ann", "b/ann"), "same name"),
        (("a/ann lee",), "client id"),
    ],
)
def test_homes_that_name_no_clients_are_refused(
    tiny_labelled_bundle: Path, tmp_path: Path, homes: tuple[str, ...], complaint: str
) -> None:
    folders = [tmp_path / home for home in homes]
    with pytest.raises(EdgeError, match=complaint):
        run_on_loopback(tiny_labelled_bundle, folders, tmp_path / "new", OPTIONS)


def test_a_bad_bundle_or_an_existing_folder_is_refused_before_anything_starts(
    tiny_labelled_bundle: Path, tmp_path: Path
) -> None:
    home = [tmp_path / "ann"]
    with pytest.raises(InvalidOptionError, match="exists"):
        run_on_loopback(tiny_labelled_bundle, home, tmp_path, OPTIONS)
    (tiny_labelled_bundle / "adapt.onnx").write_bytes(b"")
    with pytest.raises(BadBundleError):
        run_on_loopback(tiny_labelled_bundle, home, tmp_path / "new", OPTIONS)


def test_a_bundle_that_shares_nothing_is_refused_before_anything_starts(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidOptionError, match="share nothing; name its labels"):
        run_on_loopback(tiny_bundle, [tmp_path / "ann"], tmp_path / "new", OPTIONS)


def test_an_answer_that_is_no_json_is_an_error_that_names_the_log(tmp_path: Path) -> None:
    flwr = tmp_path / "flwr"
    flwr.write_text("#!/bin/sh\necho Oops\n")
    flwr.chmod(0o700)
    with (
        ProcessSet(tmp_path, {}) as processes,
        pytest.raises(DeploymentError, match=r"did not answer in JSON.*flwr-run\.log:\s+Oops"),
    ):
        deploy._ask_flower(processes, "flwr-run", [str(flwr)])
