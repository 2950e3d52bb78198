"""What Flower sets up in the process of an app."""

from __future__ import annotations

import pytest
from flwr.supercore.task_identity import TaskIdentity


@pytest.fixture
def flower_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let messages be made outside of Flower's processes."""
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
