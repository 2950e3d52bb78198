"""One suite over every learner: what the contract promises holds, whatever the family."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from export.learners.adaptation import adapt_all, predict_mean
from export.learners.base import UNUSED_LOGIT, Learner, LearnerOptions, State
from export.learners.registry import LEARNERS, make_learner
from tests.support.learners import SMALL

WAYS = 6
OPTIONS = LearnerOptions(input_shape=(1, 20, 20), hidden=8, ways=WAYS, steps=3)


@pytest.fixture(params=sorted(LEARNERS))
def learner(request: pytest.FixtureRequest) -> Learner:
    # float64, so that equalities below are about the algorithm and not about rounding
    options = replace(OPTIONS, settings=SMALL.get(request.param, {}))
    return make_learner(request.param, options, seed=1).double().eval()


def support(learner: Learner, num_classes: int = 3, shots: int = 2) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(5)
    n = num_classes * shots
    x = torch.rand((n, *OPTIONS.input_shape), generator=generator, dtype=torch.float64)
    labels = torch.arange(n) % num_classes
    with torch.no_grad():
        return learner.embed(x), labels, torch.ones(n, dtype=torch.float64)


def adapt(learner: Learner, *inputs: torch.Tensor, ways: int = WAYS) -> State:
    with torch.no_grad():
        return adapt_all(learner, learner.init(ways), *inputs)[0]


def test_the_state_has_counts_that_never_leave(learner: Learner) -> None:
    state = learner.init(WAYS)
    assert learner.roles["counts"] == "personal"
    assert state["counts"].shape == (WAYS,)
    assert set(learner.roles) <= set(state)


def test_slot_tensors_have_one_row_a_slot(learner: Learner) -> None:
    for ways in (2, 5):
        state = learner.init(ways)
        for name, role in learner.roles.items():
            if role == "slot":
                assert state[name].shape[0] == ways


def test_adapt_keeps_the_shapes_of_the_state(learner: Learner) -> None:
    before, after = learner.init(WAYS), adapt(learner, *support(learner))
    assert {k: v.shape for k, v in before.items()} == {k: v.shape for k, v in after.items()}


def test_only_taught_slots_are_predicted(learner: Learner) -> None:
    features, labels, weights = support(learner, num_classes=3)
    state = adapt(learner, features, labels, weights)
    logits = predict_mean(learner, state, features)
    assert (logits[:, 3:] == UNUSED_LOGIT).all()
    assert (logits[:, :3] > UNUSED_LOGIT / 2).all()
    torch.testing.assert_close(state["counts"], torch.tensor([2, 2, 2, 0, 0, 0]).double())


def test_the_loss_is_that_of_the_support_set(learner: Learner) -> None:
    features, labels, weights = support(learner, num_classes=4, shots=1)
    with torch.no_grad():
        if learner.adaptation == "gradient":
            first, _ = adapt_all(learner, learner.init(WAYS), features, labels, weights, steps=1)
            _, losses = adapt_all(learner, learner.init(WAYS), features, labels, weights, steps=2)
            state, seen = first, slice(None)  # before the step
        else:
            state, losses = adapt_all(learner, learner.init(WAYS), features, labels, weights)
            # of the new state, on what the last call saw
            seen = slice(-1, None) if learner.adaptation == "sequential" else slice(None)
        logits = predict_mean(learner, state, features[seen])
        want = torch.nn.functional.cross_entropy(logits, labels[seen])
    torch.testing.assert_close(losses[-1], want, rtol=1e-9, atol=1e-12)


def test_gradient_steps_go_down(learner: Learner) -> None:
    if learner.adaptation != "gradient":
        pytest.skip("takes no gradient steps")
    with torch.no_grad():
        _, losses = adapt_all(
            learner, learner.init(WAYS), *support(learner, num_classes=4, shots=1)
        )
    assert losses.min() < losses[0]


def test_an_example_of_weight_zero_changes_nothing(learner: Learner) -> None:
    features, labels, weights = support(learner)
    padded = adapt(
        learner,
        torch.cat([features, features[:2] * 3]),
        torch.cat([labels, torch.tensor([4, 5])]),
        torch.cat([weights, torch.zeros(2, dtype=torch.float64)]),
    )
    for name, want in adapt(learner, features, labels, weights).items():
        torch.testing.assert_close(padded[name], want, rtol=1e-12, atol=1e-14)


def test_an_example_of_weight_two_counts_twice(learner: Learner) -> None:
    if learner.adaptation == "sequential":
        pytest.skip("reads an example once, however heavy")
    features, labels, weights = support(learner)
    heavy = weights.clone()
    heavy[0] = 2
    doubled = adapt(learner, features, labels, heavy)
    repeated = adapt(
        learner,
        torch.cat([features, features[:1]]),
        torch.cat([labels, labels[:1]]),
        torch.cat([weights, weights[:1]]),
    )
    # a memory holds other rows then: what counts is what the states predict
    torch.testing.assert_close(
        predict_mean(learner, doubled, features * 0.9),
        predict_mean(learner, repeated, features * 0.9),
        rtol=1e-11,
        atol=1e-12,
    )
    torch.testing.assert_close(doubled["counts"], repeated["counts"])


def test_the_order_of_examples_does_not_matter(learner: Learner) -> None:
    if not learner.order_invariant:
        pytest.skip("depends on the order, and says so")
    features, labels, weights = support(learner)
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    shuffled = adapt(learner, features[order], labels[order], weights)
    plain = adapt(learner, features, labels, weights)
    torch.testing.assert_close(
        predict_mean(learner, shuffled, features * 0.9),
        predict_mean(learner, plain, features * 0.9),
        rtol=1e-11,
        atol=1e-12,
    )


def test_no_slot_is_special(learner: Learner) -> None:
    features, labels, weights = support(learner, num_classes=3)
    query = features * 0.9
    plain = predict_mean(learner, adapt(learner, features, labels, weights), query)
    moved = predict_mean(learner, adapt(learner, features, 5 - labels, weights), query)
    torch.testing.assert_close(moved.flip(1)[:, :3], plain[:, :3], rtol=1e-10, atol=1e-12)


def test_unused_slots_do_not_matter(learner: Learner) -> None:
    inputs = support(learner, num_classes=3)
    few, many = adapt(learner, *inputs, ways=3), adapt(learner, *inputs, ways=WAYS)
    torch.testing.assert_close(
        predict_mean(learner, many, inputs[0])[:, :3],
        predict_mean(learner, few, inputs[0]),
        rtol=1e-12,
        atol=0,
    )


def test_the_meta_gradient_agrees_with_finite_differences(learner: Learner) -> None:
    generator = torch.Generator().manual_seed(9)
    x = torch.rand((6, *OPTIONS.input_shape), generator=generator, dtype=torch.float64)
    labels = torch.arange(3).repeat(2)
    weights = torch.ones(3, dtype=torch.float64)

    def loss() -> torch.Tensor:
        features = learner.embed(x)
        state, _ = adapt_all(learner, learner.init(3), features[:3], labels[:3], weights)
        return torch.nn.functional.cross_entropy(
            predict_mean(learner, state, features[3:]), labels[3:]
        )

    loss().backward()  # type: ignore[no-untyped-call]
    for parameter in learner.parameters():
        assert parameter.grad is not None
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        step = 1e-7  # short, as units without bias have their kinks near small features
        with torch.no_grad():
            parameter.add_(step * direction)
            above = loss()
            parameter.sub_(2 * step * direction)
            below = loss()
            parameter.add_(step * direction)
        slope = (above - below) / (2 * step)
        torch.testing.assert_close((parameter.grad * direction).sum(), slope, rtol=1e-4, atol=1e-6)
