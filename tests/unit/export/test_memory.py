"""The memory keeps what a plain list with the same rule keeps, however examples arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from export.learners.memory import (
    KEYS,
    LABELS,
    MEMORY_ROLES,
    WEIGHTS,
    empty_memory,
    memory_labels,
    remember,
)

if TYPE_CHECKING:
    from export.learners.base import State

CAPACITY, DIM, WAYS = 8, 3, 4

Taught = list[tuple[int, float, torch.Tensor]]


def teach(state: State, generator: torch.Generator, n: int) -> tuple[State, Taught]:
    features = torch.randn((n, DIM), generator=generator)
    labels = torch.randint(0, WAYS, (n,), generator=generator)
    weights = torch.randint(0, 3, (n,), generator=generator).float()
    rows = [(int(labels[i]), float(weights[i]), features[i]) for i in range(n)]
    return remember(state, features, labels, weights), rows


def kept(taught: Taught) -> Taught:
    """Equal shares for the labels, the newest within each; oldest first."""
    stored = [row for row in taught if row[1] > 0]
    newer = [sum(r[0] == row[0] for r in stored[i + 1 :]) for i, row in enumerate(stored)]
    best = sorted(range(len(stored)), key=lambda i: (newer[i], -i))[:CAPACITY]
    return [stored[i] for i in sorted(best)]


def empty() -> State:
    return empty_memory(CAPACITY, DIM, WAYS, torch.zeros(()))


def test_it_keeps_what_a_list_with_the_rule_keeps_in_any_number_of_calls() -> None:
    generator = torch.Generator().manual_seed(0)
    overflowed = 0
    for _ in range(40):
        state, taught = empty(), Taught()
        for _ in range(3):
            n = int(torch.randint(1, 9, (), generator=generator))
            state, rows = teach(state, generator, n)
            taught += rows
        want = kept(taught)
        overflowed += len(want) < sum(weight > 0 for _, weight, _ in taught)
        assert int((state[WEIGHTS] > 0).sum()) == len(want)
        for i, (label, weight, features) in enumerate(want):
            assert state[LABELS][i] == label
            assert state[WEIGHTS][i] == weight
            torch.testing.assert_close(state[KEYS][i], features, rtol=0, atol=0)
        assert not state[KEYS][len(want) :].any()
        for slot in range(WAYS):
            assert state["counts"][slot] == sum(w for label, w, _ in want if label == slot)
    assert overflowed > 10  # the rule was put to the test


def test_a_label_taught_often_does_not_drive_out_another() -> None:
    one = remember(empty(), torch.ones(1, DIM), torch.tensor([2]), torch.ones(1))
    full = remember(one, torch.zeros(50, DIM), torch.zeros(50, dtype=torch.int64), torch.ones(50))
    torch.testing.assert_close(full["counts"], torch.tensor([7.0, 0.0, 1.0, 0.0]))


def test_labels_of_rows_not_in_use_are_zeros() -> None:
    state = remember(empty(), torch.ones(2, DIM), torch.tensor([0, 3]), torch.ones(2))
    hot = memory_labels(state)
    torch.testing.assert_close(hot[:2], torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 1]]))
    assert not hot[2:].any()


def test_other_tensors_of_the_state_stay_and_nothing_of_it_may_leave() -> None:
    state = remember({**empty(), "more": torch.ones(2)}, *_one_example())
    torch.testing.assert_close(state["more"], torch.ones(2))
    assert set(empty()) == set(MEMORY_ROLES)
    assert set(MEMORY_ROLES.values()) == {"personal"}


def _one_example() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.ones(1, DIM), torch.tensor([1]), torch.ones(1)
