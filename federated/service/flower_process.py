"""Runs one of Flower's programs (`python -m federated.service.flower_process NAME ...`).

Two things are added to what the program does by itself:

* It ends when its parent has ended, however that came about, and with it all that the parent
  started, so that nothing is left behind.
* The SuperLink takes commands (start a run, register a node) from those only who know the control
  token. In Flower 1.41 devices and coordinators use one port, and its own authentication of
  coordinators is a no-op: whoever reaches the port could register a node, or run code on all of
  them.
"""

from __future__ import annotations

import hmac
import importlib
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from flwr.common.constant import ACCESS_TOKEN_KEY
from flwr.superlink.auth_plugin import NoOpControlAuthnPlugin

from federated.processes import GRACE_S, MARK_NAME, end_marked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flwr.supercore.auth.typing import AccountInfo

TOKEN_OPTION = "--control-token-file"  # noqa: S105 - an option's name
_PARENT_POLL_S = 0.5
_FIRST_ERROR = 400  # HTTP status


class ControlTokenPlugin(NoOpControlAuthnPlugin):
    """Lets in who knows the control token, as the one account that Flower has without accounts."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._token = token.encode()

    def validate_tokens_in_metadata(
        self, metadata: Sequence[tuple[str, str | bytes]]
    ) -> tuple[bool, AccountInfo | None]:
        """Whether one of the tokens is ours, and whose account that is."""
        given = [value for key, value in metadata if key == ACCESS_TOKEN_KEY]
        tokens = [value if isinstance(value, bytes) else value.encode() for value in given]
        if not any(hmac.compare_digest(token, self._token) for token in tokens):
            return False, None
        return super().validate_tokens_in_metadata(metadata)

    def refresh_tokens(
        self, metadata: Sequence[tuple[str, str | bytes]]
    ) -> tuple[Sequence[tuple[str, str | bytes]] | None, AccountInfo | None]:
        """The token is not renewed: without the right one nothing is let in."""
        del metadata
        return None, None


def end_with_parent() -> None:
    """End all that the parent started, this process last, once the parent has ended.

    Flower's own processes watch theirs, too, but a ClientApp that is asked to end in the midst of
    a request may wait for itself for ever (seen in Flower 1.41): it is killed after a while.
    """
    parent, mark = os.getppid(), os.environ.get(MARK_NAME)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_POLL_S)
        try:
            if mark is not None:
                end_marked(mark, grace_s=GRACE_S)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def main() -> None:
    """Become the program that the first argument names."""
    name = sys.argv[1]
    sys.argv = [f"flower-{name}", *sys.argv[2:]]
    end_with_parent()
    if name == "superlink":
        _superlink()
    elif name == "superexec":
        from flwr.supercore.cli.flower_superexec import flower_superexec  # noqa: PLC0415

        flower_superexec()
    elif name == "supernode":
        from flwr.supernode.cli.flower_supernode import flower_supernode  # noqa: PLC0415

        flower_supernode()
    else:
        sys.exit(f"there is no program {name!r}; it is superlink, superexec or supernode")


def _is_refusal(record: logging.LogRecord) -> bool:
    """Whether a line of the access log tells of a request that was not answered as asked."""
    status = record.args[-1] if isinstance(record.args, tuple) and record.args else None
    return not isinstance(status, int) or status >= _FIRST_ERROR


def _superlink() -> None:
    program = importlib.import_module("flwr.superlink.cli.flower_superlink")
    at = sys.argv.index(TOKEN_OPTION)
    plugin = ControlTokenPlugin(Path(sys.argv[at + 1]).read_text("utf-8"))
    del sys.argv[at : at + 2]
    if not hasattr(program, "load_control_authn_plugin"):
        sys.exit("this version of Flower takes its plugin elsewhere; install edge-sdk[federated]")
    vars(program)["load_control_authn_plugin"] = lambda: plugin
    logging.getLogger("uvicorn.access").addFilter(_is_refusal)  # devices ask every few seconds
    program.flower_superlink()


if __name__ == "__main__":
    main()
