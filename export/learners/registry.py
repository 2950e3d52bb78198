"""The learners by name: the one place that lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from edge_sdk.errors import InvalidOptionError
from export.learners.anil import Anil
from export.learners.bayes_head import BayesHead
from export.learners.cnp import Cnp
from export.learners.full_finetune import FullFinetune
from export.learners.hypernetwork import Hypernetwork
from export.learners.incontext import InContext
from export.learners.learned_optimizer import LearnedOptimizer
from export.learners.linear_probe import LinearProbe
from export.learners.lora import Lora
from export.learners.lstm import Lstm
from export.learners.maml import Maml
from export.learners.mann import Mann
from export.learners.matching import Matching
from export.learners.meta_sgd import MetaSgd
from export.learners.prompt_tuning import PromptTuning
from export.learners.prototypical import Prototypical
from export.learners.qlora import QLora
from export.learners.relation import Relation
from export.learners.reptile import Reptile
from export.learners.retrieval import Retrieval
from export.learners.ridge import Ridge
from export.learners.siamese import Siamese
from export.learners.versa import Versa

if TYPE_CHECKING:
    from export.learners.base import Learner, LearnerOptions

LEARNERS: dict[str, type[Learner]] = {
    cls.name: cls
    for cls in (
        Prototypical,
        Anil,
        Maml,
        Matching,
        Siamese,
        Relation,
        Retrieval,
        Ridge,
        Hypernetwork,
        Cnp,
        Versa,
        BayesHead,
        InContext,
        Lstm,
        Mann,
        Lora,
        PromptTuning,
        QLora,
        MetaSgd,
        Reptile,
        LearnedOptimizer,
        LinearProbe,
        FullFinetune,
    )
}


def learner_class(name: str) -> type[Learner]:
    """The learner of this name.

    Raises:
        InvalidOptionError: No learner has this name.
    """
    if name not in LEARNERS:
        msg = f"no learner is called {name!r}; there are {', '.join(sorted(LEARNERS))}"
        raise InvalidOptionError(msg)
    return LEARNERS[name]


def make_learner(name: str, options: LearnerOptions, *, seed: int) -> Learner:
    """Build a learner with fresh weights that depend on `seed` alone.

    Raises:
        InvalidOptionError: No learner has this name, or it has no such setting.
    """
    cls = learner_class(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return cls(options)
