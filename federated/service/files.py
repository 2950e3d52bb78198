"""What a deployment keeps in its folder: replaced as a whole, secrets for the owner only."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sdk.durable import sync_folder, write_durably
from federated.errors import DeploymentError
from federated.service.config import NODES_NAME

if TYPE_CHECKING:
    from federated.service.config import DeploymentOptions

_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class DeploymentFiles:
    """The paths in a deployment's folder."""

    folder: Path

    @classmethod
    def of(cls, options: DeploymentOptions) -> DeploymentFiles:
        """Those of a coordinator's options; the folder is made where it is missing.

        Raises:
            DeploymentError: It cannot be made.
        """
        folder = Path(options.folder)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            msg = f"the folder {folder} cannot be made: {error.strerror}"
            raise DeploymentError(msg) from error
        return cls(folder)

    @property
    def authority(self) -> Path:
        """Certificate of our authority: the one file that devices need to trust the server."""
        return self.folder / "ca.pem"

    @property
    def authority_key(self) -> Path:
        """Its key; best kept elsewhere once certificates are made."""
        return self.folder / "ca.key"

    @property
    def certificate(self) -> Path:
        """The server's certificate."""
        return self.folder / "server.pem"

    @property
    def certificate_key(self) -> Path:
        """The server's key."""
        return self.folder / "server.key"

    @property
    def control_token(self) -> Path:
        """Who may command the SuperLink."""
        return self.folder / "control.token"

    @property
    def task_secret(self) -> Path:
        """Who may take tasks from the SuperLink."""
        return self.folder / "tasks.secret"

    @property
    def database(self) -> Path:
        """The SuperLink's database."""
        return self.folder / "superlink.db"

    @property
    def roster(self) -> Path:
        """The registered devices and the revoked ones."""
        return self.folder / "roster.json"

    @property
    def nodes(self) -> Path:
        """Which client each of the SuperLink's nodes was registered for."""
        return self.folder / NODES_NAME

    @property
    def logs(self) -> Path:
        """Folder of the processes' logs."""
        return self.folder / "logs"

    @property
    def flower_home(self) -> Path:
        """Flower's own folder."""
        return self.folder / "flower"


def replace_file(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write `path` as a whole: a reader, or a power cut, finds the old content or the new one.

    Raises:
        DeploymentError: It cannot be written; the old content is whole.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            write_durably(os.open(partial, flags, mode), data)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        msg = f"{path} cannot be written: {error.strerror}"
        raise DeploymentError(msg) from error


def new_secret(path: Path) -> None:
    """Write a fresh random secret to `path`, as hexadecimal digits.

    Raises:
        DeploymentError: It cannot be written.
    """
    replace_file(path, secrets.token_hex(_SECRET_BYTES).encode())
