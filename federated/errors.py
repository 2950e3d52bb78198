"""What can go wrong around a federated run, beside the errors of the device SDK."""

from __future__ import annotations

from edge_sdk.errors import EdgeError


class NotEnoughClientsError(EdgeError, TimeoutError):
    """Too few clients were online before the deadline; no round was run."""

    code = "not_enough_clients"


class NothingLearnedError(EdgeError, RuntimeError):
    """No round used any update: a new version of the bundle would be the old one."""

    code = "nothing_learned"


class DeploymentError(EdgeError, RuntimeError):
    """A Flower process could not be started, failed, or could not be stopped."""

    code = "deployment"


class BudgetExhaustedError(EdgeError, PermissionError):
    """A round would spend more than the privacy budget; it is refused, and nothing has changed."""

    code = "budget_exhausted"


class LedgerError(EdgeError, OSError):
    """The ledger of privacy spends cannot be read or written; without it no round is run."""

    code = "ledger"


class CheckpointError(EdgeError, OSError):
    """A run's checkpoint cannot be read or written, or is of another run."""

    code = "checkpoint"


class UnprotectedRoundError(EdgeError, PermissionError):
    """A round asks for this device's update in the clear; it takes part in masked rounds only."""

    code = "unprotected_round"


class WeakNoiseError(EdgeError, PermissionError):
    """A round has less noise than this device wants to see added to what it sends."""

    code = "weak_noise"


class TooFewContributorsError(EdgeError, RuntimeError):
    """Fewer devices added noise than a noise share was sized for; their sum is not released."""

    code = "too_few_contributors"


class RunLogError(EdgeError, OSError):
    """A run log cannot be read or written, or is none."""

    code = "run_log"


class RunNotBegunError(RunLogError):
    """There is no log yet, or nothing in it."""

    code = "run_not_begun"
