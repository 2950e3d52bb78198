"""Federated rounds give signed versions, and devices that saw one refuse what came before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("cryptography", reason="needs the extra secure")

from edge_sdk import Engine, open_bundle
from edge_sdk.errors import OlderBundleError, SignatureError
from edge_sdk.signing import SigningKey, sign_bundle
from federated.next_bundle import RunSummary, name_labels, write_next_bundle
from tests.support.signing import policy

if TYPE_CHECKING:
    from pathlib import Path

SUMMARY = RunSummary(
    rounds=3,
    num_clients=7,
    cohort_size=4,
    num_updates=11,
    clipping_norm=2.5,
    server_lr=1.0,
    seed=0,
)


def test_a_new_version_is_signed_only_with_a_key(
    tiny_labelled_bundle: Path, tmp_path: Path
) -> None:
    key = SigningKey.generate()
    trust = policy(key, home=tmp_path / "device")
    sign_bundle(tiny_labelled_bundle, key)
    old = open_bundle(tiny_labelled_bundle, trust=trust)
    shared = {"prototypes": np.array(Engine(old).initial_state()["prototypes"]) + np.float32(1)}
    digest = write_next_bundle(tmp_path / "unsigned", old, shared, SUMMARY)
    with pytest.raises(SignatureError, match=r"manifest\.sig is missing"):
        open_bundle(tmp_path / "unsigned", trust=trust)
    assert old.signed_by == "key0"
    assert write_next_bundle(tmp_path / "signed", old, shared, SUMMARY, key=key) == digest
    assert open_bundle(tmp_path / "signed", trust=trust).manifest.version == 2
    with pytest.raises(OlderBundleError):
        open_bundle(tiny_labelled_bundle, trust=trust)


def test_naming_labels_can_sign_too(tiny_bundle: Path, tmp_path: Path) -> None:
    key = SigningKey.generate()
    name_labels(tmp_path / "named", open_bundle(tiny_bundle), ["a"], prior_count=1, key=key)
    assert open_bundle(tmp_path / "named", trust=policy(key)).manifest.labels == ("a",)
