"""Federated rounds over some writers; what the new bundle does for writers of no round."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk import Engine, open_bundle
from edge_sdk.update import shareable_names
from export.intervals import mean_interval
from export.people import accuracy_after, first_of_each
from federated.demo.few_shot import as_confusion
from federated.demo.result import Confusion, FederatedResult, TaughtResult
from federated.next_bundle import RunSummary, write_next_bundle
from federated.round_core import RoundOptions
from federated.simulate import clients_of, simulate
from federated.study import accuracy_of_users, labelled

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edge_sdk import Bundle, State
    from export.intervals import Mean
    from federated.population import Population
    from federated.simulate import SimulatedClient

_INIT = "init.onnx"


@dataclass(frozen=True, kw_only=True, slots=True)
class FederatedOptions:
    """The rounds. The defaults were chosen on writers of the digits' validation images.

    Attributes:
        rounds: Server iterations.
        cohort: Writers sampled for each.
        server_lr: Length of the server's step.
        prior_count: Weight of the starting state in each slot, in examples; as many as a writer has
            of each class let one update go half of the way to that writer's own mean.
        clip_scale: The clipping norm, in typical norms of all classes' features together.
        teach_shots: Images of each class that a held-out writer then teaches.
        seed: Of the cohorts.
    """

    rounds: int = 8
    cohort: int = 6
    server_lr: float = 1.0
    prior_count: float = 5.0
    clip_scale: float = 1.0
    teach_shots: int = 1
    seed: int = 0


def run_federated(
    base: Bundle,
    population: Population,
    public_features: NDArray[np.float32],
    options: FederatedOptions,
    folder: Path,
) -> FederatedResult:
    """Name the labels, run rounds, write the new bundle, measure it on the held-out writers.

    Args:
        base: A bundle that names no labels.
        population: Who takes part and who does not.
        public_features: Features of training images, `[n, *features.shape]`: the clipping norm is
            set from them, so that it says nothing about the writers.
        options: The rounds.
        folder: Holds the two new bundles, "labelled" and "federated"; neither may exist.
    """
    o = options
    start = labelled(base, population.labels, folder / "labelled", prior_count=o.prior_count)
    engine = Engine(start)
    writers = _clients(engine, population.taking_part.users, population, taking_part=True)
    held_out = _clients(engine, population.held_out.users, population, taking_part=False)
    round_options = RoundOptions(
        rounds=o.rounds,
        cohort_size=o.cohort,
        server_lr=o.server_lr,
        clipping_norm=o.clip_scale * _typical_norm(public_features, len(population.labels)),
        seed=o.seed,
    )
    per_round: list[Mean] = []

    def evaluate(state: State) -> float:
        per_round.append(mean_interval(accuracy_of_users(engine, state, held_out)))
        return per_round[-1].mean

    result = simulate(engine, writers, round_options, evaluate)
    summary = RunSummary.of(round_options, result.reports, num_clients=len(writers))
    digest = write_next_bundle(folder / "federated", start, result.shared, summary)
    new = Engine(open_bundle(folder / "federated"))
    before = accuracy_of_users(engine, engine.initial_state(), held_out)
    after = accuracy_of_users(new, new.initial_state(), held_out)
    return FederatedResult(
        writers=len(writers),
        held_out=len(held_out),
        images=len(held_out[0].slots) // len(population.labels),
        rounds=o.rounds,
        cohort=min(o.cohort, len(writers)),
        server_lr=o.server_lr,
        clipping_norm=round_options.clipping_norm,
        num_updates=summary.num_updates,
        num_clipped=sum(report.num_clipped for report in result.reports),
        labels=population.labels,
        before=mean_interval(before),
        after=mean_interval(after),
        lift=mean_interval(after - before),
        per_round=tuple(per_round),
        taught=_taught(Engine(base), new, held_out, o.teach_shots),
        confusion_before=_confusion(engine, held_out, len(population.labels)),
        confusion_after=_confusion(new, held_out, len(population.labels)),
        download_bytes=_download_bytes(start, new.bundle),
        upload_bytes=_upload_bytes(start),
        unchanged=_same_graphs(start, new.bundle),
        digest=digest,
    )


def _clients(
    engine: Engine, users: NDArray[np.int64], population: Population, *, taking_part: bool
) -> list[SimulatedClient]:
    pool = population.taking_part if taking_part else population.held_out
    return clients_of(engine, pool, np.unique(users).tolist())


def _typical_norm(features: NDArray[np.float32], labels: int) -> float:
    norms = np.linalg.norm(features.reshape(len(features), -1), axis=1)
    return float(np.median(norms)) * math.sqrt(labels)


def _taught(
    old: Engine, new: Engine, users: Sequence[SimulatedClient], shots: int
) -> TaughtResult | None:
    """Accuracy on the rest of each user's examples after teaching the first `shots` a class."""
    scores = []
    for user in users:
        first = first_of_each(user.slots, shots)
        if first.all():
            return None
        scores.append(
            [accuracy_after(engine, user.features, user.slots, first) for engine in (old, new)]
        )
    before, after = np.array(scores).T
    return TaughtResult(
        shots=shots,
        old=mean_interval(before),
        new=mean_interval(after),
        gain=mean_interval(after - before),
    )


def _confusion(engine: Engine, users: Sequence[SimulatedClient], classes: int) -> Confusion:
    counts = np.zeros((classes, classes), np.int64)
    state = engine.initial_state()
    for user in users:
        found = engine.predict(user.features, state).logits.argmax(1)
        np.add.at(counts, (user.slots, found), 1)
    return as_confusion(counts)


def _download_bytes(old: Bundle, new: Bundle) -> int:
    files = {name: data for name, data in new.files.items() if old.files.get(name) != data}
    own = sum((new.path / name).stat().st_size for name in ("manifest.json", "manifest.sha256"))
    return own + sum(len(data) for data in files.values())


def _upload_bytes(bundle: Bundle) -> int:
    names = set(shareable_names(bundle.manifest))
    sizes = [4 * math.prod(spec.shape) for spec in bundle.manifest.state if spec.name in names]
    return sum(sizes)


def _same_graphs(old: Bundle, new: Bundle) -> bool:
    graphs = {name for name in old.files if name.endswith(".onnx") and name != _INIT}
    return all(old.files[name] == new.files[name] for name in graphs)
