from __future__ import annotations

import pytest

from edge_sdk.errors import InvalidOptionError
from federated.privacy.options import PrivacyOptions
from federated.round_core import RoundOptions
from federated.settings import (
    ClientSettings,
    ServerSettings,
    decode_client_settings,
    decode_privacy,
    decode_run_config,
    encode_client_settings,
    encode_run_config,
)

SETTINGS = ServerSettings(
    bundle="/b", out="/o", report="/r", min_clients=3, join_deadline_s=7.5, min_replies=2
)
OPTIONS = RoundOptions(rounds=2, cohort_size=3, server_lr=0.5, clipping_norm=4.0, seed=9, steps=2)


def test_both_survive_one_run_config() -> None:
    assert decode_run_config(encode_run_config(SETTINGS, OPTIONS)) == (SETTINGS, OPTIONS)


def test_no_steps_means_the_bundles_own() -> None:
    config = encode_run_config(SETTINGS, RoundOptions())
    assert "steps" not in config
    assert decode_run_config(config)[1].steps is None


def test_whole_numbers_may_stand_for_floats() -> None:
    config = {**encode_run_config(SETTINGS, OPTIONS), "clipping-norm": 4, "join-deadline-s": 7}
    settings, options = decode_run_config(config)
    assert (settings.join_deadline_s, options.clipping_norm) == (7.0, 4.0)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bundle", None),
        ("out", 7),
        ("rounds", "5"),
        ("rounds", True),
        ("min-clients", 0),
        ("min-replies", -1),
        ("join-deadline-s", 0.0),
        ("round-deadline-s", float("inf")),
        ("clipping-norm", float("nan")),
    ],
)
def test_a_wrong_value_is_refused_by_name(key: str, value: object) -> None:
    config = {**encode_run_config(SETTINGS, OPTIONS), key: value}
    with pytest.raises(InvalidOptionError, match=key.replace("-", ".")):
        decode_run_config(config)


def test_client_settings_survive_a_node_config() -> None:
    settings = ClientSettings(client_id="u-1", bundle="/b", home="/h")
    assert decode_client_settings(encode_client_settings(settings)) == settings
    with pytest.raises(InvalidOptionError, match="home"):
        decode_client_settings({"client-id": "u", "bundle": "/b", "partition-id": 0})


@pytest.mark.parametrize("client_id", ["", "a b", "../up", "x" * 129, "a\n"])
def test_a_client_id_that_is_no_name_is_refused(client_id: str) -> None:
    with pytest.raises(InvalidOptionError, match="client"):
        decode_client_settings({"client-id": client_id, "bundle": "b", "home": "h"})


def test_privacy_is_a_section_of_the_run_config() -> None:
    privacy = PrivacyOptions(noise_multiplier=1.5, epsilon=3, sampling="fixed", accountant="rdp")
    config = encode_run_config(SETTINGS, OPTIONS, privacy)
    assert decode_privacy(config) == privacy
    assert decode_run_config(config) == (SETTINGS, OPTIONS)
    assert decode_privacy(encode_run_config(SETTINGS, OPTIONS)) is None


@pytest.mark.parametrize(
    ("key", "value"), [("privacy-epsilom", 1.0), ("privacy-epsilon", "8"), ("privacy-delta", 2.0)]
)
def test_a_privacy_option_that_is_mistyped_is_refused(key: str, value: object) -> None:
    with pytest.raises(InvalidOptionError):
        decode_privacy({key: value})
