"""Whose examples are on which device: people of a task source, dealt out to a fleet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.errors import InvalidOptionError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from federated.fleet.options import PopulationOptions

    Float32 = NDArray[np.float32]
    Int = NDArray[np.int64]

_DEALS, _TEACHES = 0, 1  # children of the seed


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """Examples with the person each is of.

    Attributes:
        features: float32 `[num_examples, *features.shape]`.
        slots: Label slot of each, int64 `[num_examples]`.
        persons: Whose it is, int64 `[num_examples]`.
    """

    features: Float32
    slots: Int
    persons: Int


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Some examples: float32 `[n, *features.shape]` and int64 `[n]`."""

    features: Float32
    slots: Int


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """A person who is on no device: what they teach, and what they are then asked."""

    taught: Examples
    asked: Examples


class FleetData:
    """The examples of each device, as rows of one table, and the people who are held out.

    Args:
        taking_part: The people whose examples are dealt out.
        held_out: Those who are only measured.
        options: How to deal.
        seed: Of the dealing.

    Raises:
        InvalidOptionError: Fewer than two people are left to measure.

    Attributes:
        counts: Examples on each device, int64 `[devices]`, all at least 1.
        held_out: What those who are held out teach and are asked.
    """

    def __init__(
        self, taking_part: People, held_out: People, options: PopulationOptions, seed: int
    ) -> None:
        self._people = taking_part
        rng = np.random.default_rng([seed, _DEALS])
        deal = _deal_persons if options.partition == "users" else _deal_dirichlet
        rows = deal(taking_part, options, rng)
        self.counts = np.array([len(part) for part in rows], np.int64)
        self._rows = np.concatenate(rows).astype(np.int32)
        self._starts = np.concatenate([[0], np.cumsum(self.counts)])
        rng = np.random.default_rng([seed, _TEACHES])
        self.held_out = tuple(
            found
            for person in np.unique(held_out.persons)
            if (found := _split(held_out, int(person), options.shots, rng)) is not None
        )
        if len(self.held_out) < 2:
            msg = "fewer than two people are held out with examples left to ask; lower shots"
            raise InvalidOptionError(msg)

    def __len__(self) -> int:
        return len(self.counts)

    def examples(self, device: int) -> Examples:
        """Copy what is on one device."""
        rows = self._rows[self._starts[device] : self._starts[device + 1]]
        return Examples(self._people.features[rows], self._people.slots[rows])


def _deal_persons(
    people: People, options: PopulationOptions, rng: np.random.Generator
) -> list[Int]:
    """Give devices a person each in turn; several devices of one person hold draws of their own."""
    rows_of = [np.flatnonzero(people.persons == person) for person in np.unique(people.persons)]
    dealt = []
    for device in range(options.devices):
        rows = rows_of[device % len(rows_of)]
        size = min(options.examples, len(rows))
        dealt.append(np.sort(rng.choice(rows, size, replace=False)))
    return dealt


def _deal_dirichlet(
    people: People, options: PopulationOptions, rng: np.random.Generator
) -> list[Int]:
    """Draw each device's labels from its own Dirichlet draw (Hsu, Qi and Brown, 2019)."""
    by_slot = {int(slot): np.flatnonzero(people.slots == slot) for slot in np.unique(people.slots)}
    slots = np.array(sorted(by_slot))
    dealt = []
    for _ in range(options.devices):
        shares = rng.dirichlet(np.full(len(slots), options.alpha))
        wanted = rng.multinomial(options.examples, shares)
        parts = [
            rng.choice(by_slot[int(slot)], min(int(count), len(by_slot[int(slot)])), replace=False)
            for slot, count in zip(slots, wanted, strict=True)
            if count
        ]
        dealt.append(np.sort(np.concatenate(parts)))
    return dealt


def _split(people: People, person: int, shots: int, rng: np.random.Generator) -> HeldOut | None:
    """What a person teaches, `shots` of each label that leaves one to ask; None if none does."""
    taught, asked = [], []
    rows = np.flatnonzero(people.persons == person)
    for slot in np.unique(people.slots[rows]):
        of_slot = rng.permutation(rows[people.slots[rows] == slot])
        if len(of_slot) > shots:
            taught.append(of_slot[:shots])
            asked.append(of_slot[shots:])
    if not taught:
        return None
    first, rest = np.concatenate(taught), np.concatenate(asked)
    return HeldOut(
        taught=Examples(people.features[first], people.slots[first]),
        asked=Examples(people.features[rest], people.slots[rest]),
    )
