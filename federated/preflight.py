"""Refuses, before any process is started, what the server's own process would refuse later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_sdk import open_bundle
from edge_sdk.errors import InvalidOptionError
from edge_sdk.update import shareable_names

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from federated.evaluation.options import EvaluationOptions
    from federated.privacy.options import PrivacyOptions
    from federated.round_core import RoundOptions


def check_bundle(bundle: Path) -> None:
    """Refuse, before any process is started, a bundle that rounds cannot run on.

    Raises:
        InvalidOptionError: It is not there, or has nothing that may leave a device.
        BadBundleError: It cannot be read.
    """
    if not bundle.is_dir():
        msg = f"there is no bundle at {bundle}; name the folder of the one that all devices hold"
        raise InvalidOptionError(msg)
    if not shareable_names(open_bundle(bundle).manifest):
        msg = "rounds on this bundle can share nothing; name its labels first (federated label)"
        raise InvalidOptionError(msg)


def check_budget(
    privacy: PrivacyOptions,
    ledger: Path | None,
    rounds: RoundOptions,
    users: Sequence[str],
    evaluation: EvaluationOptions | None,
) -> None:
    """Refuse, before any process is started, what the server's own process would refuse.

    Raises:
        BudgetExhaustedError: The privacy budget does not allow these rounds.
        InvalidOptionError: There is no ledger, or it was begun with another budget.
        LedgerError: The ledger cannot be read or written.
    """
    # dp-accounting and scipy, which no other run needs
    from federated.privacy.private_run import PrivacySetup, PrivateRun, new_run_id  # noqa: PLC0415

    if ledger is None:
        msg = "private rounds need a ledger: name a file that is kept as long as the users are"
        raise InvalidOptionError(msg)
    setup = PrivacySetup(options=privacy, ledger=ledger)
    with PrivateRun(setup, rounds, users, run_id=new_run_id(), evaluation=evaluation):
        pass
