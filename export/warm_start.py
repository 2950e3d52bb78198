"""Begin a run with the trunk of another learner's: one long training then serves many learners.

Pre-training the feature extractor before meta-training is what most few-shot work does since Rusu
et al., "Meta-Learning with Latent Embedding Optimization", ICLR 2019, and Ye, Hu, Zhan, Sha,
"Few-Shot Learning via Embedding Adaptation", CVPR 2020.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from edge_sdk.errors import InvalidOptionError
from export.checkpoint import restore_learner

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch.nn import Module

    from export.learners.base import Learner


def start_from(learner: Learner, checkpoint: Path) -> str:
    """Give `learner` the trunk of another one's checkpoint; all else keeps its first values.

    Args:
        learner: Untrained.
        checkpoint: Of any learner whose trunk has the same parts, of the same shapes.

    Returns:
        SHA-256 of the checkpoint, in hex, which makes the run a run of its own.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        CheckpointError: It is damaged.
        InvalidOptionError: The trunks differ; `learner` is unchanged.
    """
    other = restore_learner(checkpoint)
    mine, theirs = learner.trunk(), other.trunk()
    shapes, wanted = _shapes(theirs), _shapes(mine)
    if not wanted or shapes != wanted:
        msg = (
            f"{learner.name} cannot start from {checkpoint.name}: the {other.name} in it has "
            "another trunk; use the backbone, width and input shape that it was trained with"
        )
        raise InvalidOptionError(msg)
    for name, part in mine.items():
        part.load_state_dict(theirs[name].state_dict())
    return hashlib.sha256(checkpoint.read_bytes()).hexdigest()


def _shapes(parts: Mapping[str, Module]) -> dict[str, tuple[int, ...]]:
    return {
        f"{name}.{key}": tuple(value.shape)
        for name, part in parts.items()
        for key, value in part.state_dict().items()
    }
