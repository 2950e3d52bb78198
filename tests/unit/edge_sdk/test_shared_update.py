"""Updates that leave in another form: what coding takes is carried on, once, and is forgotten."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk import Personalizer
from edge_sdk.audit_entries import UpdateSent
from edge_sdk.errors import NothingTaughtError
from edge_sdk.keys import FixedKey
from edge_sdk.shared_update import ShareTerms
from edge_sdk.update import ModelUpdate, joint_norm
from tests.support.homes import all_bytes
from tests.support.tiny import class_examples

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TERMS = ShareTerms(clipping_norm=10.0)
TAKEN = np.float32(0.125)


@pytest.fixture
def personal(tiny_labelled_bundle: Path, tmp_path: Path) -> Iterator[Personalizer]:
    rng = np.random.default_rng(3)
    with Personalizer(tiny_labelled_bundle, home=tmp_path / "home") as personalizer:
        for slot, label in enumerate(("circle", "square")):
            personalizer.teach(label, class_examples(rng, 2, seed=slot))
        yield personalizer


def delta_of(personalizer: Personalizer) -> np.ndarray:
    return np.array(personalizer.update(10.0).delta["prototypes"])


def code(made: ModelUpdate) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Takes the same from each number; what is left is sent."""
    values = made.delta["prototypes"]
    taken = np.full_like(values, TAKEN)
    return values - taken, {"prototypes": taken}


def test_what_was_taken_is_in_the_next_update_and_only_there(personal: Personalizer) -> None:
    plain = delta_of(personal)
    first = personal.share(code, TERMS)
    np.testing.assert_array_equal(first, plain - TAKEN)
    second = personal.share(lambda made: (made.delta["prototypes"], None), TERMS)
    np.testing.assert_allclose(second[:2], plain[:2] + TAKEN, atol=1e-6)
    np.testing.assert_array_equal(second[2:], 0)  # the user's own slots stay empty
    np.testing.assert_array_equal(delta_of(personal), plain)


def test_over_many_rounds_all_of_it_arrives(personal: Personalizer) -> None:
    """Coarse rounding without error feedback would send nothing at all of small numbers."""
    step = np.float32(8.0)

    def coarse(made: ModelUpdate) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        values = made.delta["prototypes"]
        sent = (np.trunc(values / step) * step).astype(np.float32)
        return sent, {"prototypes": values - sent}

    plain = delta_of(personal)
    assert not coarse(ModelUpdate("0" * 64, {"prototypes": plain}))[0].any()
    terms = ShareTerms(clipping_norm=1e6)
    sent = [personal.share(coarse, terms) for _ in range(40)]
    total = np.sum(sent, axis=0)
    assert np.abs(total - 40 * plain).max() <= step


def test_the_bound_holds_with_what_is_carried(personal: Personalizer) -> None:
    personal.share(lambda made: (None, {"prototypes": 1e6 + made.delta["prototypes"]}), TERMS)
    made = personal.share(lambda made: (made, None), ShareTerms(clipping_norm=0.25))
    assert joint_norm(made.delta) <= 0.25


def test_it_counts_when_the_server_says_so(personal: Personalizer) -> None:
    plain = delta_of(personal)
    personal.share(code, TERMS, token="round-1")  # noqa: S106 - no secret
    np.testing.assert_array_equal(delta_of(personal), plain)
    personal.settle("round-0")
    np.testing.assert_array_equal(delta_of(personal), plain)
    personal.settle("round-1")
    np.testing.assert_allclose(delta_of(personal)[:2], plain[:2] + TAKEN, atol=1e-6)


@pytest.mark.parametrize("token", ["", "pending"])
@pytest.mark.parametrize("key", [None, b"k" * 32])
def test_forgetting_takes_it_away_from_memory_and_files(
    tiny_labelled_bundle: Path, tmp_path: Path, token: str, key: bytes | None
) -> None:
    home, rng = tmp_path / "home", np.random.default_rng(3)
    keys = None if key is None else FixedKey(key)
    with Personalizer(tiny_labelled_bundle, home=home, key=keys) as personal:
        for slot, label in enumerate(("circle", "square")):
            personal.teach(label, class_examples(rng, 2, seed=slot))
        ids = [example.id for example in personal.examples]
        residual = rng.normal(size=(4, 8)).astype(np.float32)
        personal.share(lambda _: (None, {"prototypes": residual}), TERMS, token=token)
        secret = base64.b64encode(residual.tobytes())
        assert (secret in all_bytes(home)) == (key is None)  # sealed where there is a key
        personal.forget(ids[0])
        assert secret not in all_bytes(home)
        personal.settle(token or "pending")
        carried = personal.share(lambda made: (made.delta["prototypes"], None), TERMS)
        fresh = delta_of(personal)
        np.testing.assert_array_equal(carried, fresh)


def test_it_survives_a_restart_and_not_an_erasure(
    tiny_labelled_bundle: Path, tmp_path: Path, personal: Personalizer
) -> None:
    plain = delta_of(personal)
    personal.share(code, TERMS)
    with Personalizer(tiny_labelled_bundle, home=tmp_path / "home") as again:
        kept = again.share(lambda made: (made.delta["prototypes"], made.delta), TERMS)
        np.testing.assert_allclose(kept[:2], plain[:2] + TAKEN, atol=1e-6)
        again.erase()
        for slot, label in enumerate(("circle", "square")):
            again.teach(label, class_examples(np.random.default_rng(3), 2, seed=slot))
        first = again.share(lambda made: (made.delta["prototypes"], None), TERMS)
        np.testing.assert_array_equal(first, delta_of(again))


def test_an_update_of_what_is_forgotten_meanwhile_does_not_leave(personal: Personalizer) -> None:
    ids = [example.id for example in personal.examples]
    made: list[np.ndarray] = []

    def forgetful(update: ModelUpdate) -> tuple[np.ndarray, None]:
        if not made:
            personal.forget(ids[0])
        made.append(np.array(update.delta["prototypes"]))
        return made[-1], None

    left = personal.share(forgetful, TERMS)
    assert len(made) == 2
    assert not np.array_equal(made[0], made[1])
    np.testing.assert_array_equal(left, delta_of(personal))
    sent = [r.entry for r in personal.audit_log.records() if isinstance(r.entry, UpdateSent)]
    assert [entry.num_examples for entry in sent] == [3, 3]  # of this share, and of delta_of


def test_where_coding_fails_nothing_is_logged_or_carried(personal: Personalizer) -> None:
    plain = delta_of(personal)
    before = len(personal.audit_log.records())

    def fails(_: ModelUpdate) -> tuple[None, None]:
        raise NothingTaughtError

    with pytest.raises(NothingTaughtError):
        personal.share(fails, TERMS)
    assert len(personal.audit_log.records()) == before
    np.testing.assert_array_equal(delta_of(personal), plain)
