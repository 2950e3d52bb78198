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
