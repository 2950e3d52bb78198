"""What a round is given and what it gives back: frozen records, checked where they are built."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from edge_sdk.errors import InvalidOptionError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    import numpy as np
    from numpy.typing import NDArray

    from edge_sdk.update import ModelUpdate
    from federated.privacy.mechanism import DeviceNoise

    Tensors: TypeAlias = Mapping[str, NDArray[np.float32]]

AGGREGATORS = ("mean", "median", "trimmed_mean")
SERVER_OPTIMIZERS = ("sgd", "momentum", "adam")


class Refusal(StrEnum):
    """Why the server did not use a reply."""

    MALFORMED = "malformed"
    NOT_SAMPLED = "not_sampled"
    DUPLICATE = "duplicate"
    STALE = "stale"
    LATE = "late"
    WRONG_BUNDLE = "wrong_bundle"
    WRONG_NAMES = "wrong_names"
    WRONG_SHAPE = "wrong_shape"
    WRONG_DTYPE = "wrong_dtype"
    NON_FINITE = "non_finite"


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundOptions:
    """How rounds are run.

    Attributes:
        rounds: Server iterations, at least 1.
        cohort_size: Clients wanted in each round, at least 1; all of them if there are fewer.
        server_lr: Length of the server's step, finite and positive; 1 moves to the mean.
        clipping_norm: L2 bound on one client's whole update, finite and positive.
        seed: Seed of the cohort sampling, at least 0. Private rounds sample from the operating
            system instead.
        steps: Inner steps on the device, at least 1; None takes the bundle's own number.
        over_selection: At least 1: this many times `cohort_size` clients are asked, and the round
            closes at `cohort_size` usable updates.
        server_optimizer: `sgd` (FedAvg and Reptile), `momentum` (FedAvgM) or `adam` (FedAdam).
        momentum: Of `momentum`, and first moment of `adam`, in [0, 1).
        second_moment: Of `adam`, in [0, 1).
        adaptivity: Of `adam`: what is added to the root of the second moment, positive.
        aggregator: `mean`; or `median`, `trimmed_mean` coordinate by coordinate, which need single
            updates and have no bound on one user that privacy could rest on.
        trim_share: Of `trimmed_mean`: share cut off at each end, in [0, 0.5).
    """

    rounds: int = 5
    cohort_size: int = 10
    server_lr: float = 1.0
    clipping_norm: float = 10.0
    seed: int = 0
    steps: int | None = None
    over_selection: float = 1.0
    server_optimizer: str = "sgd"
    momentum: float = 0.9
    second_moment: float = 0.99
    adaptivity: float = 1e-3
    aggregator: str = "mean"
    trim_share: float = 0.1

    def __post_init__(self) -> None:
        for name, value, least in (
            ("rounds", self.rounds, 1),
            ("cohort_size", self.cohort_size, 1),
            ("seed", self.seed, 0),
            ("steps", 1 if self.steps is None else self.steps, 1),
        ):
            if type(value) is not int or value < least:
                msg = f"{name} must be an integer >= {least}, got {value!r}"
                raise InvalidOptionError(msg)
        for name in ("server_lr", "clipping_norm", "adaptivity"):
            rate = getattr(self, name)
            if not (math.isfinite(rate) and rate > 0):
                msg = f"{name} must be finite and > 0, got {rate!r}"
                raise InvalidOptionError(msg)
        for name, most in (("momentum", 1), ("second_moment", 1), ("trim_share", 0.5)):
            share = getattr(self, name)
            if not 0 <= share < most:
                msg = f"{name} must be in [0, {most}), got {share!r}"
                raise InvalidOptionError(msg)
        if not 1 <= self.over_selection <= 100:
            msg = f"over_selection must be in 1..100, got {self.over_selection!r}"
            raise InvalidOptionError(msg)
        for name, known in (("server_optimizer", SERVER_OPTIMIZERS), ("aggregator", AGGREGATORS)):
            if getattr(self, name) not in known:
                msg = f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}"
                raise InvalidOptionError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundTask:
    """What one round asks of its cohort.

    Attributes:
        server_round: Number of the round, from 0.
        cohort: Ids of the sampled clients, ascending.
        shared: The tensors that are averaged, as they are before this round, float32.
        bundle_digest: The bundle that all clients of the run must hold.
        clipping_norm: L2 bound that a client applies to its whole update.
        steps: Inner steps, or None for the bundle's own number.
        close_at: Usable updates that close the round; None waits for the whole cohort.
        device_noise: What each device does to its update where the noise is distributed or local.
        arriving_norm: L2 bound on an update as it arrives, where its device has added local noise;
            None for the clipping norm.
    """

    server_round: int
    cohort: tuple[str, ...]
    shared: Tensors
    bundle_digest: str
    clipping_norm: float
    steps: int | None
    close_at: int | None = None
    device_noise: DeviceNoise | None = None
    arriving_norm: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What came back from one client: an update, or the code of what went wrong there.

    Attributes:
        client_id: Who replied, as the driver knows it (never as the reply claims it).
        update: The update, or None.
        failure: Code of the error the client reports, or `Refusal.MALFORMED`; None with an update.
        server_round: The round that the reply says it answers; None where the driver knows.
    """

    client_id: str
    update: ModelUpdate | None = None
    failure: str | None = None
    server_round: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundReport:
    """What happened in one round; for the coordinator, who sees who replies in any case.

    Attributes:
        server_round: Number of the round, from 0.
        num_sampled: Clients in the cohort.
        num_accepted: Updates in the sum; with 0 and no noise the shared state is unchanged.
        num_missing: Sampled clients of which no reply was there when the round closed.
        num_clipped: Accepted updates that the server had to clip: a client that broke its bound.
        refused: Replies not used, by `Refusal`.
        failed: Clients that reported an error, by its code.
        mean_update_norm: Mean L2 norm of the accepted updates, after clipping; 0 if there is none,
            and None in a private round, where it would be a release of its own.
        step_norm: L2 norm of the server's step.
        clipping_norm: The bound of this round.
        noise_deviation: Standard deviation of the noise in each coordinate of the released sum.
        denominator: What the sum was divided by.
        given_up: Of a masked round: groups that gave their sum up, by the code of the error. Where
            no sum is left, the round is refused: the shared state is unchanged.
    """

    server_round: int
    num_sampled: int
    num_accepted: int
    num_missing: int
    num_clipped: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    mean_update_norm: float | None = 0.0
    step_norm: float = 0.0
    clipping_norm: float = 0.0
    noise_deviation: float = 0.0
    denominator: float = 0.0
    given_up: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunState:
    """All that the next round depends on, so that a run can go on from it with the same bits.

    Attributes:
        next_round: Number of the round to run next.
        shared: The tensors that are averaged, float32.
        optimizer: The server optimizer's moments by slot and tensor, float64; empty for `sgd`.
        clipping_norm: L2 bound of the next round (adaptive clipping moves it).
        reports: One for each round so far.
        tree: With tree noise: the noises in the sum so far, by level, int64; they stay here.
        used: With tree noise: clients that this tree has used already.
    """

    next_round: int
    shared: dict[str, NDArray[np.float32]]
    optimizer: dict[str, NDArray[np.float64]]
    clipping_norm: float
    reports: tuple[RoundReport, ...]
    tree: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    used: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """The shared tensors after the last round, and one report a round."""

    shared: dict[str, NDArray[np.float32]]
    reports: tuple[RoundReport, ...]
