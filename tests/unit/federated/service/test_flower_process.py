from __future__ import annotations

import logging
import subprocess
import sys
import time
from pathlib import Path

import pytest
from flwr.common.constant import ACCESS_TOKEN_KEY

from federated.service.flower_process import ControlTokenPlugin, _is_refusal

CHILD = """
import subprocess, sys, time
child = "import sys, time; from federated.service.flower_process import end_with_parent; " \\
        "end_with_parent(); print('ready', flush=True); time.sleep(60)"
process = subprocess.Popen([sys.executable, "-c", child])
print(process.pid, flush=True)
time.sleep(60)
"""


def test_only_the_token_lets_in() -> None:
    plugin = ControlTokenPlugin("secret")
    let_in, account = plugin.validate_tokens_in_metadata([(ACCESS_TOKEN_KEY, "secret")])
    assert let_in
    assert account is not None
    for metadata in (
        [],
        [(ACCESS_TOKEN_KEY, "Secret")],
        [("x", "secret")],
        [(ACCESS_TOKEN_KEY, "")],
    ):
        assert plugin.validate_tokens_in_metadata(metadata) == (False, None)
    assert plugin.refresh_tokens([(ACCESS_TOKEN_KEY, "secret")]) == (None, None)


@pytest.mark.skipif(sys.platform != "linux", reason="the check reads /proc")
def test_a_process_ends_with_its_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = Path("/proc") / parent.stdout.readline().decode().strip()
        assert parent.stdout.readline() == b"ready\n"
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 20
        while child.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize(("status", "kept"), [(200, False), (401, True), (500, True)])
def test_the_access_log_tells_of_refusals_only(status: int, *, kept: bool) -> None:
    args = ("127.0.0.1:1", "POST", "/v1/fleet/pull-messages", "1.1", status)
    record = logging.LogRecord(
        "uvicorn.access", logging.INFO, "", 0, '%s - "%s %s %s" %d', args, None
    )
    assert _is_refusal(record) is kept
