"""A simulated fleet as one TOML file, read strictly. What is left out has its default.

seed = 0
bundle = "bundle"             # folder, relative to this file
out = "run"                   # run.jsonl, summary.json and the next bundle; must not exist

[population]                  # federated.fleet.options.PopulationOptions, and so on
source = "unipen"
devices = 1000

[round]
rounds = 20
replies = 100

[algorithm]
name = "fedavg"

[availability]
[dropout]
[budget]
[attack]
[privacy]                     # its presence makes rounds private: federated.privacy.options
noise_multiplier = 1.0
epsilon = 8.0

[ray]                         # its presence spreads training over processes
processes = 4

[evaluation]                  # its presence has devices judge: federated.evaluation.options
devices = 100

[[tier]]                      # in place of the three default tiers
name = "fast"
share = 0.3
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge_sdk.errors import InvalidOptionError
from federated.evaluation.options import EvaluationOptions  # noqa: TC001, the same as below
from federated.fleet import options as tables
from federated.fleet.options import TIERS
from federated.privacy.options import PrivacyOptions  # noqa: TC001, read by get_type_hints
from federated.strict_toml import build, read_table

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class FleetConfig:
    """The whole file.

    Attributes:
        bundle: Folder of the bundle that all devices hold, relative to the file.
        out: Folder of what the run writes, relative to the file; must not exist.
        seed: Of all that is drawn.
        threads: Devices that adapt at a time; results do not depend on it.
        evaluate_every: Rounds between measurements of the held-out people; 0: only at the end.
        population: Whose data there is.
        round: How rounds are run.
        algorithm: What devices do in them.
        availability: When devices can take part.
        dropout: Where they get lost.
        budget: What they may spend.
        attack: Who wants to harm.
        privacy: Makes the rounds private; noise is drawn from the seed, so that a simulation
            repeats, and its report says that this is no guarantee. None: no noise.
        ray: Trains in several processes, perhaps on several machines; needs the extra `ray`. None:
            in this one.
        evaluation: How devices judge the candidate before it is promoted; None: they do not.
        tier: Classes of devices.
    """

    bundle: str = "bundle"
    out: str = "run"
    seed: int = 0
    threads: int = 2
    evaluate_every: int = 10
    population: tables.PopulationOptions = field(default_factory=tables.PopulationOptions)
    round: tables.FleetRoundOptions = field(default_factory=tables.FleetRoundOptions)
    algorithm: tables.AlgorithmOptions = field(default_factory=tables.AlgorithmOptions)
    availability: tables.AvailabilityOptions = field(default_factory=tables.AvailabilityOptions)
    dropout: tables.DropoutOptions = field(default_factory=tables.DropoutOptions)
    budget: tables.BudgetOptions = field(default_factory=tables.BudgetOptions)
    attack: tables.AttackOptions = field(default_factory=tables.AttackOptions)
    privacy: PrivacyOptions | None = None
    ray: tables.RayOptions | None = None
    evaluation: EvaluationOptions | None = None
    tier: tuple[tables.TierOptions, ...] = TIERS

    def __post_init__(self) -> None:
        for name, least in (("seed", 0), ("threads", 1), ("evaluate_every", 0)):
            if getattr(self, name) < least:
                msg = f"{name} must be >= {least}, got {getattr(self, name)}"
                raise InvalidOptionError(msg)
        if not self.tier or len({tier.name for tier in self.tier}) != len(self.tier):
            msg = "there must be at least one tier, and no two of one name"
            raise InvalidOptionError(msg)
        devices_add_noise = self.privacy is not None and self.privacy.noise in (
            "distributed",
            "local",
        )
        if devices_add_noise and self.attack.kind != "none":
            msg = (
                "where devices add the noise, what an attacker sends in place of it is not "
                "simulated; simulate attacks with central noise, or without"
            )
            raise InvalidOptionError(msg)


def read_config(path: Path) -> FleetConfig:
    """Read a config file.

    Raises:
        InvalidOptionError: It is not TOML, or a key or value is not allowed; the message says
            where.
        FileNotFoundError: There is no such file.
    """
    return build(FleetConfig, read_table(path), path.name)
