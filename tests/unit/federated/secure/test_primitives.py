"""HKDF and Shamir's sharing against published values and their laws; the roster file."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from edge_sdk.errors import InvalidOptionError, SignatureError
from edge_sdk.signing import SigningKey
from federated.secure import shamir
from federated.secure.errors import BadShareError
from federated.secure.key_agreement import hkdf
from federated.secure.roster import Roster
from tests.support.secure import seeded_bytes

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("secret", "salt", "info", "size", "expected"),
    [  # RFC 5869, appendix A.1 to A.3
        (
            b"\x0b" * 22,
            bytes(range(13)),
            bytes(range(0xF0, 0xFA)),
            42,
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            bytes(range(0x50)),
            bytes(range(0x60, 0xB0)),
            bytes(range(0xB0, 0x100)),
            82,
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c6"
            "5e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
        (
            b"\x0b" * 22,
            b"",
            b"",
            42,
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ],
)
def test_hkdf(secret: bytes, salt: bytes, info: bytes, size: int, expected: str) -> None:
    assert hkdf(secret, salt, info, size).hex() == expected


def is_probable_prime(n: int) -> bool:
    """Miller-Rabin with the first twenty primes as bases."""
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71):
        x = pow(base, odd, n)
        if x in (1, n - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


def test_the_field_is_the_smallest_that_holds_every_secret() -> None:
    assert is_probable_prime(shamir.PRIME)
    assert not any(is_probable_prime(n) for n in range(1 << 256, shamir.PRIME))


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32, bytes(range(32))])
def test_any_threshold_of_shares_gives_the_secret_back(secret: bytes) -> None:
    points = [1, 2, 5, 9, 256]
    shares = dict(zip(points, shamir.split(secret, 3, points, seeded_bytes(1)), strict=True))
    for chosen in itertools.permutations(points, 3):
        some = {point: shares[point] for point in chosen}
        assert shamir.join(some, shamir.weights_at_zero(chosen)) == secret


def test_fewer_shares_fit_every_secret() -> None:
    """With two of three shares fixed, each secret has a third share that completes it."""
    points = (1, 2, 3)
    shares = shamir.split(b"a" * 32, 3, points, seeded_bytes(2))
    weights = shamir.weights_at_zero(points)
    for secret in (bytes(32), b"b" * 32):
        known = sum(
            int.from_bytes(share, "little") * weight
            for share, weight in zip(shares[:2], weights[:2], strict=True)
        )
        wanted = int.from_bytes(secret, "little")
        third = (wanted - known) * pow(weights[2], -1, shamir.PRIME) % shamir.PRIME
        some = dict(zip(points, [*shares[:2], third.to_bytes(33, "little")], strict=True))
        assert shamir.join(some, weights) == secret


def test_shares_that_are_none() -> None:
    weights = shamir.weights_at_zero((1, 2))
    for bad in (shamir.PRIME.to_bytes(33, "little"), b"\xff" * 33, bytes(32)):
        with pytest.raises(BadShareError):
            shamir.join({1: bytes(33), 2: bad}, weights)
    above = (shamir.PRIME - 1).to_bytes(33, "little")
    with pytest.raises(BadShareError, match="one secret"):
        shamir.join({1: above, 2: above}, weights)


def test_a_roster_file_says_what_the_authority_signed(tmp_path: Path) -> None:
    authority, stranger = SigningKey.generate(), SigningKey.generate()
    keys = {name: SigningKey.generate().public_key for name in ("ada", "bob-2", "c.3")}
    path = tmp_path / "roster"
    Roster(keys).write(path, authority)
    assert Roster.read(path, authority.public_key).keys == keys
    with pytest.raises(SignatureError):
        Roster.read(path, stranger.public_key)
    with pytest.raises(InvalidOptionError, match="cannot be written"):
        Roster(keys).write(path, authority)
    with pytest.raises(InvalidOptionError, match="cannot be read"):
        Roster.read(tmp_path / "none", authority.public_key)
    raw = path.read_bytes()
    for damaged in (raw[:-1], raw + b"eve " + b"0" * 64, raw[:64].lower() + raw[64:][::-1], b""):
        path.write_bytes(damaged)
        with pytest.raises(SignatureError):
            Roster.read(path, authority.public_key)


def test_what_is_signed_must_be_a_roster(tmp_path: Path) -> None:
    authority = SigningKey.generate()
    key = SigningKey.generate().public_key
    line = f"ada {key.hex()}\n".encode()
    for number, body in enumerate((line * 2, b"ada\n", line.upper(), b"\n")):
        path = tmp_path / str(number)
        path.write_bytes(authority.sign(b"edge-sdk roster 1\n" + body) + body)
        with pytest.raises(InvalidOptionError, match="line"):
            Roster.read(path, authority.public_key)
    for bad in ({"ada": key, "bob": key}, {"a b": key}, {"ada": bytes(32)}):
        with pytest.raises(InvalidOptionError):
            Roster(bad)
