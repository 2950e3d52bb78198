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

[evaluation]                  # its presence has devices judge: federated.evaluation.options
devices = 100

[[tier]]                      # in place of the three default tiers
name = "fast"
share = 0.3
"""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

from edge_sdk.errors import InvalidOptionError
from federated.evaluation.options import EvaluationOptions  # noqa: TC001, the same as below
from federated.fleet import options as tables
from federated.fleet.options import TIERS
from federated.privacy.options import PrivacyOptions  # noqa: TC001, read by get_type_hints

if TYPE_CHECKING:
    from pathlib import Path

_T = TypeVar("_T")


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


def read_config(path: Path) -> FleetConfig:
    """Read a config file.

    Raises:
        InvalidOptionError: It is not TOML, or a key or value is not allowed; the message says
            where.
        FileNotFoundError: There is no such file.
    """
    with path.open("rb") as file:
        try:
            content = tomllib.load(file)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            msg = f"{path.name} is not TOML: {error}"
            raise InvalidOptionError(msg) from error
    return _build(FleetConfig, content, path.name)


def _build(kind: type[_T], values: Any, where: str) -> _T:
    """Make a dataclass of a table: every key known, every value of the field's own type."""
    if not isinstance(values, dict):
        msg = f"{where} must be a table"
        raise InvalidOptionError(msg)
    hints = get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        msg = f"{where}: no such key: {', '.join(unknown)}; there are {', '.join(sorted(hints))}"
        raise InvalidOptionError(msg)
    missing = sorted(
        f.name
        for f in fields(kind)  # type: ignore[arg-type]
        if f.default is MISSING and f.default_factory is MISSING and f.name not in values
    )
    if missing:
        msg = f"{where} lacks {', '.join(missing)}"
        raise InvalidOptionError(msg)
    read = {key: _value(value, hints[key], f"{where}: {key}") for key, value in values.items()}
    try:
        return kind(**read)
    except InvalidOptionError as error:
        msg = f"{where}: {error}"
        raise InvalidOptionError(msg) from error


def _value(value: Any, hint: Any, where: str) -> Any:
    if get_origin(hint) is UnionType:  # a table that may be left out
        hint = get_args(hint)[0]
    if isinstance(hint, type) and is_dataclass(hint):
        return _build(hint, value, where)
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            msg = f"{where} must be an array"
            raise InvalidOptionError(msg)
        return tuple(
            _value(entry, get_args(hint)[0], f"{where} {i + 1}") for i, entry in enumerate(value)
        )
    wanted = hint if isinstance(hint, type) else str  # a Literal holds strings
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is not wanted:
        msg = f"{where} must be of type {wanted.__name__}, got {type(value).__name__}"
        raise InvalidOptionError(msg)
    return value
