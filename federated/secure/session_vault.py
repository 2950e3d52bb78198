"""A member's secrets between two stages, on a device whose process ends with each message.

Flower runs a ClientApp in a new process for each message. What it can hand on, `Context.state`, is
in the SuperNode's memory: never on a disk, and gone with the SuperNode. That alone would be enough
to keep the secrets, but not to use them once: a reply is on its way before the context is stored,
so a stage could be answered twice from the same old state, and a server that gets two answers to
"who is left" learns both kinds of shares.

So the secrets are in a file of the home folder, sealed with a key that is only in `Context.state`.
The file is replaced, durably, before an answer leaves: each stage is answered at most once, also
after a crash. Either half alone says nothing; when the key is gone, so are the secrets of the
session, and the member counts as one that left.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from flwr.app import ConfigRecord

from edge_sdk.durable import sync_folder, write_new
from edge_sdk.errors import StoreError
from federated.secure.errors import OutOfOrderError, WrongSessionError
from federated.secure.key_agreement import open_sealed, seal_at_rest
from federated.secure.messages import KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flwr.app import RecordDict

FILE_NAME = "masked-session"
_RECORD = "masked-session"  # in the context
_LOCK = "masked-session.lock"


class SessionVault:
    """The one session that a device is in; a new one takes the place of the one before.

    Args:
        home: The user's home folder; made if absent.
        state: Of Flower's context: lives as long as the SuperNode.
    """

    def __init__(self, home: str | os.PathLike[str], state: RecordDict) -> None:
        self._home, self._state = Path(home), state

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One stage at a time, whatever process asks.

        Raises:
            OutOfOrderError: Another stage is being answered.
            StoreError: The home folder cannot be used.
        """
        try:
            self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(self._home / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unusable(error) from None
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                msg = "another stage is being answered on this device"
                raise OutOfOrderError(msg) from None
            yield
        finally:
            os.close(lock)

    def begin(self, session: bytes, secret: bytes) -> None:
        """Keep the secrets of a new session, under a new key.

        Args:
            session: Its digest, 32 bytes.
            secret: What `open` is to give back.

        Raises:
            StoreError: They cannot be written.
        """
        key = secrets.token_bytes(KEY_BYTES)
        self._state[_RECORD] = ConfigRecord({"session": session, "key": key})
        self._write(session, key, secret)

    def open(self, session: bytes) -> bytes:
        """The secrets of a session, as they were kept last.

        Raises:
            WrongSessionError: This device is in another session, or the key is gone.
            StoreError: The file cannot be read.
        """
        key = self._key(session)
        try:
            sealed = (self._home / FILE_NAME).read_bytes()
        except FileNotFoundError:
            raise _gone() from None
        except OSError as error:
            raise _unusable(error) from None
        secret = open_sealed(key, sealed, session)
        if secret is None:
            raise _gone()
        return secret

    def advance(self, session: bytes, secret: bytes) -> None:
        """Replace the secrets, before the answer that they made leaves.

        Raises:
            WrongSessionError: As `open`.
            StoreError: They cannot be written; the answer must not leave.
        """
        self._write(session, self._key(session), secret)

    def end(self) -> None:
        """Destroy the secrets, before the last answer leaves.

        Raises:
            StoreError: The file cannot be removed.
        """
        try:
            (self._home / FILE_NAME).unlink(missing_ok=True)
            sync_folder(self._home)
        except OSError as error:
            raise _unusable(error) from None
        self._state.pop(_RECORD, None)

    def _key(self, session: bytes) -> bytes:
        record = self._state.get(_RECORD)
        if not isinstance(record, ConfigRecord) or record.get("session") != session:
            raise _gone()
        key = record.get("key")
        if not isinstance(key, bytes):
            raise _gone()
        return key

    def _write(self, session: bytes, key: bytes, secret: bytes) -> None:
        target = self._home / FILE_NAME
        draft = self._home / f".{FILE_NAME}.partial"  # of this process: it holds the lock
        try:
            draft.unlink(missing_ok=True)
            write_new(draft, seal_at_rest(key, secret, session))
            draft.replace(target)
            sync_folder(self._home)
        except OSError as error:
            raise _unusable(error) from None


def _gone() -> WrongSessionError:
    return WrongSessionError("this device is not in that session, or its secrets are gone")


def _unusable(error: OSError) -> StoreError:
    return StoreError(f"the secrets of a masked session cannot be kept: {error.strerror}")
