"""The next version of a bundle: fixed labels, or the shared state that federated rounds ended in.

Only `init.onnx`, the manifest and the model card change; every other graph stays the same, byte for
byte, so a device that holds the old version keeps all that it learned.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk import Engine
from edge_sdk.errors import CapacityError, InvalidOptionError
from export.next_version import COUNTS, next_draft, write_next_version
from federated.errors import NothingLearnedError
from federated.local_round import round_start

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from typing import Self

    from numpy.typing import NDArray

    from edge_sdk import Bundle
    from edge_sdk.manifest import Json
    from edge_sdk.signing import SigningKey
    from federated.privacy.report import PrivacyReport
    from federated.round_core import RoundOptions, RoundReport

HISTORY = "federated"  # key in the manifest's provenance: one entry a run
PRIVACY = "privacy"  # key in the manifest's provenance: what holds for this version


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSummary:
    """What a bundle says about the rounds it came from; no client is named.

    Attributes:
        rounds: Server iterations.
        num_clients: Clients that could be sampled.
        cohort_size: Clients sampled for each round, at most.
        num_updates: Updates used, over all rounds. A private bundle does not say it.
        clipping_norm: L2 bound on one client's update in the first round.
        server_lr: Length of the server's step.
        seed: Seed of the cohort sampling. A private bundle does not say it.
        privacy: What was guaranteed to users; None where no noise was added.
    """

    rounds: int
    num_clients: int
    cohort_size: int
    num_updates: int
    clipping_norm: float
    server_lr: float
    seed: int
    privacy: PrivacyReport | None = None

    @classmethod
    def of(
        cls,
        options: RoundOptions,
        reports: Sequence[RoundReport],
        *,
        num_clients: int,
        privacy: PrivacyReport | None = None,
    ) -> Self:
        """Sum up a run."""
        return cls(
            rounds=len(reports),
            num_clients=num_clients,
            cohort_size=options.cohort_size,
            num_updates=sum(report.num_accepted for report in reports),
            clipping_norm=options.clipping_norm,
            server_lr=options.server_lr,
            seed=options.seed,
            privacy=privacy,
        )

    def as_json(self) -> dict[str, Json]:
        """As it stands in a manifest; of a private run, nothing that noise does not cover."""
        entry: dict[str, Json] = {
            **asdict(replace(self, privacy=None)),
            "privacy": None if self.privacy is None else self.privacy.as_json(),
        }
        if self.privacy is not None:
            del entry["num_updates"], entry["seed"]
        return entry

    def for_people(self) -> str:
        """A paragraph for the model card."""
        run = f"{self.rounds} rounds over {self.num_clients} clients, "
        step = f"each clipped to an L2 norm of {self.clipping_norm:g} and of equal weight"
        if self.privacy is not None:
            return (
                f"{run}{self.cohort_size} a round on average, {step}; server step "
                f"{self.server_lr:g}.\n\n{self.privacy.for_people()}\n"
            )
        return (
            f"{run}at most {self.cohort_size} a round, {self.num_updates} updates in all, {step}; "
            f"server step {self.server_lr:g}. No noise was added: this is no formal privacy "
            "guarantee.\n"
        )


def name_labels(
    path: str | os.PathLike[str],
    bundle: Bundle,
    labels: Sequence[str],
    *,
    prior_count: float,
    key: SigningKey | None = None,
) -> str:
    """Write a version of `bundle` in which slot i means `labels[i]` on every device.

    Each named slot is in use from the start, resting on `prior_count` examples' worth of the
    starting state. A closed-form learner moves a prototype p to `(c * p + sum) / (c + n)`, so a
    small prior lets the first rounds take most of the way. `counts` stays personal: no round
    changes it.

    Args:
        path: The new bundle's folder; must not exist.
        bundle: A bundle that names no labels yet.
        labels: Distinct, not empty, at most `ways`.
        prior_count: Weight of the starting state in each slot, in examples, finite and positive.
        key: Sign the new bundle with it; a signature of the old one does not carry over.

    Returns:
        The new bundle's digest.

    Raises:
        InvalidOptionError: The labels or the prior do not fit, or the bundle names labels already.
        CapacityError: There are more labels than slots.
    """
    manifest = bundle.manifest
    if manifest.labels:
        msg = "the bundle names its labels already; start from one that does not"
        raise InvalidOptionError(msg)
    if not labels or len(set(labels)) != len(labels) or not all(labels):
        msg = "labels must be distinct non-empty strings, at least one"
        raise InvalidOptionError(msg)
    if len(labels) > manifest.ways:
        msg = f"the bundle has {manifest.ways} slots, got {len(labels)} labels; export more ways"
        raise CapacityError(msg)
    if not (math.isfinite(prior_count) and prior_count > 0):
        msg = f"prior_count must be finite and > 0, got {prior_count}"
        raise InvalidOptionError(msg)
    initial = Engine(bundle).initial_state()
    tensors = {name: np.array(initial[name]) for name in initial.names}
    tensors[COUNTS][: len(labels)] = prior_count
    draft = replace(next_draft(bundle), labels=tuple(labels))
    note = (
        f"## Version {draft.version}: named labels\n\n"
        f"The first {len(labels)} label slots mean the same on every device, each from a prior of "
        f"{prior_count:g} examples.\n"
    )
    return write_next_version(path, bundle, draft, tensors, note, key=key)


def write_next_bundle(
    path: str | os.PathLike[str],
    bundle: Bundle,
    shared: Mapping[str, NDArray[np.float32]],
    summary: RunSummary,
    quality: Mapping[str, float] | None = None,
    *,
    key: SigningKey | None = None,
) -> str:
    """Write the version of `bundle` that starts from the shared state rounds ended in.

    Args:
        path: The new bundle's folder; must not exist.
        bundle: The bundle that all clients held.
        shared: The shared tensors, float32, exactly the shareable names.
        summary: What to say about the run in provenance and model card.
        quality: Figures to add to the manifest's, by name.
        key: Sign the new bundle with it; a signature of the old one does not carry over.

    Returns:
        The new bundle's digest.

    Raises:
        NothingLearnedError: No update was used in any round of a run without noise.
        BadUpdateError: `shared` does not fit the bundle.
    """
    if summary.num_updates == 0 and summary.privacy is None:
        msg = "no round used any update, so there is no new bundle; the rounds say what failed"
        raise NothingLearnedError(msg)
    state = round_start(bundle, Engine(bundle).initial_state(), shared)
    draft = next_draft(bundle)
    history = draft.provenance.get(HISTORY, [])
    if not isinstance(history, list):
        msg = f"provenance[{HISTORY!r}] of the bundle is not a list"
        raise InvalidOptionError(msg)
    # What a bundle claims is about all that it learned: a run without noise ends the claim.
    provenance = {name: value for name, value in draft.provenance.items() if name != PRIVACY}
    if summary.privacy is not None:
        provenance[PRIVACY] = summary.privacy.as_json()
    draft = replace(
        draft,
        quality={**draft.quality, **(quality or {})},
        provenance={**provenance, HISTORY: [*history, summary.as_json()]},
    )
    note = f"## Version {draft.version}: federated rounds\n\n{summary.for_people()}"
    tensors = {name: state[name] for name in state.names}
    return write_next_version(path, bundle, draft, tensors, note, key=key)
