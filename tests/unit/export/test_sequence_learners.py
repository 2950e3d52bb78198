"""What the learners that read their support set promise beyond the contract."""

from __future__ import annotations

import pytest
import torch

from edge_sdk.errors import InvalidOptionError
from export.learners.adaptation import adapt_all, predict_mean
from export.learners.base import Learner, LearnerOptions, State
from export.learners.registry import make_learner

WAYS, WIDTH = 6, 8
SMALL = {"lstm": {"width": WIDTH}, "mann": {"width": WIDTH, "rows": 12}}
IN_CONTEXT = {"width": WIDTH, "heads": 2, "layers": 2, "capacity": 12}


def make(name: str, **settings: float) -> Learner:
    options = LearnerOptions(hidden=8, ways=WAYS, settings=settings)
    return make_learner(name, options, seed=0).double().eval()


def examples(labels: list[int], seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn((len(labels), WIDTH), generator=generator, dtype=torch.float64)
    return features, torch.tensor(labels)


def teach(learner: Learner, features: torch.Tensor, labels: torch.Tensor) -> State:
    with torch.no_grad():
        ones = torch.ones(len(labels), dtype=torch.float64)
        state, _ = adapt_all(learner, learner.init(WAYS), features, labels, ones)
    return state


def shaken(learner: Learner) -> Learner:
    """The learner with every weight moved, so that nothing hides behind a start at zero."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in learner.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.add_(0.3 * noise)
    return learner


@pytest.mark.parametrize("name", ["lstm", "mann"])
@pytest.mark.parametrize("weights", ["first", "moved"])
def test_slots_may_be_permuted(name: str, weights: str) -> None:
    learner = make(name, **SMALL[name])
    learner = shaken(learner) if weights == "moved" else learner
    features, labels = examples([0, 1, 2, 0, 2, 1])
    plain = predict_mean(learner, teach(learner, features, labels), features)
    moved = predict_mean(learner, teach(learner, features, 5 - labels), features)
    torch.testing.assert_close(moved.flip(1)[:, :3], plain[:, :3])


def test_the_first_lstm_keeps_a_running_mean() -> None:
    learner = make("lstm", width=WIDTH)
    features, labels = examples([0, 1, 0, 0, 1])
    state = teach(learner, 0.05 * features, labels)  # small, where tanh is the identity
    for slot in (0, 1):
        mean = 0.05 * features[labels == slot].mean(0)
        torch.testing.assert_close(state["cell"][slot], mean, rtol=0.1, atol=1e-3)


def test_the_lstm_reads_others_examples_once_trained() -> None:
    learner = shaken(make("lstm", width=WIDTH))
    features, labels = examples([0, 1])
    alone = teach(learner, features[:1], labels[:1])["hidden"][0]
    after_another = teach(learner, features, labels)["hidden"][0]
    assert (alone - after_another).abs().max() > 1e-3


def test_the_memory_is_written_row_by_row() -> None:
    learner = make("mann", **SMALL["mann"])
    features, labels = examples([3, 1, 4])
    state = teach(learner, features, labels)
    assert state["memory.labels"][:3].argmax(1).tolist() == [3, 1, 4]
    assert (state["memory.usage"][:3] > 0).all()
    assert (state["memory.usage"][3:] < 0).all()
    assert (state["memory.keys"][3:] == 0).all()


def test_a_full_memory_loses_its_least_used_row() -> None:
    learner = make("mann", width=WIDTH, rows=3)
    features = 5 * torch.eye(WIDTH, dtype=torch.float64)[:4]  # nothing is like anything else
    state = teach(learner, features, torch.tensor([0, 1, 2, 3]))
    torch.testing.assert_close(
        state["counts"], torch.tensor([0, 1, 1, 1, 0, 0]).double(), atol=0.05, rtol=0
    )
    assert state["counts"][0] < state["counts"][1]
    again = predict_mean(learner, state, features)
    assert again[1:].argmax(1).tolist() == [1, 2, 3]


def test_an_example_that_is_read_stays_while_another_goes() -> None:
    learner = make("mann", width=WIDTH, rows=3)
    basis = 5 * torch.eye(WIDTH, dtype=torch.float64)
    # the first row is read again by its second example, so the second row is the least used
    features = torch.stack([basis[0], basis[1], basis[0], basis[2]])
    with torch.no_grad():
        learner.gate_bias.fill_(3.0)  # type: ignore[operator]  # always merge
    state = teach(learner, features, torch.tensor([0, 1, 0, 2]))
    assert state["counts"][0] > 1.9


def in_context(**settings: int) -> Learner:
    return shaken(make("incontext", **{**IN_CONTEXT, **settings}))


def test_a_context_taught_in_parts_is_the_context_taught_at_once() -> None:
    learner = in_context()
    features, labels = examples([0, 1, 2, 0, 2, 1])
    ones = torch.ones(3, dtype=torch.float64)
    with torch.no_grad():
        state, _ = learner.adapt(learner.init(WAYS), features[:3], labels[:3], ones)
        state, _ = learner.adapt(state, features[3:], labels[3:], ones)
    for name, want in teach(learner, features, labels).items():
        torch.testing.assert_close(state[name], want)


def test_what_a_query_is_given_depends_on_the_whole_context() -> None:
    learner = in_context()
    features, labels = examples([0, 1, 2])
    query = torch.randn((4, WIDTH), generator=torch.Generator().manual_seed(3)).double()
    few = predict_mean(learner, teach(learner, features[:2], labels[:2]), query)[:, :2]
    more = predict_mean(learner, teach(learner, features, labels), query)[:, :2]
    assert (few - more).abs().max() > 1e-2


def test_queries_do_not_see_each_other() -> None:
    learner = in_context()
    features, labels = examples([0, 1, 2])
    state = teach(learner, features, labels)
    together = predict_mean(learner, state, features)
    alone = torch.cat([predict_mean(learner, state, row[None]) for row in features])
    torch.testing.assert_close(together, alone)


def test_room_in_the_memory_changes_no_answer() -> None:
    features, labels = examples([0, 1, 2, 0])
    small, large = in_context(capacity=4), in_context(capacity=40)
    torch.testing.assert_close(
        predict_mean(small, teach(small, features, labels), features),
        predict_mean(large, teach(large, features, labels), features),
    )


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("lstm", {"width": 0}, "width must be >= 1"),
        ("mann", {"rows": 0}, "rows must be >= 1"),
        ("mann", {"decay": 1.5}, "decay must be in"),
        ("incontext", {"heads": 3}, "width must be a multiple of heads"),
        ("incontext", {"layers": 0}, "layers must be >= 1"),
        ("lora", {"rank": 0}, "rank must be >= 1"),
        ("lora", {"adapted": 5}, "adapted must be at most depth"),
        ("lora", {"heads": 3}, "hidden must be a multiple of heads"),
        ("prompt_tuning", {"prompts": 0}, "prompts must be >= 1"),
        ("qlora", {"bits": 3}, "bits must be 4 or 8"),
    ],
)
def test_sizes_that_make_no_network_are_refused(
    name: str, settings: dict[str, int | float], message: str
) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        make(name, **settings)
