"""What a coordinator sets for masked rounds."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sdk.errors import InvalidOptionError
from federated.compress.grid import BITS
from federated.privacy.mechanism import plan_noise
from federated.secure.coding import FINE_STEPS, Coding
from federated.secure.groups import GroupOptions
from federated.secure.session import check_capacity

if TYPE_CHECKING:
    from federated.privacy.options import PrivacyOptions
    from federated.rounds.records import RoundOptions, RoundTask

_ROTATION = b"edge-sdk rotation of a round 1\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskingOptions:
    """Secure aggregation of a run: the server learns sums of groups, and no update.

    Attributes:
        roster: File with the identity keys of all clients, as the authority signed it.
        authority: File with the authority's public key (PEM).
        group_size: Members of a group, about: 3 to 256.
        modulus_bits: 16, 32 or 64: bytes of an entry, and room for the sum of a group.
        value_bits: 8 or 16 rounds updates to so many bits, with a rotation and error feedback; 0
            takes a grid so fine that nothing is left to feed back. Rounds with noise need 0.
        stage_deadline_s: When each of the five stages of a round closes at the latest, seconds.
    """

    roster: str
    authority: str
    group_size: int = 32
    modulus_bits: int = 32
    value_bits: int = 0
    stage_deadline_s: float = 60.0

    def __post_init__(self) -> None:
        if not (self.roster and self.authority):
            msg = "masked rounds need a roster, and the public key of the authority that signed it"
            raise InvalidOptionError(msg)
        GroupOptions(size=self.group_size, modulus_bits=self.modulus_bits)
        if self.value_bits not in (0, *BITS):
            msg = f"value_bits must be one of {[0, *BITS]}, got {self.value_bits!r}"
            raise InvalidOptionError(msg)
        if not (math.isfinite(self.stage_deadline_s) and self.stage_deadline_s > 0):
            msg = f"stage_deadline_s must be finite and > 0, got {self.stage_deadline_s!r}"
            raise InvalidOptionError(msg)

    def coding(self, task: RoundTask, privacy: PrivacyOptions | None) -> Coding:
        """What each device of a round does with its update."""
        size = sum(value.size for value in task.shared.values())
        norm = task.clipping_norm
        if task.device_noise is not None:
            noise = task.device_noise
            return Coding(
                size=size,
                clipping_norm=norm,
                steps_in_norm=noise.steps_in_norm,
                sigma=noise.sigma,
            )
        if privacy is not None:
            steps = plan_noise(privacy, norm, size).grid.steps_in_norm
            return Coding(size=size, clipping_norm=norm, steps_in_norm=steps)
        if self.value_bits:
            about = f"{task.bundle_digest} {task.server_round}".encode("ascii")
            seed = hashlib.sha256(_ROTATION + about).digest()
            return Coding(size=size, clipping_norm=norm, bits=self.value_bits, rotation_seed=seed)
        return Coding(size=size, clipping_norm=norm, steps_in_norm=FINE_STEPS)


def check_masking(
    masking: MaskingOptions, rounds: RoundOptions, privacy: PrivacyOptions | None
) -> None:
    """Refuse what masks make impossible, or what would break a guarantee.

    Raises:
        InvalidOptionError: The options cannot be had together.
        ModulusTooSmallError: The sum of a group could overflow.
    """
    if rounds.aggregator != "mean":
        msg = f"{rounds.aggregator} needs single updates, which masks hide; set aggregator to mean"
        raise InvalidOptionError(msg)
    if privacy is None:
        limit = (1 << (masking.value_bits - 1)) - 1 if masking.value_bits else FINE_STEPS
        check_capacity(masking.group_size, limit, masking.modulus_bits)
        return
    if privacy.noise not in ("central", "distributed"):
        msg = f"{privacy.noise} noise needs single updates; take central or distributed noise"
        raise InvalidOptionError(msg)
    if privacy.target_quantile:
        msg = "adaptive clipping counts single updates, which masks hide; set target_quantile to 0"
        raise InvalidOptionError(msg)
    if privacy.sampling == "poisson":
        msg = (
            "members of a group learn who else is in it, so no amplification can be claimed; set "
            "sampling to fixed or none"
        )
        raise InvalidOptionError(msg)
    if masking.value_bits:
        msg = "noise is scaled for the fine grid; set value_bits to 0"
        raise InvalidOptionError(msg)
    if privacy.min_contributors > masking.group_size:
        msg = (
            "the server learns the sum of each group, so each needs min_contributors shares of "
            "noise; raise group_size"
        )
        raise InvalidOptionError(msg)
