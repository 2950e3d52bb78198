"""Shamir's secret sharing of 256-bit secrets (How to Share a Secret, CACM 1979).

Over the integers modulo 2^256 + 297, the smallest prime that every 32-byte secret is below.
Python's integers take a time that depends on their values: whoever can time a device's arithmetic
to the nanosecond is outside of the threat model (docs/SECURE_AGGREGATION.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from federated.secure.errors import BadShareError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PRIME = (1 << 256) + 297
SECRET_BYTES = 32
SHARE_BYTES = 33
_COEFFICIENT_BYTES = 48  # 128 bits more than the prime: the remainder is uniform to 2^-127


def split(
    secret: bytes, threshold: int, points: Sequence[int], random_bytes: Callable[[int], bytes]
) -> list[bytes]:
    """Shares of a secret, any `threshold` of which give it back; fewer say nothing about it.

    Args:
        secret: 32 bytes.
        threshold: At least 1.
        points: Where the polynomial is evaluated: distinct, each >= 1.
        random_bytes: Gives that many bytes of cryptographic quality.

    Returns:
        One share for each point, 33 bytes each.
    """
    drawn = random_bytes(_COEFFICIENT_BYTES * (threshold - 1))
    coefficients = [
        int.from_bytes(drawn[at : at + _COEFFICIENT_BYTES], "little") % PRIME
        for at in range(0, len(drawn), _COEFFICIENT_BYTES)
    ]
    coefficients.append(int.from_bytes(secret, "little"))
    shares = []
    for point in points:
        value = 0
        for coefficient in coefficients:  # Horner; points are small, so one reduction at the end
            value = value * point + coefficient
        shares.append((value % PRIME).to_bytes(SHARE_BYTES, "little"))
    return shares


def weights_at_zero(points: Sequence[int]) -> list[int]:
    """Lagrange's weights for the value at 0 of a polynomial known at distinct points."""
    weights = []
    for i in points:
        above, below = 1, 1
        for j in points:
            if j != i:
                above = above * j % PRIME
                below = below * (j - i) % PRIME
        weights.append(above * pow(below, -1, PRIME) % PRIME)
    return weights


def join(shares: Mapping[int, bytes], weights: Sequence[int]) -> bytes:
    """Give back the secret.

    Args:
        shares: By point; as many as the threshold.
        weights: `weights_at_zero` of the points, in the order of `shares`.

    Raises:
        BadShareError: The shares are not of one secret of 32 bytes.
    """
    total = 0
    for share, weight in zip(shares.values(), weights, strict=True):
        value = int.from_bytes(share, "little")
        if len(share) != SHARE_BYTES or value >= PRIME:
            msg = "a share is not a number below the prime"
            raise BadShareError(msg)
        total += value * weight
    secret = total % PRIME
    if secret >> 256:
        msg = "the shares do not belong to one secret"
        raise BadShareError(msg)
    return secret.to_bytes(SECRET_BYTES, "little")
