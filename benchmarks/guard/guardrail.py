"""Does the guardrail keep good models and refuse bad ones? Writers of UNIPEN, 26 letters.

    EDGE_SDK_DATA=... python -m benchmarks.guard.guardrail BUNDLE --out guardrail.json

BUNDLE: any prototypical bundle of 28x28 images that names no labels and has 26 slots or more; the
one of the committed figures is made by `provenance.MAKE_BUNDLE`.

The base is made of other writers' letters, good or spoilt, and personal states trust it little or
much (`PRIORS`). Users teach a third or two thirds of what they wrote, once honestly and once with
each share of labels replaced at random, and are judged on the rest, with true labels. What is
asked (`done_when`):

* Of the models that are 30 or 10 points worse than the base, whoever taught them, few are kept.
* Of those 10 points better, taught honestly, most are kept. A model that is 10 points better though
  a part of its labels is wrong is the next question's; how many of those are kept is given, too.
* With wrong labels, users get what is no more than 1 point under the base: on average, in each
  scenario. The worst tenth, the worst one, and how many are under, are given, too.

Thresholds were chosen on the first `TUNED_ON` users; the figures are of the others.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.guard.cost import judging_cost
from benchmarks.guard.figures import by_user, harm, keep_rates, pooled_harm, power
from benchmarks.guard.provenance import environment, provenance
from benchmarks.guard.simulation import (
    random_labels,
    swapped_labels,
    teach_in_stages,
    teach_once,
    teach_own_labels,
)
from benchmarks.guard.writers import Crowd, Writer, find_archive, read_crowd, write_labelled
from edge_sdk import Bundle, Engine, open_bundle
from edge_sdk.guardrail import Probe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.guard.figures import Cell, Figures

POISON = (0.0, 0.1, 0.3, 0.5)
HEAVY_POISON = (0.7, 0.9)  # makes models that are 30 points worse
PRIORS = (0.25, 2.0, 10.0)
SPOILS = (0.0, 0.3)
SHARES = (1 / 3, 2 / 3)
FEW = 1 / 6
STAGES = 5
TUNED_ON = 36


class Study:
    """Scenarios of some users, on bases made from a bundle."""

    def __init__(
        self, source: Bundle, crowd: Crowd, folder: Path, users: Sequence[Writer], seed: int
    ) -> None:
        self.source, self.crowd, self.users, self.seed = source, crowd, users, seed
        self.num_labels = len(crowd.labels)
        self.engines = {
            (spoil, prior): Engine(
                write_labelled(
                    source, crowd, folder / f"{spoil:g}-{prior:g}", spoil=spoil, prior_count=prior
                )
            )
            for spoil, prior in itertools.product(SPOILS, PRIORS)
        }

    def judged_once(self, shares: Sequence[float], splits: int) -> dict[str, list[Cell]]:
        """Users who teach once, honestly or not."""
        found = {}
        for (spoil, prior), engine in self.engines.items():
            for share, poison in itertools.product(shares, (*POISON, *HEAVY_POISON)):
                name = f"base spoilt by {spoil:g}, prior {prior:g}, {share:.2f} taught"
                outcomes = teach_once(
                    engine,
                    self.users,
                    share=share,
                    poison=random_labels(poison, self.num_labels),
                    splits=splits,
                    seed=self.seed,
                )
                found[f"{name}, {poison:g} poisoned"] = by_user(poison, outcomes)
        return found

    def judged_in_stages(self, splits: int) -> dict[str, list[Cell]]:
        """Users who teach part after part, and use what serves; poisoned from a stage on."""
        found = {}
        for prior, clean, poison in itertools.product(PRIORS, (0, 2), POISON):
            outcomes = teach_in_stages(
                self.engines[0.0, prior],
                self.users,
                stages=STAGES,
                poison_from=clean,
                poison=random_labels(poison, self.num_labels),
                splits=splits,
                seed=self.seed,
            )
            name = f"prior {prior:g}, {poison:g} poisoned from stage {clean + 1}"
            found[name] = by_user(poison, outcomes)
        return found

    def exchanged(self, splits: int) -> Figures:
        """Labels exchanged in fixed pairs, without a probe set and with one."""
        probe = Probe(self.crowd.probe.features, self.crowd.probe.slots)
        probes = {"without probe set": None, "with probe set": probe}
        found = {}
        for prior, (name, probed), share in itertools.product(PRIORS[1:], probes.items(), POISON):
            outcomes = teach_once(
                self.engines[0.0, prior],
                self.users,
                share=2 / 3,
                poison=swapped_labels(share, self.num_labels),
                splits=splits,
                seed=self.seed,
                probe=probed,
            )
            found[f"prior {prior:g}, {name}, {share:g} of labels"] = harm(by_user(share, outcomes))
        return found

    def own_labels(self, splits: int) -> Figures:
        """A bundle that names no labels."""
        engine = Engine(self.source)
        found = {}
        for shots, poison in itertools.product((1, 2, 5), (0.0, 0.3, 0.5, 0.8)):
            outcomes = teach_own_labels(
                engine,
                self.users,
                ways=5,
                shots=shots,
                poison=poison,
                splits=splits,
                seed=self.seed,
            )
            found[f"5 labels, {shots} shots, {poison:g} poisoned"] = harm(by_user(poison, outcomes))
        return found


def verdicts(rates: Figures, got: Figures) -> Figures:
    """What was asked, what was found, and whether it is so."""
    found: Figures = {}
    for name, limit, rate in (
        ("kept of those 30 points worse, at most", 0.01, rates["-30"]),
        ("kept of those 10 points worse, at most", 0.1, rates["-10"]),
        ("kept of those 10 points better, at least", 0.9, rates["+10, honest labels"]),
    ):
        mean = rate.get("mean")
        met = mean is not None and (mean >= limit if "least" in name else mean <= limit)
        found[name] = {"asked": limit, **rate, "met": met}
    for poison in POISON[1:]:
        mean = got[f"{poison:g} poisoned"]["served minus base"]
        worst = got[f"{poison:g} poisoned"]["worst scenario"]
        found[f"served minus base with {poison:g} poisoned, at least"] = {
            "asked": -0.01,
            **mean,
            "worst scenario": worst["mean"],
            "met": worst["mean"] >= -0.01,
        }
    return found


def simulate(study: Study, splits: int) -> dict[str, Any]:
    """All figures; see the module."""
    once = study.judged_once(SHARES, splits)
    few = study.judged_once((FEW,), splits)
    half = max(1, splits // 2)
    staged = study.judged_in_stages(half)
    cells, few_cells = (list(itertools.chain(*found.values())) for found in (once, few))
    rates, got = keep_rates(cells), pooled_harm(once)
    return {
        "done_when": verdicts(rates, got),
        "keep rate by true difference from the base": rates,
        "keep rate of honest models 10 points better": power([*cells, *few_cells]),
        "what users get, judged once": got,
        f"what users get, judged at each of {STAGES} stages": pooled_harm(staged),
        "a sixth of what they wrote taught": {
            "keep rate by true difference from the base": keep_rates(few_cells),
            "what users get": pooled_harm(few),
        },
        "labels exchanged in fixed pairs": study.exchanged(half),
        "a bundle without labels, where the base is guessing": study.own_labels(half),
        "CPU ms": judging_cost(
            study.engines[0.0, PRIORS[1]], max(study.users, key=lambda w: len(w.slots))
        ),
    }


def main() -> int:
    """Run, print and write the result; 0, or 2 without data."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--first-user", type=int, default=TUNED_ON)
    parser.add_argument("--users", type=int, default=34)
    parser.add_argument("--splits", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    archive = find_archive()
    if archive is None:
        sys.stderr.write("set EDGE_SDK_DATA to a folder that holds unipen/unipen_chars.npz\n")
        return 2
    started = time.process_time()
    source = open_bundle(arguments.bundle)
    crowd = read_crowd(archive, Engine(source))
    first = arguments.first_user
    users = crowd.users[first : first + arguments.users]
    with tempfile.TemporaryDirectory() as folder:
        study = Study(source, crowd, Path(folder), users, arguments.seed)
        result = simulate(study, arguments.splits)
    document = {
        "command": f"python -m benchmarks.guard.guardrail BUNDLE "
        f"--first-user {first} --users {len(users)} "
        f"--splits {arguments.splits} --seed {arguments.seed}",
        **environment(),
        **provenance(source),
        "cpu_seconds": round(time.process_time() - started),
        **result,
    }
    text = json.dumps(document, indent=1)
    sys.stdout.write(f"{text}\n")
    if arguments.out is not None:
        arguments.out.write_text(f"{text}\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
