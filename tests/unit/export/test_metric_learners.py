"""What the metric, closed-form and Bayesian learners compute, against plain formulas."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from edge_sdk.errors import InvalidOptionError
from export.learners.adaptation import predict_both, predict_mean
from export.learners.base import UNUSED_LOGIT, Learner, LearnerOptions, State
from export.learners.cnp import gaussian_nll
from export.learners.frozen import unit_rows
from export.learners.gaussian_softmax import gaussian_softmax
from export.learners.registry import make_learner
from export.learners.ridge import CONDITION, inverse

WAYS, DIM = 6, 32  # conv-4 of 8 channels gives 32 features


def learner_of(name: str, **settings: float) -> Learner:
    options = LearnerOptions(hidden=8, ways=WAYS, settings=settings)
    return make_learner(name, options, seed=1).double().eval()


def taught(learner: Learner, *rows: torch.Tensor, start: State | None = None) -> State:
    features, labels = rows
    weights = torch.ones(len(labels), dtype=torch.float64)
    with torch.no_grad():
        state, _ = learner.adapt(start or learner.init(WAYS), features, labels, weights)
    return state


def features_of(learner: Learner, n: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand((n, 1, 28, 28), generator=generator, dtype=torch.float64)
    with torch.no_grad():
        return learner.embed(x)


@pytest.mark.parametrize(
    "name",
    [
        "prototypical", "matching", "siamese", "relation", "retrieval", "ridge", "hypernetwork",
        "cnp", "versa",
    ],
)  # fmt: skip
def test_labels_taught_one_after_the_other_are_as_if_taught_at_once(name: str) -> None:
    learner = learner_of(name)
    features, labels = features_of(learner, 9), torch.arange(9) // 3
    state = None
    for label in range(3):
        own = labels == label
        state = taught(learner, features[own], labels[own], start=state)
    assert state is not None
    at_once = taught(learner, features, labels)
    query = features_of(learner, 4, seed=1)
    for got, want in zip(
        predict_both(learner, state, query), predict_both(learner, at_once, query), strict=True
    ):
        if want is not None:
            torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


def test_matching_attends_by_cosine() -> None:
    learner = learner_of("matching")
    features, labels = features_of(learner, 5), torch.tensor([0, 1, 1, 2, 0])
    query = features_of(learner, 3, seed=1)
    scale = learner.get_parameter("log_scale").exp()
    attention = torch.softmax(scale * (unit_rows(query) @ unit_rows(features).T), dim=-1)
    want = attention @ torch.nn.functional.one_hot(labels, 3).double()
    got = predict_mean(learner, taught(learner, features, labels), query)
    torch.testing.assert_close(torch.softmax(got, -1)[:, :3], want, rtol=1e-9, atol=1e-12)


def test_a_siamese_class_has_the_mean_odds_of_its_examples() -> None:
    learner = learner_of("siamese")
    features, labels = features_of(learner, 3), torch.tensor([0, 1, 1])
    query = features_of(learner, 2, seed=1)
    weights = learner.get_parameter("log_weights").exp()
    odds = torch.exp(-((query[:, None] - features).abs() * weights).sum(-1))
    want = torch.log(torch.stack([odds[:, 0], odds[:, 1:].mean(1)], dim=1))
    got = predict_mean(learner, taught(learner, features, labels), query)[:, :2]
    torch.testing.assert_close(got - got[:, :1], want - want[:, :1], rtol=1e-9, atol=1e-12)


def test_only_the_nearest_examples_vote() -> None:
    learner = learner_of("retrieval", neighbours=3, smoothing=1e-9)
    query = torch.eye(DIM, dtype=torch.float64)[:1]
    near, far = query + 0.01, torch.full((1, DIM), 0.5, dtype=torch.float64)
    features = torch.cat([near, near * 2, near * 3, *[far] * 50])
    labels = torch.tensor([0, 0, 1] + [2] * 50)
    p = torch.softmax(predict_mean(learner, taught(learner, features, labels), query), -1)[0]
    torch.testing.assert_close(
        p[:3], torch.tensor([2 / 3, 1 / 3, 0], dtype=torch.float64), rtol=1e-5, atol=1e-5
    )


def test_equal_examples_beyond_the_nearest_still_vote() -> None:
    learner = learner_of("retrieval", neighbours=2)
    same = torch.ones(30, DIM, dtype=torch.float64)
    labels = torch.arange(30) % 2 + torch.arange(30) // 20  # 10 of slot 0, 15 of 1, 5 of 2
    p = torch.softmax(predict_mean(learner, taught(learner, same, labels), same[:1]), -1)[0]
    want = torch.bincount(labels, minlength=WAYS) / 30
    torch.testing.assert_close(p, want.double(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("examples", [1, 100, 100_000])
def test_the_inverse_converges_at_the_worst_condition(examples: int) -> None:
    # all examples equal: one eigenvalue is the trace, the others 0
    direction = unit_rows(torch.arange(1.0, DIM + 1, dtype=torch.float64)[None])
    total = torch.tensor(float(examples), dtype=torch.float64)
    gram = total * direction.T @ direction
    ridge = total / CONDITION
    want = torch.linalg.inv(gram + ridge * torch.eye(DIM, dtype=torch.float64))
    torch.testing.assert_close(inverse(gram, ridge, total), want, rtol=1e-9, atol=1e-12)


def test_ridge_is_the_regularised_least_squares_head() -> None:
    learner = learner_of("ridge", dim=16)
    features, labels = features_of(learner, 12), torch.arange(12) % 4
    rows = unit_rows(features)
    ridge = learner.get_parameter("log_ridge").exp() + len(rows) / CONDITION
    targets = torch.nn.functional.one_hot(labels, WAYS).double()
    gram = rows.T @ rows + ridge * torch.eye(16, dtype=torch.float64)
    want = torch.linalg.solve(gram, rows.T @ targets).T
    got = taught(learner, features, labels)["head.weight"]
    torch.testing.assert_close(got, want.detach(), rtol=1e-9, atol=1e-12)


def test_softmax_of_certain_logits_is_the_softmax() -> None:
    mean = torch.randn((5, 4), generator=torch.Generator().manual_seed(0))
    log_p, variance = gaussian_softmax(mean, torch.zeros_like(mean), torch.tensor([1.0, 1, 0, 1]))
    assert (log_p[:, 2] == UNUSED_LOGIT).all()
    assert not variance.any()
    used = [0, 1, 3]
    torch.testing.assert_close(
        torch.softmax(log_p, -1)[:, used], torch.softmax(mean[:, used], dim=-1)
    )


@pytest.mark.parametrize(("ways", "deviation", "atol"), [(2, 3.0, 0.02), (5, 1.0, 0.04)])
def test_softmax_of_normal_logits_is_near_monte_carlo(
    ways: int, deviation: float, atol: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    mean = 2 * torch.randn((50, ways), generator=generator)
    variance = deviation**2 * torch.rand((50, ways), generator=generator)
    noise = torch.randn((4000, 50, ways), generator=generator)
    samples = torch.softmax(mean + variance.sqrt() * noise, dim=-1)
    log_p, found = gaussian_softmax(mean, variance, torch.ones(ways))
    torch.testing.assert_close(torch.softmax(log_p, -1), samples.mean(0), rtol=0, atol=atol)
    assert found.mean().item() == pytest.approx(samples.var(0).mean().item(), rel=0.15)
    together = torch.stack([found.flatten(), samples.var(0).flatten()])
    assert torch.corrcoef(together)[0, 1] > 0.95


@pytest.mark.parametrize("name", ["cnp", "versa", "bayes_head"])
def test_the_variance_is_one_of_probabilities(name: str) -> None:
    learner = learner_of(name)
    features = features_of(learner, 6)
    state = taught(learner, features, torch.arange(6) % 3)
    logits, variance = predict_both(learner, state, features_of(learner, 4, seed=1))
    p = torch.softmax(logits, -1)
    assert variance is not None
    assert (variance[:, :3] > 0).all()
    assert (variance <= p * (1 - p)).all()
    assert not variance[:, 3:].any()


def test_a_bayesian_head_narrows_with_examples_and_keeps_what_it_knew() -> None:
    learner = learner_of("bayes_head")
    features = features_of(learner, 8)
    one = taught(learner, features[:1], torch.tensor([0]))
    four = taught(learner, features[:4], torch.zeros(4, dtype=torch.int64))
    assert four["head.log_variance"][0].mean() < one["head.log_variance"][0].mean()
    later = taught(learner, features[4:], torch.ones(4, dtype=torch.int64), start=four)
    moved = (later["head.mean"][0] - four["head.mean"][0]).norm() / four["head.mean"][0].norm()
    assert 0 < moved < 0.5  # the new label's examples push the old row, and do not reset it


def test_a_neural_process_learns_values() -> None:
    options = LearnerOptions(input_shape=(1,), task="regression", settings={"units": 16})
    learner = make_learner("cnp", options, seed=0)
    assert not learner.has_embed
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(learner.parameters(), lr=3e-3)
    weights = torch.ones(8)

    def loss() -> torch.Tensor:
        slope = torch.randn((16, 1, 1), generator=generator)
        x = torch.rand((16, 16, 1), generator=generator) * 2 - 1

        def one(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            state, _ = learner.adapt(learner.init(1), x[:8], y[:8], weights)
            mean, variance = predict_both(learner, state, x[8:])
            assert variance is not None
            return gaussian_nll(mean, variance, y[8:]).mean()

        return torch.func.vmap(one)(x, slope * x).mean()

    first, last = loss().item(), math.inf
    for _ in range(150):
        optimizer.zero_grad()
        now = loss()
        last = now.item()
        now.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert first > 0.5 * math.log(2 * math.pi)  # worse than a standard normal
    assert last < 0.3


@pytest.mark.parametrize("side", [8, 14, 28])
def test_resnet_lite_says_its_size(side: int) -> None:
    options = LearnerOptions(input_shape=(1, side, side), hidden=8, backbone="resnet-lite")
    learner = make_learner("prototypical", options, seed=0).eval()
    features = learner.embed(torch.zeros(2, 1, side, side))
    assert learner.init(3)["prototypes"].shape == (3, features.shape[1])


def test_shifts_even_out_outside_training_only() -> None:
    plain = LearnerOptions(input_shape=(1, 28, 28), hidden=8, backbone="resnet-lite")
    shifted = replace(plain, backbone="resnet-lite-shifts")
    one, two = (make_learner("prototypical", made, seed=0) for made in (plain, shifted))
    assert one.state_dict().keys() == two.state_dict().keys()
    x = torch.zeros(3, 1, 28, 28)
    x[:, :, 5:20, 8:22] = torch.rand(3, 1, 15, 14, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(one.embed(x), two.embed(x))
    one.eval()
    two.eval()
    moved = [x.roll(by, (2, 3)) for by in ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))]
    torch.testing.assert_close(two.embed(x), sum(map(one.embed, moved)) / 5)
    torch.testing.assert_close(two.embed(x)[1:2], two.embed(x[1:2]))


def test_a_backbone_that_a_learner_cannot_take_is_refused() -> None:
    with pytest.raises(
        InvalidOptionError,
        match="prototypical takes these backbones: conv4, conv4-groupnorm, resnet-",
    ):
        make_learner("prototypical", LearnerOptions(backbone="vgg"), seed=0)
    with pytest.raises(InvalidOptionError, match="maml takes these backbones: conv4; not"):
        make_learner("maml", LearnerOptions(backbone="resnet-lite"), seed=0)
