"""A run that is killed after any round ends in the same bits as one that is not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk.update import ModelUpdate
from federated.checkpoint import Checkpoint, read_checkpoint, run_fingerprint, write_checkpoint
from federated.errors import BudgetExhaustedError, CheckpointError
from federated.privacy.ledger import Budget, BudgetLedger
from federated.privacy.options import PrivacyOptions
from federated.privacy.private_run import PrivacySetup
from federated.round_core import (
    Reply,
    RoundOptions,
    RoundTask,
    RunResult,
    SecureSum,
    run_rounds,
)
from federated.run_files import open_run
from federated.simulate import with_device_noise

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from federated.privacy.report import PrivacyReport

DIGEST = "d" * 64
CLIENTS = [f"c{i}" for i in range(6)]
SHARED = {"w": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)}
OPTIONS = RoundOptions(
    rounds=4, cohort_size=3, clipping_norm=1.0, server_lr=0.5, server_optimizer="adam"
)
PRIVACY = PrivacyOptions(noise_multiplier=20.0, epsilon=2.0, accountant="rdp", target_quantile=0.4)


class Killed(BaseException):
    """What a SIGKILL would do, as far as the run can see."""


def collect(task: RoundTask) -> list[Reply]:
    return [
        Reply(
            client_id=client,
            update=ModelUpdate(DIGEST, {"w": np.tanh(task.shared["w"] + int(client[1:]))}),
        )
        for client in task.cohort
    ]


def go(
    folder: Path, *, private: bool, resume: bool = False, kill_in: int | None = None
) -> RunResult:
    setup = PrivacySetup(options=PRIVACY, ledger=folder / "ledger", noise_seed=7)

    def answer(task: RoundTask) -> list[Reply]:
        if task.server_round == kill_in:
            raise Killed
        return collect(task)

    with open_run(
        folder / "checkpoint", DIGEST, OPTIONS, CLIENTS, setup if private else None, resume=resume
    ) as run:
        return run_rounds(
            SHARED, CLIENTS, DIGEST, OPTIONS, answer,
            privacy=run.private_rounds, start=run.start, keep=run.keep,
        )  # fmt: skip


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("kill_in", [1, 3])
def test_a_killed_run_goes_on_with_the_same_bits(
    tmp_path: Path, kill_in: int, *, private: bool
) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    want = go(tmp_path / "whole", private=private)
    with pytest.raises(Killed):
        go(tmp_path / "killed", private=private, kill_in=kill_in)
    got = go(tmp_path / "killed", private=private, resume=True)

    assert got.reports == want.reports
    np.testing.assert_array_equal(got.shared["w"], want.shared["w"])
    if private:  # the round that was cut off released nothing, and is paid for once
        budget = Budget(epsilon=2.0, delta=1e-5, accountant="rdp")
        spends = []
        for name in ("whole", "killed"):
            with BudgetLedger(tmp_path / name / "ledger", budget) as ledger:
                spends.append(ledger.spends())
                assert ledger.num_open("any") == 0
        assert spends[0] == spends[1]
        assert sum(spend.rounds for spend in spends[0]) == OPTIONS.rounds


DEVICE_NOISE = {
    "distributed": PrivacyOptions(
        noise="distributed", noise_multiplier=20.0, epsilon=2.0, accountant="rdp",
        sampling="fixed", min_contributors=3,
    ),
    "local": PrivacyOptions(
        noise="local", noise_multiplier=20.0, epsilon=2.0, accountant="rdp", sampling="fixed"
    ),
}  # fmt: skip


@pytest.mark.parametrize("noise", DEVICE_NOISE)
def test_what_devices_noised_before_a_crash_is_paid_for_as_well(tmp_path: Path, noise: str) -> None:
    """The server has seen it, whether it went on to an outcome or not."""
    options = DEVICE_NOISE[noise]
    setup = PrivacySetup(options=options, ledger=tmp_path / "ledger", noise_seed=7)

    def run(*, resume: bool, kill_in: int | None) -> PrivacyReport:
        with open_run(
            tmp_path / "checkpoint", DIGEST, OPTIONS, CLIENTS, setup, resume=resume
        ) as opened:

            def arrived(task: RoundTask) -> Iterable[Reply] | SecureSum:
                noised = with_device_noise(collect(task), task, opened.private_rounds)
                if task.server_round == kill_in:
                    raise Killed
                return noised

            run_rounds(
                SHARED, CLIENTS, DIGEST, OPTIONS, arrived,
                privacy=opened.private_rounds, start=opened.start, keep=opened.keep,
            )  # fmt: skip
            report = opened.report()
        assert report is not None
        return report

    with pytest.raises(Killed):
        run(resume=False, kill_in=2)
    assert run(resume=True, kill_in=None).rounds == OPTIONS.rounds + 1


def test_a_run_that_cannot_be_paid_for_is_not_begun(tmp_path: Path) -> None:
    dear = replace(PRIVACY, noise_multiplier=0.5)
    setup = PrivacySetup(options=dear, ledger=tmp_path / "ledger")
    with (
        pytest.raises(BudgetExhaustedError),
        open_run(tmp_path / "c", DIGEST, OPTIONS, CLIENTS, setup, resume=False),
    ):
        pytest.fail("it began")
    budget = Budget(epsilon=2.0, delta=1e-5, accountant="rdp")
    with BudgetLedger(tmp_path / "ledger", budget) as ledger:
        assert ledger.spends() == []


def test_an_interrupted_run_is_not_run_over_by_mistake(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        go(tmp_path, private=False, kill_in=2)
    with pytest.raises(CheckpointError, match="resume it"):
        go(tmp_path, private=False)


def kept(path: Path) -> Checkpoint:
    with pytest.raises(Killed):
        go(path.parent, private=True, kill_in=2)
    return read_checkpoint(path, run_fingerprint(DIGEST, OPTIONS, PRIVACY))


def test_a_checkpoint_reads_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    first = kept(path)
    write_checkpoint(tmp_path / "copy", first)
    again = read_checkpoint(tmp_path / "copy", first.fingerprint)
    assert again.run_id == first.run_id
    assert again.state.next_round == 2
    assert again.state.reports == first.state.reports
    assert again.state.clipping_norm == first.state.clipping_norm != 1.0
    assert set(again.state.optimizer) == {"first/w", "second/w"}
    np.testing.assert_array_equal(again.state.shared["w"], first.state.shared["w"])
    assert not list(tmp_path.glob("*.partial"))


def test_another_run_s_checkpoint_is_refused(tmp_path: Path) -> None:
    kept(tmp_path / "checkpoint")
    for other in (
        run_fingerprint("e" * 64, OPTIONS, PRIVACY),
        run_fingerprint(DIGEST, replace(OPTIONS, server_lr=1.0), PRIVACY),
        run_fingerprint(DIGEST, OPTIONS, None),
    ):
        with pytest.raises(CheckpointError, match="another bundle or with other options"):
            read_checkpoint(tmp_path / "checkpoint", other)
    assert run_fingerprint(DIGEST, OPTIONS, None) == run_fingerprint(
        DIGEST, replace(OPTIONS, rounds=9), None
    )


@pytest.mark.parametrize("damage", ["missing", "cut", "noise"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "checkpoint"
    fingerprint = kept(path).fingerprint
    data = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(data[: len(data) // 2] if damage == "cut" else b"x" * 100)
    with pytest.raises(CheckpointError, match="missing or damaged"):
        read_checkpoint(path, fingerprint)
