"""How many taught labels look wrong, from answers held out from adapting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edge_sdk.paired_tests import Answers


def suspect_share(answers: Answers) -> float:
    """Share of examples whose label is confidently contradicted, 0..1.

    A state that did not see an example gives another label at least the probability that it gives
    the taught labels on average. This is confident learning (Northcutt, Jiang & Chuang, "Confident
    Learning: Estimating Uncertainty in Dataset Labels", JAIR 70, 2021), with one threshold for all
    labels because a user teaches few examples of each. Where a state is seldom right, or never
    sure, it is too high: a reason to ask for more evidence, and no verdict on a label.

    Args:
        answers: To n >= 1 examples.
    """
    usual = answers.probability.mean()
    surely_another = ~answers.right & (answers.largest >= usual) & (answers.largest > 0)
    return float(np.mean(surely_another))
