"""What a coordinator sets for private rounds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edge_sdk.errors import InvalidOptionError
from federated.privacy.tree import tree_height

SAMPLINGS = ("poisson", "fixed", "none")
NOISES = ("central", "distributed", "tree", "local")
DEVICE_NOISES = ("distributed", "local")
"""Those that devices add before anything leaves them."""
ACCOUNTANTS = ("pld", "rdp")

_COUNT_TO_UPDATE_NOISE = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class PrivacyOptions:
    """User-level differential privacy of a run.

    Attributes:
        noise_multiplier: Deviation of the noise on the sum divided by what one user can change in
            it, finite and positive. It is what accounting uses; adaptive clipping is paid from it.
            With `local` noise it is of each device's own noise, over twice the clipping norm: what
            can lie between any two updates of a user.
        epsilon: The budget, positive: no round is run that would exceed it.
        delta: Chance of the budget's exception, in (0, 1); below 1 / users.
        sampling: `poisson`: each client by itself, with amplification. `fixed`: as many clients as
            asked for; `none`: whoever is there. Both claim no amplification.
        noise: `central`: the server adds it to the sum. `distributed`: each device adds a share
            before its update leaves, so that the server never sees a sum without noise. `tree`:
            the server, correlated from round to round (DP-FTRL), for devices that come when they
            can: no sampling, but a user is used at most once in `tree_rounds` rounds. `local`:
            each device, so much that its own update is private against the server too; the noise of
            all of them is in the sum.
        min_contributors: With `distributed`: how many shares are enough; with fewer, nothing is
            released. More of them only add noise.
        tree_rounds: With `tree`: rounds after which a new tree begins, at least 1.
        accountant: `pld` (tighter) or `rdp`: which figure the budget is held to.
        target_quantile: Share of updates that the clipping norm should leave whole, in (0, 1),
            found by private quantile tracking; 0 keeps the norm fixed.
        quantile_rate: How fast the norm moves, positive.
        count_noise_multiplier: Noise on the count that tracking needs, over what one user changes
            in it, above `noise_multiplier`; 0 takes 5 times that one.
    """

    noise_multiplier: float = 1.0
    epsilon: float = 8.0
    delta: float = 1e-5
    sampling: str = "poisson"
    noise: str = "central"
    min_contributors: int = 0
    tree_rounds: int = 0
    accountant: str = "pld"
    target_quantile: float = 0.0
    quantile_rate: float = 0.2
    count_noise_multiplier: float = 0.0

    def __post_init__(self) -> None:
        for name in ("noise_multiplier", "epsilon", "quantile_rate"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                msg = f"{name} must be finite and > 0, got {value!r}"
                raise InvalidOptionError(msg)
        if not 0 < self.delta < 1:
            msg = f"delta must be in (0, 1), got {self.delta!r}"
            raise InvalidOptionError(msg)
        if not 0 <= self.target_quantile < 1:
            msg = f"target_quantile must be in [0, 1), got {self.target_quantile!r}"
            raise InvalidOptionError(msg)
        for name, known in (
            ("sampling", SAMPLINGS),
            ("noise", NOISES),
            ("accountant", ACCOUNTANTS),
        ):
            if getattr(self, name) not in known:
                msg = f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}"
                raise InvalidOptionError(msg)
        self._check_together()

    def _check_together(self) -> None:
        if (self.noise == "distributed") != (self.min_contributors > 0):
            msg = "min_contributors is for distributed noise, and needed there: at least 1"
            raise InvalidOptionError(msg)
        if (self.noise == "tree") != (self.tree_rounds > 0):
            msg = "tree_rounds is for tree noise, and needed there: at least 1"
            raise InvalidOptionError(msg)
        if self.noise == "local" and self.sampling == "poisson":
            msg = (
                "local noise is against the server, which knows whom it asks: set sampling to fixed"
            )
            raise InvalidOptionError(msg)
        if self.noise == "tree" and self.sampling == "poisson":
            msg = "tree noise asks whoever is there: set sampling to fixed or none"
            raise InvalidOptionError(msg)
        if self.noise != "central" and self.target_quantile:
            msg = "adaptive clipping needs central noise, drawn anew in each round"
            raise InvalidOptionError(msg)
        if not (
            self.count_noise_multiplier == 0
            or (
                math.isfinite(self.count_noise_multiplier)
                and self.count_noise_multiplier > self.noise_multiplier
            )
        ):
            msg = "count_noise_multiplier must be 0, or finite and above noise_multiplier"
            raise InvalidOptionError(msg)

    def num_charges(self, rounds: int) -> int:
        """How many releases `rounds` rounds are: each by itself, or one for each tree."""
        return -(-rounds // self.tree_rounds) if self.tree_rounds else rounds

    @property
    def charge_multiplier(self) -> float:
        """Noise multiplier of one release: in a tree, one user changes several noised sums."""
        if not self.tree_rounds:
            return self.noise_multiplier
        return self.noise_multiplier / math.sqrt(tree_height(self.tree_rounds))

    @property
    def count_multiplier(self) -> float:
        """Noise multiplier of the quantile's count."""
        return self.count_noise_multiplier or _COUNT_TO_UPDATE_NOISE * self.noise_multiplier

    @property
    def update_multiplier(self) -> float:
        """Noise multiplier of the updates' sum, so that sum and count together cost the whole.

        Andrew et al., "Differentially Private Learning with Adaptive Clipping", NeurIPS 2021,
        theorem 1: two Gaussian mechanisms compose as `z**-2 = z_update**-2 + z_count**-2`.
        """
        if not self.target_quantile:
            return self.noise_multiplier
        return 1 / math.sqrt(self.noise_multiplier**-2 - self.count_multiplier**-2)
