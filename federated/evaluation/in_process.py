"""Judging by simulated users, through the device's own code; no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_sdk.errors import EdgeError
from edge_sdk.judgement import judge
from federated.evaluation.run import Answer
from federated.local_round import round_start

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from edge_sdk import Engine
    from federated.evaluation.run import EvaluationTask

    Examples = tuple[NDArray[np.float32], NDArray[np.int64]]


def judge_in_process(
    engine: Engine, task: EvaluationTask, examples: Callable[[str], Examples]
) -> list[Answer]:
    """Let each of a task's cohort judge; an error is an answer too, as on a device.

    Args:
        engine: The current bundle, loaded.
        task: What is asked.
        examples: Features and label slots of a client, by its id.
    """
    current = engine.initial_state()
    candidate = round_start(engine.bundle, current, task.candidate)
    answers = []
    for client_id in task.cohort:
        features, slots = examples(client_id)
        try:
            found = judge(
                engine, current, candidate, features, slots, steps=task.steps, folds=task.folds
            )
        except EdgeError as error:
            answers.append(Answer(client_id=client_id, failure=error.code))
        else:
            answers.append(Answer(client_id=client_id, judgement=found))
    return answers
