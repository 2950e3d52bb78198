"""What a coordinator sets for the judging of candidates."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edge_sdk.errors import InvalidOptionError
from edge_sdk.judgement import MAX_FOLDS


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationOptions:
    """How a candidate is judged before it is promoted.

    Attributes:
        devices: Devices that are asked to judge; on average, where each is drawn by itself.
        margin: The mean gain in accuracy may be this far below zero, as a share in [0, 1).
        confidence: With which it must be above that, in (0.5, 1): noise and the draw of devices
            are both accounted for.
        min_devices: Judgements without which no candidate is promoted, at least 2.
        noise_multiplier: In private runs: deviation of the noise over what one user can change in
            the released counts; finite and positive. It is paid from the run's budget.
        folds: Parts that a device splits its examples into, to adapt on all but one, 2 to 100.
    """

    devices: int = 100
    margin: float = 0.01
    confidence: float = 0.95
    min_devices: int = 10
    noise_multiplier: float = 2.0
    folds: int = 5

    def __post_init__(self) -> None:
        for name, least, most in (
            ("devices", 1, 10**9),
            ("min_devices", 2, 10**9),
            ("folds", 2, MAX_FOLDS),
        ):
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                msg = f"{name} must be an integer in {least}..{most}, got {value!r}"
                raise InvalidOptionError(msg)
        if not 0 <= self.margin < 1:
            msg = f"margin must be in [0, 1), got {self.margin!r}"
            raise InvalidOptionError(msg)
        if not 0.5 < self.confidence < 1:
            msg = f"confidence must be in (0.5, 1), got {self.confidence!r}"
            raise InvalidOptionError(msg)
        if not (math.isfinite(self.noise_multiplier) and self.noise_multiplier > 0):
            msg = f"noise_multiplier must be finite and > 0, got {self.noise_multiplier!r}"
            raise InvalidOptionError(msg)
