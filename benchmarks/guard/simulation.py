"""Users who teach, with some labels poisoned, and a guardrail that judges what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from edge_sdk.guardrail import judge
from edge_sdk.guardrail_rule import Decision, GuardrailOptions, Serve
from edge_sdk.paired_tests import at_least

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from benchmarks.guard.writers import Float32, Int64, Writer
    from edge_sdk import Engine, State
    from edge_sdk.guardrail import GuardrailReport, Probe

    Flags = NDArray[np.bool_]
    Poison = Callable[[Int64, np.random.Generator], Int64]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One user's model, judged; accuracies on his own examples that nobody taught, true labels.

    Attributes:
        user: Who.
        base, personal, served: Accuracy of the base, the candidate and what the user gets.
        decision: The guardrail's.
        reason: The guardrail's.
        gap: Its memorization gap.
        suspect_share: How many of the taught labels look wrong to it.
        num_taught: Examples.
        p_worse: Probability of as many of his own untaught examples lost to the base, or more, were
            what he gets as good as the base (sign test); 1 where he gets the base.
    """

    user: int
    base: float
    personal: float
    served: float
    decision: str
    reason: str
    gap: float
    suspect_share: float
    num_taught: int
    p_worse: float


def random_labels(share: float, num_labels: int) -> Poison:
    """Give `share` of the examples another label, any of the others alike."""

    def poison(slots: Int64, rng: np.random.Generator) -> Int64:
        wrong = rng.random(len(slots)) < share
        moved = (slots + rng.integers(1, num_labels, len(slots))) % num_labels
        return np.where(wrong, moved, slots)

    return poison


def swapped_labels(share: float, num_labels: int) -> Poison:
    """Exchange labels in fixed pairs, the same way every time, for `share` of all labels."""

    def poison(slots: Int64, rng: np.random.Generator) -> Int64:
        order = rng.permutation(num_labels)[: 2 * round(share * num_labels / 2)]
        meaning = np.arange(num_labels)
        meaning[order] = order.reshape(-1, 2)[:, ::-1].ravel()
        swapped: Int64 = meaning[slots]
        return swapped

    return poison


@dataclass(frozen=True, slots=True, eq=False)
class Untaught:
    """A user's untaught examples, and what the base gets right of them; bool `[n]`."""

    engine: Engine
    features: Float32
    slots: Int64
    base: Flags

    @classmethod
    def of(cls, engine: Engine, writer: Writer, asked: Int64) -> Self:
        """Of the rows `asked` of what a user wrote."""
        features, slots = writer.features[asked], writer.slots[asked]
        base = right(engine, engine.initial_state(), features, slots)
        return cls(engine, features, slots, base)

    def outcome(
        self, user: int, report: GuardrailReport, candidate: State, served: State | None
    ) -> Outcome:
        """What came of a report; `served` is None where the user gets the base."""
        personal = right(self.engine, candidate, self.features, self.slots)
        got = self.base if served is None else right(self.engine, served, self.features, self.slots)
        losses = int(np.sum(self.base & ~got))
        return Outcome(
            user=user,
            base=float(self.base.mean()),
            personal=float(personal.mean()),
            served=float(got.mean()),
            p_worse=at_least(losses, losses + int(np.sum(got & ~self.base)), 0.5),
            **about(report),
        )


def about(report: GuardrailReport) -> dict[str, Any]:
    """What an outcome takes from a report."""
    return {
        "decision": report.decision.value,
        "reason": report.reason.value,
        "gap": report.gap or 0.0,
        "suspect_share": report.suspect_share or 0.0,
        "num_taught": report.num_examples,
    }


def right(engine: Engine, state: State, features: Float32, slots: Int64) -> Flags:
    """Which examples a state labels right, bool `[n]`."""
    found: Flags = engine.predict(features, state).logits.argmax(axis=1) == slots
    return found


def split(writer: Writer, share: float, rng: np.random.Generator) -> tuple[Int64, Int64]:
    """Rows to teach, `share` of them in a random order, and the rows to test on."""
    rows = rng.permutation(len(writer.slots)).astype(np.int64)
    taught = round(share * len(rows))
    return rows[:taught], rows[taught:]


def teach_once(
    engine: Engine,
    users: Sequence[Writer],
    *,
    share: float,
    poison: Poison,
    splits: int,
    seed: int,
    probe: Probe | None = None,
    options: GuardrailOptions | None = None,
) -> list[Outcome]:
    """Each user teaches `share` of what he wrote, `splits` times over, and is judged once each."""
    outcomes = []
    for number, writer in enumerate(users):
        for repeat in range(splits):
            rng = np.random.default_rng([seed, number, repeat])
            taught, asked = split(writer, share, rng)
            features, slots = writer.features[taught], poison(writer.slots[taught], rng)
            candidate = engine.adapt(features, slots).state
            report = judge(
                engine,
                features,
                slots,
                candidate,
                probe=probe,
                options=options or GuardrailOptions(),
            )
            served = candidate if report.decision is Decision.KEEP else None
            test = Untaught.of(engine, writer, asked)
            outcomes.append(test.outcome(number, report, candidate, served))
    return outcomes


def teach_in_stages(
    engine: Engine,
    users: Sequence[Writer],
    *,
    stages: int,
    poison_from: int,
    poison: Poison,
    splits: int,
    seed: int,
) -> list[Outcome]:
    """As an app does it: teach a part, adapt, be judged, use what serves, teach the next part.

    From stage `poison_from` on, what is taught is poisoned. One outcome a stage.
    """
    outcomes = []
    for number, writer in enumerate(users):
        for repeat in range(splits):
            rng = np.random.default_rng([seed, number, repeat])
            taught, asked = split(writer, 2 / 3, rng)
            ends = np.linspace(0, len(taught), stages + 1).round().astype(int)[1:]
            slots = writer.slots[taught].copy()
            start = 0 if poison_from == 0 else ends[poison_from - 1]
            slots[start:] = poison(slots[start:], rng)
            features = writer.features[taught]
            test = Untaught.of(engine, writer, asked)
            current: int = 0
            serving: State | None = None
            for end in ends:
                candidate = engine.adapt(features[:end], slots[:end]).state
                report = judge(
                    engine,
                    features[:end],
                    slots[:end],
                    candidate,
                    current=np.arange(end) < current,
                )
                if report.serve is Serve.CANDIDATE:
                    current, serving = end, candidate
                elif report.serve is Serve.BASE:
                    current, serving = 0, None
                outcomes.append(test.outcome(number, report, candidate, serving))
    return outcomes


def teach_own_labels(
    engine: Engine,
    users: Sequence[Writer],
    *,
    ways: int,
    shots: int,
    poison: float,
    splits: int,
    seed: int,
) -> list[Outcome]:
    """Users of a bundle that names no labels teach `shots` examples of `ways` letters each.

    The base cannot answer; `base` is what guessing among the labels gets right. Who wrote too few
    examples is left out.
    """
    outcomes = []
    for number, writer in enumerate(users):
        letters = np.flatnonzero(np.bincount(writer.slots) > shots)
        if len(letters) < ways:
            continue
        for repeat in range(splits):
            rng = np.random.default_rng([seed, number, repeat])
            chosen = rng.choice(letters, ways, replace=False)
            rows = [rng.permutation(np.flatnonzero(writer.slots == c)) for c in chosen]
            taught = np.concatenate([r[:shots] for r in rows])
            asked = np.concatenate([r[shots:] for r in rows])
            order = rng.permutation(len(taught))
            slots = np.repeat(np.arange(ways), shots)[order]
            slots = random_labels(poison, ways)(slots, rng)
            features = writer.features[taught[order]]
            candidate = engine.adapt(features, slots).state
            report = judge(engine, features, slots, candidate)
            truth = np.repeat(np.arange(ways), [len(r) - shots for r in rows])
            hits = right(engine, candidate, writer.features[asked], truth)
            kept = report.decision is Decision.KEEP
            outcomes.append(
                Outcome(
                    user=number,
                    base=1 / ways,
                    personal=float(hits.mean()),
                    served=float(hits.mean()) if kept else 1 / ways,
                    p_worse=at_least(int(np.sum(~hits)), len(hits), 1 - 1 / ways) if kept else 1.0,
                    **about(report),
                )
            )
    return outcomes
