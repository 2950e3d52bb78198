"""The coordinator of a group: passes messages on, drops who is gone, and unmasks the sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from federated.secure import key_agreement as ka
from federated.secure import shamir
from federated.secure.client import MASK_SHARE, SELF_SHARE
from federated.secure.errors import (
    BadShareError,
    DuplicateMessageError,
    MalformedMessageError,
    NotAMemberError,
    OutOfOrderError,
    TooFewMembersError,
)
from federated.secure.messages import SERVER, Kind, decode, encode
from federated.secure.vectors import masked, total_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from federated.secure.key_agreement import MemberKeys
    from federated.secure.roster import Roster
    from federated.secure.session import Session


@dataclass(frozen=True, slots=True, eq=False)
class GroupSum:
    """What the server learns from a group.

    Attributes:
        total: Sum of the vectors of `contributors`, int64 `[length]`.
        contributors: Client ids, ascending.
    """

    total: NDArray[np.int64]
    contributors: tuple[str, ...]


class GroupServer:
    """One session, seen from the server.

    While a stage is open, `receive` takes its answers; `advance` closes it, whoever is missing then
    is gone, and gives the messages that open the next one. After the last, `advance` unmasks, and
    `result` is there. Which client an answer came from is what the transport says, never the
    answer.

    Args:
        session: The session, which each member must be sent (`to_bytes`) before it answers.
        roster: The identity keys of all, so that one bad signature stops one member, not the group.
    """

    def __init__(self, session: Session, roster: Roster) -> None:
        self._session, self._roster = session, roster
        self._stage: Kind | None = Kind.KEYS
        self._left = frozenset(range(len(session.members)))
        self._answers: dict[int, dict[int, bytes]] = {}
        self._book: dict[int, MemberKeys] = {}
        self._shared: frozenset[int] = frozenset()
        self._survivors: frozenset[int] = frozenset()
        self._words = np.zeros(session.length, session.word)
        self._result: GroupSum | None = None

    @property
    def stage(self) -> Kind | None:
        """The answer that is awaited; None when the session is over."""
        return self._stage

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """Clients whose answer to this stage is not there yet."""
        return self._names(self._left - self._answers.keys()) if self._stage else ()

    @property
    def result(self) -> GroupSum:
        """The sum.

        Raises:
            OutOfOrderError: The last stage was not closed yet, or the sum was given up.
        """
        if self._result is None:
            msg = "there is no sum: the session is not over, or was given up"
            raise OutOfOrderError(msg)
        return self._result

    def receive(self, client_id: str, raw: bytes) -> None:
        """Take one client's answer to the open stage; refused, it changes nothing.

        Raises:
            NotAMemberError: The client is no member, is gone, or speaks for another.
            DuplicateMessageError: It answered this stage already.
            OutOfOrderError: The answer is to another stage, or the session is over.
            WrongSessionError: It is to another session.
            MalformedMessageError: It is no answer.
            ForgedKeyError: Its keys are not signed by the identity key that the roster has.
        """
        if self._stage is None:
            msg = "the session is over"
            raise OutOfOrderError(msg)
        place = self._session.place(client_id)
        if place is None or place not in self._left:
            msg = f"{client_id} is not in the group, or missed an earlier stage"
            raise NotAMemberError(msg)
        message = decode(self._stage, self._session, raw)
        if message.party != place:
            msg = f"{client_id} sent an answer in another member's name"
            raise NotAMemberError(msg)
        if place in self._answers:
            msg = f"{client_id} answered this stage already"
            raise DuplicateMessageError(msg)
        if message.items.keys() != self._expected(place):
            msg = "malformed message: it is not about the members that it should be about"
            raise MalformedMessageError(msg)
        if self._stage is Kind.KEYS:
            ka.verify_keys(self._session, place, message.items[place], self._roster)
        if self._stage is Kind.REVEALED:
            self._check_revealed(message.items)
        if self._stage is Kind.VECTOR:
            self._words += np.frombuffer(message.items[place], self._session.word)
            message.items[place] = b""
        self._answers[place] = message.items

    def advance(self) -> dict[str, bytes]:
        """Close the stage; returns what to send to whom to open the next, empty after the last.

        Raises:
            TooFewMembersError: Fewer than the threshold answered. The session is over.
            BadShareError, ImplausibleSumError: The sum cannot be unmasked. The session is over.
            OutOfOrderError: It was over already.
        """
        if self._stage is None:
            msg = "the session is over"
            raise OutOfOrderError(msg)
        stage, answers = self._stage, self._answers
        self._stage = None  # unless all goes well
        if len(answers) < self._session.threshold:
            msg = (
                f"{len(answers)} members answered stage {stage.name}, "
                f"{self._session.threshold} must; the sum is given up"
            )
            raise TooFewMembersError(msg)
        self._left, self._answers = frozenset(answers), {}
        outgoing = self._close(stage, answers)
        if stage is not Kind.REVEALED:
            self._stage = Kind(stage + 2)
        return outgoing

    def _close(self, stage: Kind, answers: dict[int, dict[int, bytes]]) -> dict[str, bytes]:
        if stage is Kind.KEYS:
            book = {place: items[place] for place, items in answers.items()}
            self._book = {place: ka.split_keys(raw) for place, raw in book.items()}
            return self._to_all(Kind.KEY_BOOK, book)
        if stage is Kind.SHARES:
            self._shared = self._left
            return self._passed_on(Kind.SHARE_DELIVERY, answers)
        if stage is Kind.VECTOR:
            self._survivors = self._left
            return self._to_all(Kind.SURVIVORS, dict.fromkeys(self._left, b""))
        if stage is Kind.TAGS:
            return self._passed_on(Kind.TAG_DELIVERY, answers)
        self._unmask(answers)
        return {}

    def _expected(self, place: int) -> frozenset[int]:
        """Which members an answer to the open stage is about."""
        if self._stage in (Kind.KEYS, Kind.VECTOR):
            return frozenset((place,))
        if self._stage is Kind.SHARES:
            return frozenset(self._book) - {place}
        if self._stage is Kind.TAGS:
            return self._survivors - {place}
        return self._shared

    def _check_revealed(self, items: dict[int, bytes]) -> None:
        for place, item in items.items():
            kind = SELF_SHARE if place in self._survivors else MASK_SHARE
            if item[0] != kind:
                msg = "malformed message: it reveals the wrong kind of share"
                raise MalformedMessageError(msg)

    def _unmask(self, answers: dict[int, dict[int, bytes]]) -> None:
        chosen = sorted(answers)[: self._session.threshold]
        weights = shamir.weights_at_zero([place + 1 for place in chosen])
        secrets = {
            owner: shamir.join({place + 1: answers[place][owner][1:] for place in chosen}, weights)
            for owner in sorted(self._shared)
        }
        context = ka.book_digest(self._session, self._book)
        add: list[bytes] = []
        subtract: list[bytes] = []
        for owner, secret in secrets.items():
            if owner in self._survivors:
                self._require(
                    ka.promise(self._session, owner, secret) == self._book[owner].promise, owner
                )
                subtract.append(secret)
                continue
            key = ka.private_key(secret)
            self._require(key.public_key().public_bytes_raw() == self._book[owner].mask, owner)
            for place in self._survivors:
                seed = ka.mask_seed(key, self._book[place].mask, context, owner, place)
                # a survivor added the masks with those after it, and subtracted the others
                (subtract if owner > place else add).append(seed)
        words = masked(self._words, add, subtract)
        total = total_of(words, self._session, len(self._survivors))
        self._result = GroupSum(total, self._names(self._survivors))

    def _require(self, ok: bool, owner: int) -> None:
        if not ok:
            msg = f"the shares of {self._session.members[owner]} do not make what it promised"
            raise BadShareError(msg)

    def _names(self, places: frozenset[int]) -> tuple[str, ...]:
        return tuple(self._session.members[place] for place in sorted(places))

    def _to_all(self, kind: Kind, items: dict[int, bytes]) -> dict[str, bytes]:
        raw = encode(kind, self._session, SERVER, items)
        return dict.fromkeys(self._names(self._left), raw)

    def _passed_on(self, kind: Kind, answers: dict[int, dict[int, bytes]]) -> dict[str, bytes]:
        """Give each member what the others addressed to it."""
        return {
            self._session.members[to]: encode(
                kind,
                self._session,
                to,
                {sender: items[to] for sender, items in answers.items() if to in items},
            )
            for to in sorted(self._left)
        }
