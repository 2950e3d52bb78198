"""A member of a masked round on a device: answers one stage of the server, and ends.

What it must remember is in the vault (`session_vault`); the user's examples stay in their home. An
answer leaves only after the vault has moved on, so no stage is answered twice.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from edge_sdk import Personalizer
from edge_sdk.ed25519 import public_key_of_pem, read_pem
from edge_sdk.errors import BadUpdateError, InvalidOptionError
from edge_sdk.random_words import SystemWords
from edge_sdk.shared_update import ShareTerms
from edge_sdk.signing import SigningKey
from federated.device_home import held_bundle, home_key
from federated.errors import WeakNoiseError
from federated.local_round import round_start
from federated.secure.client import GroupClient
from federated.secure.messages import Kind, session_of
from federated.secure.roster import Roster
from federated.secure.session import Session
from federated.secure.session_vault import SessionVault
from federated.secure.stage_records import decode_stage, encode_answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flwr.app import RecordDict

    from edge_sdk import Bundle, KeyStore, ModelUpdate
    from edge_sdk.arrays import Float32Array
    from edge_sdk.random_words import RandomWords
    from federated.secure.stage_records import Stage, Work
    from federated.settings import ClientSettings


def answer_stage(
    content: RecordDict,
    settings: ClientSettings,
    state: RecordDict,
    *,
    key: KeyStore | None = None,
    random: RandomWords | None = None,
) -> RecordDict:
    """Answer one stage of a masked round.

    Args:
        content: What the server asks (`stage_records`).
        settings: This node's own.
        state: Of Flower's context.
        key: Where the home's key is, in place of `settings.key_file`.
        random: Of the noise and of rounding, in tests; the operating system's by default.

    Raises:
        BadUpdateError: The message is malformed, or on another bundle than this device holds.
        InvalidOptionError: This node has no identity key, roster or authority.
        SignatureError: The roster is not the authority's.
        WeakNoiseError: The round has less noise than this device wants.
        SecureAggregationError: The protocol forbids the answer; the class says why.
        EdgeError: As `Personalizer.update`.

    On any error nothing has left, and another message may still be answered.
    """
    stage = decode_stage(content)
    bundle = held_bundle(settings, stage.bundle_digest)
    member = _Member(settings, bundle, key, random or SystemWords())
    if stage.kind is None:  # who cannot take part says so before groups are formed
        return encode_answer(None, b"")
    vault = SessionVault(settings.home, state)
    with vault.locked():
        return encode_answer(stage.kind, member.answer(stage, vault))


class _Member:
    """This device, for one message."""

    def __init__(
        self,
        settings: ClientSettings,
        bundle: Bundle,
        key: KeyStore | None,
        random: RandomWords,
    ) -> None:
        if not (settings.identity_key and settings.roster and settings.authority):
            msg = (
                "masked rounds need identity-key, roster and authority in the node config; make "
                "them with: edge-sdk federated roster"
            )
            raise InvalidOptionError(msg)
        if settings.local_epsilon:
            msg = "this device takes part in rounds with local noise only, which are not masked"
            raise WeakNoiseError(msg)
        self._settings, self._bundle, self._random = settings, bundle, random
        self._home_key = home_key(settings, key)
        self._identity = SigningKey.read(settings.identity_key)
        authority = public_key_of_pem(read_pem(settings.authority, "public"))
        self._roster = Roster.read(settings.roster, authority)

    def answer(self, stage: Stage, vault: SessionVault) -> bytes:
        """The answer, after what it needs is in the vault."""
        if stage.kind is Kind.KEYS:
            return self._join(stage.payload, vault)
        digest = session_of(stage.payload)
        secret = vault.open(digest)
        client, token = self._restore(secret)
        if stage.kind is Kind.SHARES:
            answer = client.share(stage.payload)
        elif stage.work is not None:
            client, answer = self._contribute(secret, stage.payload, stage.work)
            token = digest.hex() if stage.work.coding.bits else ""
        elif stage.kind is Kind.TAGS:
            answer = client.confirm(stage.payload)
        else:
            answer = client.reveal(stage.payload)
            vault.end()
            return answer
        vault.advance(digest, _dump(client, token))
        if stage.kind is Kind.TAGS and token:  # this update is in the sum
            with self._personalizer() as personalizer:
                personalizer.settle(token)
        return answer

    def _join(self, session: bytes, vault: SessionVault) -> bytes:
        client = GroupClient(
            Session.from_bytes(session),
            self._settings.client_id,
            self._identity,
            self._roster,
            min_members=self._settings.min_members,
        )
        answer = client.keys()
        vault.begin(client.session.digest, _dump(client, ""))
        return answer

    def _restore(self, secret: bytes) -> tuple[GroupClient, str]:
        kept = json.loads(secret)
        raw = bytes.fromhex(kept["member"])
        client = GroupClient.from_bytes(raw, self._settings.client_id, self._identity, self._roster)
        return client, kept["token"]

    def _contribute(self, secret: bytes, delivery: bytes, work: Work) -> tuple[GroupClient, bytes]:
        """Adapt, clip, code and mask; returns the member after it, and its answer."""
        session = self._restore(secret)[0].session
        self._check(session, work)
        asked = work.instruction

        def code(
            made: ModelUpdate,
        ) -> tuple[tuple[GroupClient, bytes], Mapping[str, Float32Array] | None]:
            client, _ = self._restore(secret)  # a member masks once, and this may be done again
            values, residual = work.coding.encode(made.delta, self._random)
            return (client, client.mask(delivery, values)), residual

        terms = ShareTerms(
            clipping_norm=asked.clipping_norm,
            steps=asked.steps,
            consent_id=self._settings.consent_id or None,
        )
        with self._personalizer() as personalizer:
            start = round_start(self._bundle, personalizer.initial_state, asked.shared)
            return personalizer.share(code, terms, start=start, token=session.digest.hex())

    def _check(self, session: Session, work: Work) -> None:
        coding = work.coding
        if (session.length, session.limit, session.server_round) != (
            coding.size,
            coding.limit,
            work.instruction.server_round,
        ):
            msg = "the round's instruction does not fit the session that this device joined"
            raise BadUpdateError(msg)
        wanted = self._settings.min_noise_multiplier
        if not wanted:
            return
        noise = coding.sigma * math.sqrt(session.threshold)
        if coding.bits or noise < wanted * coding.sensitivity:
            msg = "the devices of this round add less noise than this one wants; ask for more"
            raise WeakNoiseError(msg)

    def _personalizer(self) -> Personalizer:
        return Personalizer(self._bundle, home=self._settings.home, key=self._home_key)


def _dump(client: GroupClient, token: str) -> bytes:
    kept = {"member": client.to_bytes().hex(), "token": token}
    return json.dumps(kept).encode("ascii")
