from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from edge_sdk.errors import InvalidOptionError
from federated.evaluation.options import EvaluationOptions
from federated.privacy.options import PrivacyOptions
from federated.round_core import RoundOptions
from federated.secure.options import MaskingOptions
from federated.service.config import SERVER_DEFAULTS, DeploymentOptions, read_config
from federated.service.default_config import attribute_docs, default_config
from federated.settings import (
    SERVER_PATHS,
    ServerSettings,
    decode_evaluation,
    decode_masking,
    decode_privacy,
    decode_run_config,
)

if TYPE_CHECKING:
    from pathlib import Path

KINDS = (
    ServerSettings, RoundOptions, PrivacyOptions, MaskingOptions, EvaluationOptions,
    DeploymentOptions,
)  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "coordinator.toml"


def test_the_written_config_is_read_back_as_the_defaults(file: Path) -> None:
    file.write_text(default_config())
    read = read_config(file)
    file.write_text("")
    assert read == read_config(file)
    assert read.rounds == RoundOptions()
    assert read.privacy is None
    assert read.masking is None
    assert read.evaluation is None
    assert read.server.round_deadline_s == SERVER_DEFAULTS["round_deadline_s"]


def test_changes_are_written_in_place_of_defaults(file: Path) -> None:
    changes = (
        "server.min_clients=4", "rounds.server_lr = 0.5", "privacy.epsilon=3.0",
        'deployment.names=["a.example.org"]',
    )  # fmt: skip
    file.write_text(default_config(changes))
    read = read_config(file)
    assert (read.server.min_clients, read.rounds.server_lr) == (4, 0.5)
    assert read.privacy == PrivacyOptions(epsilon=3.0)
    assert read.evaluation is None
    assert read.deployment.names == ("a.example.org",)


def test_a_text_may_lose_its_quotes_to_the_shell(file: Path) -> None:
    changes = (
        "server.out=new/one", 'server.report="it is.json"',
        "masking.roster=keys.json", "masking.authority=ca.pem.pub",
    )  # fmt: skip
    file.write_text(default_config(changes))
    read = read_config(file)
    assert read.server.out.endswith("/new/one")
    assert read.server.report.endswith("/it is.json")
    assert read.masking is not None
    assert read.masking.roster.endswith("/keys.json")
    assert read.masking.authority.endswith("/ca.pem.pub")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("server.min_clients", "must be SECTION.KEY=VALUE"),
        ("min_clients=4", "must be SECTION.KEY=VALUE"),
        ("server.min_clients=four", "min_clients"),
        ("server.min_clients=4\nserver = 5", "min_clients"),
        ("server.min_client=4", "no such key: min_client"),
        ("sever.min_clients=4", "no such key: sever"),
        ("rounds.cohort_size=0", "cohort_size must be an integer >= 1"),
    ],
)
def test_a_change_that_would_not_be_read_is_not_written(change: str, complaint: str) -> None:
    with pytest.raises(InvalidOptionError, match=complaint):
        default_config([change])


def test_every_key_is_in_the_written_config_with_its_meaning() -> None:
    text = default_config()
    for kind in KINDS:
        docs = attribute_docs(kind)
        for field in dataclasses.fields(kind):
            assert docs[field.name], field.name
            assert f"{field.name} =" in text or field.name == "nodes"


def test_privacy_begins_when_its_section_is_no_comment_any_more(file: Path) -> None:
    text = default_config().replace("# [privacy]\n", "[privacy]\n")
    file.write_text(text.replace("# epsilon = 8.0", "epsilon = 3.0"))
    read = read_config(file)
    assert read.privacy == PrivacyOptions(epsilon=3.0)
    assert read.server.ledger == str(file.parent / "privacy.ledger")


def test_masking_begins_with_its_section_and_reaches_the_server(file: Path) -> None:
    file.write_text('[masking]\nroster = "roster"\nauthority = "/a.pub"\ngroup_size = 10')
    read = read_config(file)
    expected = MaskingOptions(roster=str(file.parent / "roster"), authority="/a.pub", group_size=10)
    assert read.masking == expected
    assert decode_masking(read.run_config()) == expected


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ("[privacy]", "amplification"),
        ("[evaluation]", "evaluation"),
        ('[rounds]\naggregator = "median"', "single updates"),
    ],
)
def test_what_masks_exclude_is_refused_when_the_file_is_read(
    file: Path, section: str, says: str
) -> None:
    file.write_text(f'[masking]\nroster = "r"\nauthority = "a"\n{section}\n')
    with pytest.raises(InvalidOptionError, match=says):
        read_config(file)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[rounds]\naggregator = "median"\n[privacy]', "set aggregator to mean"),
        ("[rounds]\nover_selection = 1.5\n[privacy]", "over_selection closes a round"),
        ("[server]\nmin_replies = 2\n[privacy]", "close private rounds by the deadline"),
        ("[server]\nupdate_bits = 8\n[privacy]\nnoise = 'local'\nsampling = 'fixed'", "own grid"),
        (
            "[privacy]\nnoise = 'distributed'\nsampling = 'fixed'\nmin_contributors = 2",
            "secure aggregation",
        ),
        ("[server]\nmin_replies = 2\n[masking]\nroster = 'r'\nauthority = 'a'", "stage_deadline_s"),
        ("[server]\nupdate_bits = 8\n[masking]\nroster = 'r'\nauthority = 'a'", "value_bits"),
    ],
)
def test_what_excludes_each_other_is_refused_when_the_file_is_read(
    file: Path, text: str, says: str
) -> None:
    file.write_text(text)
    with pytest.raises(InvalidOptionError, match=says):
        read_config(file)


def test_optimizers_and_aggregators_reach_the_server_app(file: Path) -> None:
    for text, wanted in (
        ("server_optimizer = 'momentum'\nmomentum = 0.8", {"momentum": 0.8}),
        ("server_optimizer = 'adam'\nadaptivity = 0.1", {"adaptivity": 0.1}),
        ("aggregator = 'median'", {}),
        ("aggregator = 'trimmed_mean'\ntrim_share = 0.2", {"trim_share": 0.2}),
    ):
        file.write_text(f"[rounds]\n{text}\nover_selection = 1.5\n")
        _, rounds = decode_run_config(read_config(file).run_config())
        key, value = text.splitlines()[0].split(" = ")
        assert getattr(rounds, key) == value.strip("'")
        assert rounds.over_selection == 1.5
        assert all(getattr(rounds, name) == of for name, of in wanted.items())


def test_paths_are_relative_to_the_file(file: Path) -> None:
    file.write_text('[server]\nbundle = "b"\nout = "/o"\nledger = "l"\n[deployment]\nfolder = "d"')
    read = read_config(file)
    base = file.parent
    assert (read.server.bundle, read.server.out) == (str(base / "b"), "/o")
    assert (read.server.ledger, read.server.checkpoint) == (str(base / "l"), "")
    assert read.deployment.folder == str(base / "d")
    assert read.server.nodes == str(base / "d" / "nodes.json")


def test_every_path_among_the_settings_is_known() -> None:
    """A new one that is not in SERVER_PATHS would be taken from the ServerApp's own folder."""
    texts = {f.name for f in dataclasses.fields(ServerSettings) if f.type == "str"}
    assert texts == SERVER_PATHS


def test_the_server_app_is_given_what_the_file_says(file: Path) -> None:
    file.write_text(
        "[server]\nmin_clients = 4\n[rounds]\ncohort_size = 3\n[privacy]\ndelta = 1e-6\n"
        "[evaluation]\nmin_devices = 3"
    )
    read = read_config(file)
    given = read.run_config()
    assert decode_run_config(given) == (read.server, read.rounds)
    assert decode_privacy(given) == read.privacy
    assert decode_evaluation(given) == read.evaluation == EvaluationOptions(min_devices=3)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[rounds\n", "not TOML"),
        ("[round]\n", "coordinator.toml: no such key: round; there are deployment"),
        ("rounds = 3\n", "rounds must be a table"),
        ("[server]\nmin_client = 3\n", "server: no such key: min_client; there are bundle"),
        ('[server]\nmin_clients = "3"\n', "server: min_clients must be of type int, got str"),
        ("[server]\nround_deadline_s = 0\n", "server: round_deadline_s must be finite and > 0"),
        ('[server]\nnodes = "x"\n', "server: nodes is written by the service"),
        ("[rounds]\ncohort_size = 0\n", "rounds: cohort_size must be an integer >= 1"),
        ("[rounds]\nserver_lr = true\n", "rounds: server_lr must be of type float, got bool"),
        ('[privacy]\nnoise = "loud"\n', "privacy: noise must be one of central"),
        ("[deployment]\nport = 0\n", r"deployment: port must be in 1\.\.65535"),
        ('[deployment]\nhost = "here"\n', "deployment: host must be an address"),
        ('[deployment]\nnames = ["a b"]\n', "deployment: names holds 'a b'"),
        ("[deployment]\nnames = [7]\n", "deployment: names 1 must be of type str"),
        ("[deployment]\nrestart_window_s = -1\n", "deployment: restart_window_s must be finite"),
        ("[deployment]\nrestarts = -1\n", "deployment: restarts must be in"),
    ],
)
def test_an_error_names_the_section_the_key_and_what_would_be(
    file: Path, text: str, complaint: str
) -> None:
    file.write_text(text)
    with pytest.raises(InvalidOptionError, match=complaint):
        read_config(file)


def test_a_missing_file_says_how_to_write_one(file: Path) -> None:
    with pytest.raises(InvalidOptionError, match="federated init"):
        read_config(file)


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "127.0.0.1:7"), ("0.0.0.0", "127.0.0.1:7"), ("::", "[::1]:7")],  # noqa: S104
)
def test_processes_of_this_machine_need_an_address_that_can_be_reached(
    host: str, address: str
) -> None:
    assert DeploymentOptions(host=host, port=7).local_address == address
