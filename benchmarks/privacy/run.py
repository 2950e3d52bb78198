"""Do private rounds keep what they claim? An audit and two attacks, with and without noise.

python -m benchmarks.privacy.run --out benchmarks/results/privacy.json
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.guard.provenance import environment
from benchmarks.privacy.attacks import confidences, digit_users, lira, recovery, trained
from benchmarks.privacy.audit import AuditPlan, audit
from edge_sdk.random_words import RandomWords, SystemWords
from federated.privacy.accounting import Spend, epsilon_by, noise_multiplier_for
from federated.privacy.options import PrivacyOptions
from federated.round_core import PrivateRounds, RoundOptions

DELTA = 1e-5
FALSE_POSITIVE_RATE = 0.01
MOST_COSINE = 0.05
TARGETS = {
    "audit": "lower bound under the claimed epsilon with noise, over it without",
    "membership inference": "TPR at 1 % FPR <= e^epsilon * 1 % + delta",
    "gradient recovery": "mean cosine within 0.05 of that of a release without the user",
}


def noised(options: PrivacyOptions) -> PrivateRounds:
    """Noise from the operating system and no ledger: nothing here is anybody's."""

    def words(_: int, __: str) -> RandomWords:
        return SystemWords()

    return PrivateRounds(options=options, charge=lambda _: None, settle=lambda _: None, words=words)


def measure_audit(seed: int) -> dict[str, Any]:
    """Audits of rounds that ask everybody, and of Poisson cohorts."""
    result = {}
    for name, sampling, rate, multiplier in (
        ("everybody asked", "fixed", 1.0, 4.0),
        ("poisson, rate 0.5", "poisson", 0.5, 2.5),
    ):
        plan = AuditPlan(sampling_rate=rate)
        options = PrivacyOptions(noise_multiplier=multiplier, sampling=sampling, delta=DELTA)
        result[name] = {
            "canaries": plan.canaries,
            "guesses": plan.guesses,
            "rounds": plan.rounds,
            "noise_multiplier": multiplier,
            "with noise": audit(plan, options, noised(options), seed),
            "without noise": audit(plan, options, None, seed),
        }
    return result


def measure_attacks(runs: int, users: int, multipliers: list[float], seed: int) -> dict[str, Any]:
    """Membership inference and gradient recovery, without noise and with each multiplier.

    The first of them is the least noise that the default budget allows these rounds.
    """
    rounds = RoundOptions(rounds=10, cohort_size=users // 5, clipping_norm=1.0)
    crowd = digit_users(users, images=6, seed=seed, options=rounds)
    rng = np.random.default_rng(seed)
    half = np.arange(users) < users // 2
    members = np.stack([rng.permutation(half) for _ in range(runs)])
    rate = rounds.cohort_size / int(half.sum())
    company = rounds.cohort_size - 1
    least = noise_multiplier_for(
        "pld",
        PrivacyOptions().epsilon,
        DELTA,
        sampling="poisson",
        sampling_rate=rate,
        rounds=rounds.rounds,
    )
    named: dict[str, float | None] = {
        "without noise": None,
        f"default budget, epsilon {PrivacyOptions().epsilon:g}": least,
        **{f"noise multiplier {multiplier:g}": multiplier for multiplier in multipliers},
    }
    result: dict[str, Any] = {"sampling_rate": rate, "cohort_size": rounds.cohort_size}
    for name, multiplier in named.items():
        private, about = None, {}
        if multiplier is not None:
            options = PrivacyOptions(noise_multiplier=multiplier, delta=DELTA)
            private = noised(options)
            spend = Spend(
                sampling="poisson",
                sampling_rate=rate,
                noise_multiplier=multiplier,
                rounds=rounds.rounds,
            )
            epsilon = epsilon_by("pld", [spend], DELTA)
            alone = Spend(sampling="none", sampling_rate=1, noise_multiplier=multiplier, rounds=1)
            about = {
                "noise_multiplier": multiplier,
                "epsilon": epsilon,
                "allowed_true_positive_rate": min(
                    1.0, math.exp(epsilon) * FALSE_POSITIVE_RATE + DELTA
                ),
                "epsilon_of_one_release_without_sampling": epsilon_by("pld", [alone], DELTA),
            }
        scores = np.stack(
            [confidences(crowd, trained(crowd, members[i], private, seed + i)) for i in range(runs)]
        )
        entry = {
            **about,
            "membership inference": lira(scores, members, FALSE_POSITIVE_RATE),
            "gradient recovery": recovery(crowd, private, users, present=True),
            "gradient recovery in a cohort": recovery(
                crowd, private, users, present=True, company=company
            ),
            "gradient recovery in a cohort without the user": recovery(
                crowd, private, users, present=False, company=company
            ),
        }
        if private is not None:
            entry["gradient recovery in noise alone"] = recovery(
                crowd, private, users, present=False
            )
            entry["targets met"] = targets_met(entry)
        result[name] = entry
    return result


def targets_met(entry: dict[str, Any]) -> dict[str, bool]:
    """Which of the targets on attacks one setting meets."""

    def gained(with_user: str, without: str) -> float:
        return float(entry[with_user]["mean"] - entry[without]["mean"])

    alone = gained("gradient recovery", "gradient recovery in noise alone")
    beside = gained(
        "gradient recovery in a cohort", "gradient recovery in a cohort without the user"
    )
    found = entry["membership inference"]["true_positive_rate"]
    return {
        "membership inference": found <= entry["allowed_true_positive_rate"],
        "gradient recovery, alone in a round": alone <= MOST_COSINE,
        "gradient recovery, in a cohort": beside <= MOST_COSINE,
    }


def main() -> int:
    """Run, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=64)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--noise-multiplier", type=float, nargs="+", default=[1.0, 2.0, 3.0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    started = time.process_time()
    noise = " ".join(f"{value:g}" for value in a.noise_multiplier)
    document = {
        "command": f"python -m benchmarks.privacy.run --runs {a.runs} --users {a.users} "
        f"--noise-multiplier {noise} --seed {a.seed}",
        "seed": a.seed,
        "noise": "from the operating system: figures with noise differ a little from run to run",
        **environment(),
        "targets": TARGETS,
        "delta": DELTA,
        "audit": measure_audit(a.seed),
        "attacks": measure_attacks(a.runs, a.users, a.noise_multiplier, a.seed),
        "cpu_seconds": round(time.process_time() - started),
    }
    text = json.dumps(document, indent=1)
    sys.stdout.write(f"{text}\n")
    if a.out is not None:
        a.out.write_text(f"{text}\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
