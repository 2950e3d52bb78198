"""The masked stages of a round over Flower's Grid: each group goes on by itself, to its deadlines.

A stage closes when all who are left have answered or its deadline has passed; whoever is missing
then has left the group. A message that is late, wrong or from a stranger is refused and counted,
and never fatal. A group with too few members left gives its sum up; the others go on.
"""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.ed25519 import public_key_of_pem, read_pem
from edge_sdk.errors import InvalidOptionError
from federated import messages
from federated.messages import Instruction
from federated.privacy.mechanism import DecodedSum, SecureSum, SumCounts
from federated.secure.errors import TooFewMembersError
from federated.secure.grid_group import Asked, GridLink, OpenGroup, Tally, stage_message
from federated.secure.groups import GroupOptions, open_sessions
from federated.secure.roster import Roster
from federated.secure.server import GroupServer, GroupSum
from federated.secure.stage_records import Stage, Work, encode_stage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Self

    from federated.privacy.options import PrivacyOptions
    from federated.rounds.records import RoundTask
    from federated.secure.coding import Coding
    from federated.secure.options import MaskingOptions
    from federated.secure.session import Session

NOT_ENROLLED = "not_enrolled"  # the roster does not have the client

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MaskedRounds:
    """What masked rounds need beside the round itself.

    Attributes:
        options: Groups, modulus, grid, deadline.
        roster: The identity keys of all clients.
        privacy: The run's noise; None without.
        rng: Draws the groups: nobody else must foresee them.
    """

    options: MaskingOptions
    roster: Roster
    privacy: PrivacyOptions | None = None
    rng: np.random.Generator = field(
        default_factory=lambda: np.random.default_rng(secrets.randbits(256))
    )

    @classmethod
    def open(cls, options: MaskingOptions, privacy: PrivacyOptions | None) -> Self:
        """Read the roster.

        Raises:
            SignatureError: It is not the authority's.
            InvalidOptionError: A file cannot be read.
        """
        authority = public_key_of_pem(read_pem(options.authority, "public"))
        return cls(options=options, roster=Roster.read(options.roster, authority), privacy=privacy)

    def collect(
        self, task: RoundTask, nodes: Mapping[str, int], link: GridLink
    ) -> SecureSum | DecodedSum:
        """Run the stages of one round; what the groups that came to an end sum up to.

        Without noise the sum is in the updates' own units, with noise on the noise's grid. Where no
        group came to an end it has no contributors, and the round core refuses the round.
        """
        coding = self.options.coding(task, self.privacy)
        tally = Tally()
        members = [client for client in task.cohort if client in self.roster.keys]
        for client in set(task.cohort) - set(members):
            tally.fail(client, NOT_ENROLLED)
        members = _invite(task, members, nodes, link, tally, self.options.stage_deadline_s)
        total = np.zeros(coding.size, np.int64)
        contributors: set[str] = set()
        for group in self._run(task, coding, members, nodes, link, tally):
            total += group.total
            contributors.update(group.contributors)
        silent = set(task.cohort) - contributors - tally.known
        counts = SumCounts(
            refused=tally.refused,
            given_up=tally.given_up,
            num_missing=len(silent),
        )
        if self.privacy is not None:
            return SecureSum(
                total=total,
                num_contributors=len(contributors),
                failed=tally.failed,
                counts=counts,
            )
        return DecodedSum(
            total=coding.decode(total),
            num_contributors=len(contributors),
            failed=tally.failed,
            counts=counts,
        )

    def _run(
        self,
        task: RoundTask,
        coding: Coding,
        members: list[str],
        nodes: Mapping[str, int],
        link: GridLink,
        tally: Tally,
    ) -> Iterator[GroupSum]:
        sessions = self._sessions(task, coding, members, tally)
        work = Work(
            instruction=Instruction(
                server_round=task.server_round,
                bundle_digest=task.bundle_digest,
                clipping_norm=task.clipping_norm,
                steps=task.steps,
                shared=dict(task.shared),
            ),
            coding=coding,
        )
        asked = Asked(work, messages.encode_instruction(work.instruction), nodes)
        groups = [
            OpenGroup(
                GroupServer(session, self.roster), asked, link, tally, self.options.stage_deadline_s
            )
            for session in sessions
        ]
        for group, session in zip(groups, sessions, strict=True):
            group.ask(dict.fromkeys(session.members, session.to_bytes()))
        while groups:
            for group in list(groups):
                group.listen()
                if group.is_due:
                    group.advance()
                if group.is_over:
                    groups.remove(group)
                    if group.total is not None:
                        yield group.total
            if groups:
                time.sleep(link.poll_s)

    def _sessions(
        self, task: RoundTask, coding: Coding, members: list[str], tally: Tally
    ) -> tuple[Session, ...]:
        """One for each group; none where the cohort is too small for groups with enough noise."""
        try:
            return open_sessions(
                members,
                GroupOptions(size=self.options.group_size, modulus_bits=self.options.modulus_bits),
                server_round=task.server_round,
                length=coding.size,
                limit=coding.limit,
                rng=self.rng,
                min_threshold=0 if self.privacy is None else self.privacy.min_contributors,
            )
        except InvalidOptionError as error:
            _log.warning("round %d is refused: %s", task.server_round, error)
            tally.given_up[TooFewMembersError.code] += 1
            return ()


def _invite(
    task: RoundTask,
    members: list[str],
    nodes: Mapping[str, int],
    link: GridLink,
    tally: Tally,
    deadline_s: float,
) -> list[str]:
    """Who of the cohort is there, before groups are formed.

    A group bears that a third of its members leave. Devices that are offline, of which there may be
    more, are no members then.
    """
    content = encode_stage(Stage(kind=None, payload=b"", bundle_digest=task.bundle_digest))
    clients = {nodes[client]: client for client in members}
    pending = link.push(
        {node: stage_message(content, node, task.server_round, deadline_s) for node in clients}
    )
    closes = time.monotonic() + deadline_s
    there: list[str] = []
    while True:
        for node, msg in link.pull(pending):
            if tally.read(clients[node], msg) is not None:
                there.append(clients[node])
        if not pending or time.monotonic() >= closes:
            return sorted(there)
        time.sleep(link.poll_s)
