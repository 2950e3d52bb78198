"""The objectives by name: the one place that lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge_sdk.errors import InvalidOptionError
from export.objectives.pretrain import Pretrain
from export.objectives.query_loss import QueryLoss
from export.objectives.reptile import Reptile
from export.tasks.base import ImagePool

if TYPE_CHECKING:
    from export.learners.base import Learner
    from export.objectives.base import Objective
    from export.tasks.functions import FunctionPool
    from export.train_options import TrainOptions

OBJECTIVES = (QueryLoss.name, Reptile.name, Pretrain.name)


def make_objective(
    learner: Learner, pool: ImagePool | FunctionPool, options: TrainOptions
) -> Objective[Any]:
    """The objective that `learner` names, with fresh parameters that depend on the seed alone.

    Raises:
        InvalidOptionError: No objective has this name, the options do not fit it, or it is for
            labels and these are values.
        NotEnoughImagesError: The pool cannot supply the episodes.
    """
    if options.compile and not isinstance(pool, ImagePool):
        msg = "only losses on labels are compiled; leave compile out for values"
        raise InvalidOptionError(msg)
    if learner.objective == QueryLoss.name:
        if options.compile and not isinstance(pool, ImagePool):
            msg = "the loss of values cannot be compiled; leave compile out"
            raise InvalidOptionError(msg)
        return QueryLoss(pool, options)
    if options.compile or options.deep_supervision:
        msg = f"compile and deep_supervision are for {QueryLoss.name}, not for {learner.objective}"
        raise InvalidOptionError(msg)
    if not isinstance(pool, ImagePool):
        msg = f"{learner.name} is trained on labels ({learner.objective}), not on values"
        raise InvalidOptionError(msg)
    if learner.objective == Pretrain.name:
        return Pretrain(pool, options, learner, seed=options.seed)
    if learner.objective == Reptile.name:
        return Reptile(pool, options)
    msg = f"no objective is called {learner.objective!r}; there are {', '.join(OBJECTIVES)}"
    raise InvalidOptionError(msg)
