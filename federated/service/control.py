"""Commands to a running SuperLink: its nodes and its runs, over TLS, with the control token."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx
from flwr.cli.build import build_fab_from_disk
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.proto.fab_pb2 import Fab
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor

from federated.errors import DeploymentError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext

    from federated.service.config import DeploymentOptions
    from federated.service.files import DeploymentFiles

_T = TypeVar("_T")
_UNREGISTERED = "unregistered"


class SuperLinkUnreachableError(DeploymentError):
    """The SuperLink does not answer now; it may later."""

    code = "superlink_unreachable"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunStatus:
    """How far a run is.

    Attributes:
        finished: It will do nothing more.
        details: Why it failed; empty where it did not, or where nobody knows.
    """

    finished: bool
    details: str


class Control:
    """A connection to the SuperLink; use it in a `with` block."""

    def __init__(self, files: DeploymentFiles, options: DeploymentOptions) -> None:
        """Read the token and the authority's certificate; nothing is sent yet.

        Raises:
            DeploymentError: They cannot be read.
        """
        try:
            token = files.control_token.read_text("utf-8")
            authority = files.authority.read_bytes()
        except OSError as error:
            msg = f"{error.filename} cannot be read; is this the folder of a service that ran?"
            raise DeploymentError(msg) from error
        self._client = ControlHttpClient.from_server_address(
            options.local_address,
            insecure=False,
            root_certificates=authority,
            interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr CLI"), _Bearer(token)],
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def nodes(self) -> dict[str, int]:
        """Node id by public key (PEM), of the nodes that may join."""
        answer = self._ask(self._client.ListNodes, ListNodesRequest())
        return {
            node.public_key.decode(): node.node_id
            for node in answer.nodes_info
            if node.status != _UNREGISTERED
        }

    def register(self, client_id: str, public_key: str) -> int:
        """Let a node join; returns its id."""
        request = RegisterNodeRequest(public_key=public_key.encode(), name=client_id)
        return int(self._ask(self._client.RegisterNode, request).node_id)

    def unregister(self, node_id: int) -> None:
        """Let a node join no more; one that is connected is refused from now on."""
        self._ask(self._client.UnregisterNode, UnregisterNodeRequest(node_id=node_id))

    def start_run(self, app: Path) -> int:
        """Start a run of the Flower app in a folder; returns the run's id."""
        content = build_fab_from_disk(app)
        fab = Fab(hash_str=hashlib.sha256(content).hexdigest(), content=content)
        answer = self._ask(self._client.StartRun, StartRunRequest(fab=fab))
        if not answer.HasField("run_id"):
            msg = "the SuperLink did not start the run; its log says why"
            raise DeploymentError(msg)
        return int(answer.run_id)

    def run_status(self, run_id: int) -> RunStatus:
        """How far a run is."""
        answer = self._ask(self._client.ListRuns, ListRunsRequest(run_id=run_id))
        return _status(answer.run_dict[run_id].status)

    def unfinished_runs(self) -> list[int]:
        """Ids of the runs that have not ended."""
        answer = self._ask(self._client.ListRuns, ListRunsRequest())
        return [run for run, about in answer.run_dict.items() if not _status(about.status).finished]

    def stop_run(self, run_id: int) -> None:
        """End a run."""
        self._ask(self._client.StopRun, StopRunRequest(run_id=run_id))

    def _ask(self, call: Callable[[Any], _T], request: object) -> _T:
        try:
            return call(request)
        except httpx.HTTPStatusError as error:
            if error.response.status_code in (502, 503, 504):
                raise SuperLinkUnreachableError(_UNREACHABLE) from error
            msg = f"the SuperLink refuses {call.__name__}: {error.response.text.strip()}"
            raise DeploymentError(msg) from error
        except httpx.TransportError as error:
            raise SuperLinkUnreachableError(_UNREACHABLE) from error


_UNREACHABLE = "the SuperLink does not answer"


class _Bearer:
    """Sends the control token with each request."""

    def __init__(self, token: str) -> None:
        self._token = token

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        context.request.headers["authorization"] = f"Bearer {self._token}"
        return call_next(context)


def _status(status: Any) -> RunStatus:
    return RunStatus(
        finished=status.status == "finished",
        details=status.details,
    )
