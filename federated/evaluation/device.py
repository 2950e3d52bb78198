"""A device judges a candidate bundle on its user's kept examples, which are only read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_sdk import Personalizer
from federated.device_home import held_bundle, home_key
from federated.evaluation.records import decode_evaluation, encode_judgement
from federated.local_round import round_start

if TYPE_CHECKING:
    from flwr.app import RecordDict

    from edge_sdk import KeyStore
    from federated.settings import ClientSettings


def judge_candidate(
    content: RecordDict, settings: ClientSettings, *, key: KeyStore | None = None
) -> RecordDict:
    """Answer with two shares of right answers; the user's audit log says that they left.

    Args:
        content: What the server asks.
        settings: Of this device.
        key: Where the home's key is, in place of `settings.key_file`.

    Raises:
        BadUpdateError: What is asked is malformed, or about another bundle.
        EdgeError: As `Personalizer.judge`.
    """
    asked, folds = decode_evaluation(content)
    bundle = held_bundle(settings, asked.bundle_digest, asked="the candidate is of")
    with Personalizer(bundle, home=settings.home, key=home_key(settings, key)) as personalizer:
        candidate = round_start(bundle, personalizer.initial_state, asked.shared)
        found = personalizer.judge(
            candidate, steps=asked.steps, folds=folds, consent_id=settings.consent_id or None
        )
    return encode_judgement(found)
