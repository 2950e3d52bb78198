"""learn2learn 0.2.0 and higher 0.2.1, each in the form of its own examples, one task at a time."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import higher
import learn2learn
import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from network import Conv4, Tasks

Gradients = dict[str, Tensor]


def learn2learn_maml(network: Conv4, tasks: Tasks, steps: int, rate: float) -> Gradients:
    """Second-order MAML: `MAML.clone`, `adapt`, `backward`."""
    maml = learn2learn.algorithms.MAML(network, lr=rate, first_order=False)
    maml.zero_grad()
    for support, support_y, query, query_y in tasks:
        learner = maml.clone()
        for _ in range(steps):
            learner.adapt(functional.cross_entropy(learner(support), support_y))
        (functional.cross_entropy(learner(query), query_y) / len(tasks.support)).backward()
    return gradients(network)


def learn2learn_anil(network: Conv4, tasks: Tasks, steps: int, rate: float) -> Gradients:
    """ANIL: all images of a task through the body at once, MAML on the head."""
    maml = learn2learn.algorithms.MAML(network.head, lr=rate, first_order=False)
    network.zero_grad()
    for support, support_y, query, query_y in tasks:
        features = network.body(torch.cat([support, query]))
        learner = maml.clone()
        for _ in range(steps):
            loss = functional.cross_entropy(learner(features[: len(support)]), support_y)
            learner.adapt(loss)
        logits = learner(features[len(support) :])
        (functional.cross_entropy(logits, query_y) / len(tasks.support)).backward()
    return gradients(network)


def higher_maml(network: Conv4, tasks: Tasks, steps: int, rate: float) -> Gradients:
    """Second-order MAML: `innerloop_ctx` and a differentiable SGD."""
    network.zero_grad()
    sgd = torch.optim.SGD(network.parameters(), lr=rate)
    for support, support_y, query, query_y in tasks:
        context = higher.innerloop_ctx(network, sgd, copy_initial_weights=False)
        with context as (functional_network, differentiable):
            for _ in range(steps):
                loss = functional.cross_entropy(functional_network(support), support_y)
                differentiable.step(loss)
            logits = functional_network(query)
            (functional.cross_entropy(logits, query_y) / len(tasks.support)).backward()
    return gradients(network)


def gradients(network: Conv4) -> Gradients:
    """Copies of the gradients by name."""
    return {
        name: copy.deepcopy(parameter.grad)
        for name, parameter in network.named_parameters()
        if parameter.grad is not None
    }
