from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from edge_sdk.errors import InvalidOptionError
from federated.fleet.config import FleetConfig, read_config
from federated.fleet.options import TIERS

if TYPE_CHECKING:
    from pathlib import Path


def read(tmp_path: Path, text: str) -> FleetConfig:
    path = tmp_path / "fleet.toml"
    path.write_text(text, encoding="utf-8")
    return read_config(path)


def test_an_empty_file_has_every_default(tmp_path: Path) -> None:
    assert read(tmp_path, "") == FleetConfig()


def test_tables_arrays_and_whole_numbers_for_fractions_are_read(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        """
        seed = 7
        [round]
        replies = 10
        over_selection = 2
        [availability]
        time_zones = [0, 5.5]
        [attack]
        kind = "sign-flip"
        share = 0.2
        [privacy]
        noise_multiplier = 2
        [[tier]]
        name = "only"
        """,
    )
    assert (config.seed, config.round.cohort_size) == (7, 20)
    assert config.availability.time_zones == (0.0, 5.5)
    assert (config.attack.kind, config.attack.share) == ("sign-flip", 0.2)
    assert [tier.name for tier in config.tier] == ["only"]
    assert config.tier != TIERS
    assert config.privacy is not None
    assert config.privacy.noise_multiplier == 2.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sede = 1", "no such key: sede"),
        ("[ray]\nprocesses = 0", "ray: processes must be an integer >= 1"),
        (
            "[attack]\nkind = 'boosted'\nshare = 0.1\n"
            "[privacy]\nnoise = 'distributed'\nsampling = 'none'\nmin_contributors = 2",
            "where devices add the noise",
        ),
        ("[round]\nreplys = 1", "fleet.toml: round: no such key: replys"),
        ("[round]\nreplies = 1.5", "round: replies must be of type int, got float"),
        ("[round]\nreplies = true", "round: replies must be of type int, got bool"),
        ("[round]\nreplies = 0", "round: replies must be an integer >= 1, got 0"),
        ("[round]\nover_selection = 0.5", "over_selection must be finite and >= 1"),
        ("[round]\nserver_lr = nan", "server_lr must be finite and > 0"),
        ('[round]\naggregator = "krum"', "aggregator must be one of mean, median, trimmed_mean"),
        ("[round]\ntrim_share = 0.5", "trim_share must be in"),
        ("[round]\ninterval_s = -1", "interval_s must be finite"),
        ("[dropout]\ntraining = 1.5", "training must be in 0..1"),
        ("[dropout]\nstraggler_factor = 0.5", "straggler_factor must be finite and >= 1"),
        ('[attack]\nkind = "nasty"', "kind must be one of"),
        ("[availability]\ntime_zones = [20]", "time_zones must hold"),
        ("[availability]\ntime_zones = 3", "time_zones must be an array"),
        ("[availability]\nstart_hour = 24", "start_hour must be in"),
        ("[availability]\ncharge_hours = 30", "charge_hours must be in"),
        ("round = 3", "fleet.toml: round must be a table"),
        ("[[tier]]\nshare = 1", "tier 1 lacks name"),
        ('[[tier]]\nname = "a"\nspread = -1', "spread must be finite and >= 0"),
        ('[[tier]]\nname = "a"\n[[tier]]\nname = "a"', "no two of one name"),
        ("tier = []", "at least one tier"),
        ("threads = 0", "threads must be >= 1"),
        ('[population]\npartition = "x"', "partition must be one of users, dirichlet"),
        ("seed = ", "is not TOML"),
        ("[privacy]\nsigma = 1", "privacy: no such key: sigma"),
    ],
)
def test_what_is_wrong_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidOptionError, match=re.escape(message)):
        read(tmp_path, text)
