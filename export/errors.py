"""Errors of the server side that more than one module raises."""

from __future__ import annotations

from edge_sdk.errors import EdgeError


class GateError(EdgeError, ValueError):
    """An exported learner failed a gate; no bundle was written."""

    code = "gate"
