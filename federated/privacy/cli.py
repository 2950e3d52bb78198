"""`edge-sdk federated epsilon`, and the privacy options that commands which run rounds share."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from edge_sdk.errors import InvalidOptionError
from federated.privacy.options import ACCOUNTANTS, PrivacyOptions

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
BudgetEpsilon = Annotated[
    float,
    typer.Option("--epsilon", help="Privacy budget: makes the rounds private; 0 adds no noise."),
]
Delta = Annotated[float, typer.Option("--delta", help="Of the budget; below 1 / users.")]
NoiseMultiplier = Annotated[
    float,
    typer.Option(
        "--noise-multiplier",
        help="Noise over the clipping norm; 0 takes the least that fits the budget.",
    ),
]
Sampling = Annotated[
    str, typer.Option("--sampling", help="poisson (amplifies privacy), fixed or none.")
]
Noise = Annotated[
    str,
    typer.Option(
        "--noise", help="central (server), distributed, local (devices) or tree (DP-FTRL)."
    ),
]
MinContributors = Annotated[
    int,
    typer.Option("--min-contributors", help="Devices whose shares are enough; for distributed."),
]
TreeRounds = Annotated[
    int, typer.Option("--tree-rounds", help="Rounds in which a user is used once; for tree.")
]
TargetQuantile = Annotated[
    float,
    typer.Option(
        "--target-quantile", help="Adaptive clipping: share of updates left whole; 0 is off."
    ),
]
Ledger = Annotated[
    Path | None,
    typer.Option(
        "--ledger",
        help="File with what these users have spent; beside OUT (simulate) or the homes (run).",
        show_default=False,
    ),
]


def privacy_options(
    *,
    epsilon: float,
    delta: float,
    noise_multiplier: float,
    sampling: str,
    noise: str,
    min_contributors: int,
    tree_rounds: int,
    target_quantile: float,
    sampling_rate: float,
    rounds: int,
) -> PrivacyOptions | None:
    """What the flags mean; None where no budget is given.

    Raises:
        InvalidOptionError: They do not fit together.
    """
    if epsilon == 0:
        if noise_multiplier:
            msg = "--noise-multiplier needs --epsilon, the budget that ends the rounds"
            raise InvalidOptionError(msg)
        return None
    options = PrivacyOptions(
        noise_multiplier=noise_multiplier or 1.0,
        epsilon=epsilon,
        delta=delta,
        sampling=sampling,
        noise=noise,
        min_contributors=min_contributors,
        tree_rounds=tree_rounds,
        target_quantile=target_quantile,
    )
    if noise_multiplier:
        return options
    from federated.privacy.accounting import noise_multiplier_for

    least = noise_multiplier_for(
        options.accountant,
        epsilon,
        delta,
        sampling=sampling,
        sampling_rate=sampling_rate,
        rounds=options.num_charges(rounds),
    )
    return replace(options, noise_multiplier=least / options.charge_multiplier)


def epsilon_command(
    *,
    sampling_rate: Annotated[
        float, typer.Option(help="Chance of one user to be in a round, in (0, 1].")
    ],
    rounds: Annotated[int, typer.Option(help="Releases.")],
    delta: Annotated[float, typer.Option(help="Below 1 / users.")],
    noise_multiplier: Annotated[
        float | None, typer.Option(help="Noise over the clipping norm.", show_default=False)
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option(help="Ask for the noise that costs this, instead.", show_default=False),
    ] = None,
    sampling: Sampling = "poisson",
    json_output: Json = False,
) -> None:
    """What rounds cost in privacy, or how much noise a budget asks for. The unit is a user.

    Poisson sampling: neighbours add or remove one user. A fixed cohort, or none, from a public
    list: a user's contribution is zeroed out, and no amplification is claimed, whatever the rate.
    """
    from federated.privacy.accounting import UNIT, Spend, noise_multiplier_for, relation
    from federated.privacy.accounting import epsilon as epsilon_of

    if (noise_multiplier is None) == (epsilon is None):
        msg = "give --noise-multiplier to learn epsilon, or --epsilon to learn the noise"
        raise InvalidOptionError(msg)
    known = Spend(
        sampling=sampling,
        sampling_rate=sampling_rate,
        noise_multiplier=1.0 if noise_multiplier is None else noise_multiplier,
        rounds=rounds,
    )
    if epsilon is None:
        figures, what = asdict(epsilon_of([known], delta)), "epsilon"
    else:
        what = "noise_multiplier"
        figures = {
            accountant: noise_multiplier_for(
                accountant,
                epsilon,
                delta,
                sampling=sampling,
                sampling_rate=sampling_rate,
                rounds=rounds,
            )
            for accountant in ACCOUNTANTS
        }
    about = {
        "figure": what,
        "delta": delta,
        "unit": UNIT,
        "relation": relation([known]),
        "sampling": sampling,
    }
    if json_output:
        typer.echo(json.dumps({**figures, **about}, indent=1, sort_keys=True))
        return
    table = Table("accountant", what.replace("_", " "))
    for accountant, value in figures.items():
        table.add_row(accountant.upper(), f"{value:.4f}")
    console = Console(highlight=False)
    console.print(table)
    console.print(f"delta {delta:g}; unit: {UNIT}; neighbours: {about['relation']}")
