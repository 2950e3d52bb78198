"""A trust policy is checked where it is built, and judges days in UTC by the clock it was given."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from edge_sdk import TrustedKey, TrustPolicy, ed25519
from edge_sdk.errors import InvalidOptionError
from edge_sdk.trust import system_clock

if TYPE_CHECKING:
    from pathlib import Path

DAY = dt.date(2030, 6, 15)
BITS = bytes(range(32))
KEY = TrustedKey(name="release", public_key=BITS)
OTHER = TrustedKey(name="other", public_key=bytes(range(1, 33)))

BAD_KEYS: dict[str, dict[str, Any]] = {
    "empty name": {"name": ""},
    "long name": {"name": "n" * 129},
    "control character": {"name": "a\nb"},
    "short": {"public_key": BITS[:31]},
    "text": {"public_key": "00" * 32},
    "datetime": {"not_after": dt.datetime(2030, 1, 1, tzinfo=dt.UTC)},
    "text for a day": {"not_before": "2030-01-01"},
    "days swapped": {"not_before": DAY, "not_after": DAY - dt.timedelta(1)},
}


@pytest.mark.parametrize("changes", BAD_KEYS.values(), ids=BAD_KEYS.keys())
def test_a_bad_key_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidOptionError):
        TrustedKey(**{"name": "k", "public_key": BITS, **changes})


FIELD = 2**255 - 19
D = -121665 * pow(121666, -1, FIELD) % FIELD
Y8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7


def y_of_double(y: int) -> int:
    """The y of twice a point of edwards25519, from y alone: x^2 = (y^2 - 1) / (d y^2 + 1)."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, FIELD) % FIELD
    return (y * y + square) * pow(1 - D * square * y * y, -1, FIELD) % FIELD


@pytest.mark.parametrize("y", [0, 1, FIELD - 1, FIELD, FIELD + 1, Y8, FIELD - Y8])
@pytest.mark.parametrize("sign", [0, 1])
def test_a_key_that_anyone_can_sign_for_is_refused(y: int, sign: int) -> None:
    assert y_of_double(y_of_double(y_of_double(y))) == 1  # eight times the point is the identity
    with pytest.raises(InvalidOptionError, match="small order"):
        TrustedKey(name="k", public_key=(y | sign << 255).to_bytes(32, "little"))


def test_such_a_key_would_indeed_accept_a_forgery() -> None:
    """Why small orders are refused: with the identity, one signature fits all."""
    pytest.importorskip("cryptography")
    identity = (1).to_bytes(32, "little")
    forged = identity + bytes(32)
    assert ed25519.verify(identity, forged, b"anything")


BAD_POLICIES: dict[str, dict[str, Any]] = {
    "no key": {"keys": []},
    "not keys": {"keys": [BITS]},
    "one key": {"keys": KEY},
    "text": {"keys": "abc"},
    "one name twice": {"keys": [KEY, TrustedKey(name="release", public_key=OTHER.public_key)]},
    "one key twice": {"keys": [KEY, TrustedKey(name="again", public_key=BITS)]},
    "too many": {
        "keys": [TrustedKey(name=str(i), public_key=bytes([i + 2] * 32)) for i in range(33)]
    },
}


@pytest.mark.parametrize("changes", BAD_POLICIES.values(), ids=BAD_POLICIES.keys())
def test_a_bad_policy_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidOptionError, match="keys must be"):
        TrustPolicy(**{"keys": [KEY], "home": None, **changes})


def test_keys_cannot_be_added_afterwards() -> None:
    keys = [KEY]
    policy = TrustPolicy(keys=keys, home=None)
    keys.append(OTHER)
    assert policy.keys == (KEY,)


def test_the_day_is_that_of_utc() -> None:
    late = dt.datetime(2030, 6, 15, 23, tzinfo=dt.timezone(dt.timedelta(hours=-2)))
    assert TrustPolicy(keys=[KEY], home=None, clock=lambda: late).today() == dt.date(2030, 6, 16)
    assert system_clock().tzinfo is dt.UTC


@pytest.mark.parametrize("now", [dt.datetime(2030, 6, 15), DAY, 0, None])
def test_a_clock_without_a_time_zone_is_refused(now: Any) -> None:
    with pytest.raises(InvalidOptionError, match="time zone"):
        TrustPolicy(keys=[KEY], home=None, clock=lambda: now).today()


WITHOUT = """
import sys
sys.modules["cryptography"] = None  # what an environment without it does on import
from edge_sdk import MissingExtraError, TrustedKey, TrustPolicy, open_bundle
open_bundle(sys.argv[1])
open(sys.argv[1] + "/manifest.sig", "wb").write(bytes(64))
open_bundle(sys.argv[1])
policy = TrustPolicy(keys=[TrustedKey(name="k", public_key=bytes(range(32)))], home=None)
try:
    open_bundle(sys.argv[1], trust=policy)
except MissingExtraError as error:
    print(error)
"""


def test_without_cryptography_an_error_says_what_to_install(tiny_bundle: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, tiny_bundle], capture_output=True, text=True, check=True
    )
    assert "pip install 'edge-sdk[secure]'" in done.stdout
