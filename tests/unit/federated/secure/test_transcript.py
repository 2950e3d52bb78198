"""What the server sees of a masked vector is uniform, also with most of the group on its side."""

from __future__ import annotations

import numpy as np
import pytest

from edge_sdk import _core
from federated.secure import key_agreement as ka
from federated.secure.messages import Kind, decode
from tests.support.secure import Group, make_group

LENGTH = 25_000


def byte_deviation(words: np.ndarray) -> float:
    """How many deviations the chi-square of the bytes is from its mean, at worst over positions."""
    table = words.view(np.uint8).reshape(len(words), -1)
    worst = 0.0
    for column in table.T:
        counts = np.bincount(column, minlength=256)
        chi_square = float(((counts - counts.mean()) ** 2 / counts.mean()).sum())
        worst = max(worst, abs(chi_square - 255) / np.sqrt(2 * 255))
    return worst


def vector_of(group: Group, member: str) -> np.ndarray:
    message = decode(Kind.VECTOR, group.session, group.answer(member))
    return np.frombuffer(message.items[message.party], group.session.word)


@pytest.mark.parametrize("modulus_bits", [16, 32, 64])
def test_a_masked_vector_is_uniform(modulus_bits: int) -> None:
    group = make_group(6, length=LENGTH, modulus_bits=modulus_bits).run_to(Kind.VECTOR)
    words = vector_of(group, "m02")
    assert byte_deviation(words) < 5
    # nor do neighbours, or two members, have anything to do with each other
    assert byte_deviation(words[1:] - words[:-1]) < 5
    assert byte_deviation(words - vector_of(group, "m03")) < 5
    plain = group.values["m02"].astype(group.session.word)
    assert byte_deviation(plain) > 1000, "the test would not see an unmasked vector"


def test_colluders_below_the_threshold_see_only_noise() -> None:
    """Four of six give the server all their keys: masks among the other two are still in place."""
    group = make_group(6, length=LENGTH).run_to(Kind.VECTOR)
    words = vector_of(group, "m04")
    client = group.clients["m04"]
    own = client._secrets.mask_key
    seeds = b"".join(
        ka.mask_seed(own, client._book[p].mask, client._context, 4, p) for p in range(4)
    )
    left = _core.apply_masks(words, add=seeds, subtract=b"")  # 4 subtracted those before it
    assert byte_deviation(left) < 5
    without_self = _core.apply_masks(left, add=b"", subtract=client._secrets.seed)
    assert byte_deviation(without_self) < 5
    last = ka.mask_seed(own, client._book[5].mask, client._context, 4, 5)
    plain = _core.apply_masks(without_self, add=b"", subtract=last)
    np.testing.assert_array_equal(plain.view(np.int32), group.values["m04"])
