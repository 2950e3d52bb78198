from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk import Engine, Personalizer, open_bundle
from edge_sdk.errors import InvalidOptionError
from edge_sdk.update import shareable_names
from federated.local_round import round_start
from federated.round_core import RoundOptions
from federated.service.trial import SIGNS, _hand, draw, make_trial
from federated.simulate import SimulatedClient, simulate

if TYPE_CHECKING:
    from pathlib import Path

USERS = ("ann", "bob", "cat")


def test_rounds_over_the_users_teach_a_newcomer(tmp_path: Path) -> None:
    make_trial(tmp_path, USERS, seed=0)
    engine = Engine(open_bundle(tmp_path / "bundle"))
    assert engine.bundle.manifest.labels == tuple(SIGNS)
    assert shareable_names(engine.bundle.manifest)
    clients = []
    for user in USERS:
        with Personalizer(tmp_path / "bundle", home=tmp_path / "homes" / user) as personalizer:
            features, slots = personalizer.support()
        clients.append(SimulatedClient(client_id=user, features=features, slots=slots))
    result = simulate(engine, clients, RoundOptions(rounds=2))

    rng = np.random.default_rng(99)
    hand = _hand(rng)
    pictures = np.stack([draw(SIGNS[sign], hand, rng) for sign in SIGNS for _ in range(4)])
    state = round_start(engine.bundle, engine.initial_state(), result.shared)
    _, answers = engine.embed_and_predict(pictures, state)
    assert (answers.logits.argmax(axis=1) == np.repeat(np.arange(len(SIGNS)), 4)).mean() > 0.8


@pytest.mark.parametrize(
    ("users", "complaint"),
    [((), "at least one"), (("ann", "ann"), "each once"), (("a b",), "client id")],
)
def test_names_that_are_no_clients_are_refused(
    tmp_path: Path, users: tuple[str, ...], complaint: str
) -> None:
    with pytest.raises(InvalidOptionError, match=complaint):
        make_trial(tmp_path, users, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "homes").mkdir()
    with pytest.raises(InvalidOptionError, match="homes exists"):
        make_trial(tmp_path, USERS, seed=0)
