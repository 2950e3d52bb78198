"""`edge-sdk federated`: parse arguments, call this package, print what it says."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from edge_sdk import open_bundle
from edge_sdk.errors import InvalidOptionError, MissingExtraError
from edge_sdk.signing import SigningKey, sign_bundle
from edge_sdk.store import FILE_NAME as STORE_NAME
from federated.changes import cli as changes_cli
from federated.console.cli import report_command, status_command
from federated.evaluation import cli as judging
from federated.evaluation.run import EvaluationReport
from federated.fleet.cli import fleet_command
from federated.privacy import cli as privacy_cli
from federated.round_core import RoundOptions
from federated.secure import cli as secure_cli
from federated.service.cli import add_commands
from federated.show import print_rounds, print_study

if TYPE_CHECKING:
    from federated.privacy.options import PrivacyOptions
    from federated.privacy.private_run import PrivacySetup

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Turn what many devices learned into the next bundle.",
)

app.command("epsilon")(privacy_cli.epsilon_command)
app.command("fleet")(fleet_command)
add_commands(app)
app.command("report")(report_command)
app.command("status")(status_command)
app.command("changes")(changes_cli.changes_command)
app.command("apply-changes")(changes_cli.apply_command)
app.add_typer(secure_cli.roster_app, name="roster")

_DEFAULTS = RoundOptions()
_DELTA = 1e-5
_LEDGER = "privacy.ledger"

BundleArgument = Annotated[Path, typer.Argument(help="The bundle's folder.", show_default=False)]
Out = Annotated[Path, typer.Option("--out", help="Folder of the new bundle; must not exist.")]
Rounds = Annotated[int, typer.Option("--rounds", help="Server iterations.")]
Cohort = Annotated[int, typer.Option("--cohort", help="Clients sampled for each round.")]
ClippingNorm = Annotated[
    float, typer.Option("--clipping-norm", help="L2 bound on one client's whole update.")
]
ServerLr = Annotated[
    float, typer.Option("--server-lr", help="Length of the server's step; 1 moves to the mean.")
]
Seed = Annotated[int, typer.Option("--seed", help="Of all that is drawn at random.")]
Key = Annotated[
    Path | None,
    typer.Option(
        "--key", help="Private key (PEM) to sign the new bundle with.", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
PriorCount = Annotated[
    float,
    typer.Option(
        "--prior-count", help="Weight of the starting state in a named slot, in examples."
    ),
]


@app.command("simulate")
def simulate_command(
    bundle: BundleArgument,
    *,
    out: Out,
    tasks: Annotated[
        str, typer.Option("--tasks", help="Whose writers: digits, glyphs or omniglot.")
    ] = "digits",
    data: Annotated[
        Path | None,
        typer.Option("--data", envvar="EDGE_SDK_DATA", help="Folder with the real data sets."),
    ] = None,
    writers: Annotated[int, typer.Option(help="Writers who take part in rounds.")] = 12,
    held_out: Annotated[int, typer.Option(help="Writers who take part in none.")] = 8,
    images: Annotated[int, typer.Option(help="Images of each class that a writer has.")] = 5,
    rounds: Rounds = _DEFAULTS.rounds,
    cohort: Cohort = _DEFAULTS.cohort_size,
    clipping_norm: ClippingNorm = _DEFAULTS.clipping_norm,
    server_lr: ServerLr = _DEFAULTS.server_lr,
    prior_count: PriorCount = 1.0,
    epsilon: privacy_cli.BudgetEpsilon = 0.0,
    delta: privacy_cli.Delta = _DELTA,
    noise_multiplier: privacy_cli.NoiseMultiplier = 0.0,
    sampling: privacy_cli.Sampling = "poisson",
    noise: privacy_cli.Noise = "central",
    min_contributors: privacy_cli.MinContributors = 0,
    tree_rounds: privacy_cli.TreeRounds = 0,
    target_quantile: privacy_cli.TargetQuantile = 0.0,
    ledger: privacy_cli.Ledger = None,
    judges: judging.Judges = 0,
    margin: judging.Margin = judging.MARGIN,
    min_judges: judging.MinJudges = judging.MIN_JUDGES,
    judge_noise: judging.JudgeNoise = judging.JUDGE_NOISE,
    noise_seed: Annotated[
        int | None,
        typer.Option(
            help="Repeatable noise for experiments; there is no guarantee then.", show_default=False
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint of an interrupted run.")
    ] = False,
    seed: Seed = 0,
    key: Key = None,
    json_output: Json = False,
) -> None:
    """Run rounds over simulated writers; measure the new bundle on writers who took no part.

    A bundle that names no labels is first given those of the tasks: that version is written beside
    OUT, as OUT-start, and rounds start from it.
    """
    try:
        from federated.population import PopulationOptions, open_population
        from federated.study import labelled, run_study
    except ModuleNotFoundError as error:
        msg = f"simulate needs {error.name}: pip install 'edge-sdk[export,federated]'"
        raise MissingExtraError(msg) from error

    signing_key = _signing_key(key)
    options = RoundOptions(
        rounds=rounds,
        cohort_size=cohort,
        server_lr=server_lr,
        clipping_norm=clipping_norm,
        seed=seed,
    )
    people = PopulationOptions(writers=writers, held_out=held_out, images=images, seed=seed)
    opened = open_bundle(bundle)
    start_path = out.with_name(f"{out.name}-start")
    _refuse_existing(out)
    if resume and not opened.manifest.labels:
        opened = open_bundle(start_path)
    if not opened.manifest.labels:
        _refuse_existing(start_path)
    private = privacy_cli.privacy_options(
        epsilon=epsilon,
        delta=delta,
        noise_multiplier=noise_multiplier,
        sampling=sampling,
        noise=noise,
        min_contributors=min_contributors,
        tree_rounds=tree_rounds,
        target_quantile=target_quantile,
        sampling_rate=min(1.0, cohort / writers),
        rounds=rounds,
    )
    population = open_population(tasks, people, max_classes=opened.manifest.ways, data=data)
    start = labelled(
        opened, population.labels, start_path, prior_count=prior_count, key=signing_key
    )
    report = run_study(
        start,
        population,
        options,
        out,
        key=signing_key,
        privacy=_setup(private, ledger, out, noise_seed),
        resume=resume,
        evaluation=judging.evaluation_options(judges, margin, min_judges, judge_noise),
    )
    if json_output:
        typer.echo(json.dumps(asdict(report), indent=1, sort_keys=True))
    else:
        print_study(report, out)


@app.command("label")
def label_command(
    bundle: BundleArgument,
    *,
    labels: Annotated[
        list[str], typer.Option("--label", help="What the next slot means; give it once a label.")
    ],
    out: Out,
    prior_count: PriorCount = 1.0,
    key: Key = None,
) -> None:
    """Fix what a bundle's slots mean, so that rounds can average what users teach."""
    from federated.next_bundle import name_labels

    _refuse_existing(out)
    signing_key = _signing_key(key)
    digest = name_labels(out, open_bundle(bundle), labels, prior_count=prior_count, key=signing_key)
    typer.echo(f"{out}: {len(labels)} labels, digest {digest}")


@app.command("run")
def run_command(
    *,
    bundle: Annotated[Path, typer.Option("--bundle", help="The bundle that all users hold.")],
    homes: Annotated[
        Path, typer.Option("--homes", help="Folder with one Personalizer home for each user.")
    ],
    out: Out,
    rounds: Rounds = _DEFAULTS.rounds,
    cohort: Cohort = _DEFAULTS.cohort_size,
    clipping_norm: ClippingNorm = _DEFAULTS.clipping_norm,
    server_lr: ServerLr = _DEFAULTS.server_lr,
    seed: Seed = 0,
    min_replies: Annotated[
        int, typer.Option(help="Updates that close a round early; 0 waits for all.")
    ] = 0,
    round_deadline_s: Annotated[
        float, typer.Option(help="When a round closes at the latest, seconds.")
    ] = 120.0,
    epsilon: privacy_cli.BudgetEpsilon = 0.0,
    delta: privacy_cli.Delta = _DELTA,
    noise_multiplier: privacy_cli.NoiseMultiplier = 0.0,
    sampling: privacy_cli.Sampling = "poisson",
    noise: privacy_cli.Noise = "central",
    min_contributors: privacy_cli.MinContributors = 0,
    tree_rounds: privacy_cli.TreeRounds = 0,
    target_quantile: privacy_cli.TargetQuantile = 0.0,
    ledger: privacy_cli.Ledger = None,
    judges: judging.Judges = 0,
    margin: judging.Margin = judging.MARGIN,
    min_judges: judging.MinJudges = judging.MIN_JUDGES,
    judge_noise: judging.JudgeNoise = judging.JUDGE_NOISE,
    roster: secure_cli.RosterFile = None,
    authority: secure_cli.Authority = None,
    identities: secure_cli.Identities = None,
    group_size: secure_cli.GroupSize = 32,
    key: Key = None,
    json_output: Json = False,
) -> None:
    """Run rounds with real Flower processes on this machine: a SuperLink and a SuperNode a user.

    The key does not leave this process: it signs what they wrote.
    """
    from federated.deploy import DeployOptions, run_on_loopback
    from federated.processes import end_on_sigterm

    signing_key = _signing_key(key)
    options = RoundOptions(
        rounds=rounds,
        cohort_size=cohort,
        server_lr=server_lr,
        clipping_norm=clipping_norm,
        seed=seed,
    )
    deploy = DeployOptions(
        min_replies=min_replies,
        round_deadline_s=round_deadline_s,
        masking=secure_cli.masking_options(roster, authority, group_size, round_deadline_s),
        identities=identities,
    )
    if not homes.is_dir():
        msg = f"--homes {homes} is not a folder; it holds one Personalizer home for each user"
        raise InvalidOptionError(msg)
    users = sorted(path for path in homes.iterdir() if (path / STORE_NAME).is_file())
    private = privacy_cli.privacy_options(
        epsilon=epsilon,
        delta=delta,
        noise_multiplier=noise_multiplier,
        sampling=sampling,
        noise=noise,
        min_contributors=min_contributors,
        tree_rounds=tree_rounds,
        target_quantile=target_quantile,
        sampling_rate=min(1.0, cohort / max(len(users), 1)),
        rounds=rounds,
    )
    end_on_sigterm()
    kept = None if private is None else ledger or homes / _LEDGER
    asked = judging.evaluation_options(judges, margin, min_judges, judge_noise)
    report = run_on_loopback(
        bundle, users, out, options, deploy, privacy=private, ledger=kept, evaluation=asked
    )
    judged = report["evaluation"]
    if signing_key is not None and report["bundle_digest"] is not None:
        sign_bundle(out, signing_key)
    if json_output:
        typer.echo(json.dumps(report, indent=1, sort_keys=True))
    else:
        print_rounds(report["rounds"])
        found = None if judged is None else EvaluationReport.read(judged)
        Console(highlight=False).print(judging.outcome(found, out))


def _setup(
    options: PrivacyOptions | None, ledger: Path | None, out: Path, noise_seed: int | None = None
) -> PrivacySetup | None:
    """Where a private run keeps its ledger; None for one without noise."""
    if options is None:
        return None
    from federated.privacy.private_run import PrivacySetup

    path = out.with_name(f"{out.name}.ledger") if ledger is None else ledger
    return PrivacySetup(options=options, ledger=path, noise_seed=noise_seed)


def _signing_key(path: Path | None) -> SigningKey | None:
    """The key to sign with; read before the work, so that a wrong one costs no time."""
    return None if path is None else SigningKey.read(path)


def _refuse_existing(out: Path) -> None:
    if out.exists():
        msg = f"{out} exists; name a folder that does not, or remove it"
        raise InvalidOptionError(msg)
