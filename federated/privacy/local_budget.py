"""A device's own privacy budget: what its updates with local noise have cost its user, on its disk.

Rho of zero-concentrated privacy adds up over rounds (Bun and Steinke, TCC 2016); epsilon follows
from it by Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy" (NeurIPS
2020), proposition 12. Numpy and dp-accounting are not needed. An erasure of the user's examples
does not give budget back: what left the device is known elsewhere.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import secrets
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sdk.audit_entries import EpsilonSpent
from edge_sdk.durable import sync_folder, write_new
from edge_sdk.errors import InvalidOptionError
from federated.errors import BudgetExhaustedError, LedgerError

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE_NAME = "local-privacy.json"
_VERSION = 1
_READ, _WRITTEN = "read", "written"
_LEAST_ORDER, _MOST_ORDER = 1 + 1e-6, 1e6
_STEPS = 200


def epsilon_of_rho(rho: float, delta: float) -> float:
    """The least epsilon that rho of zero-concentrated privacy gives at delta; 0 for rho 0.

    Raises:
        InvalidOptionError: rho is negative or not finite, or delta not in (0, 1).
    """
    if not (0 <= rho < math.inf and 0 < delta < 1):
        msg = "rho must be finite and >= 0, and delta in (0, 1)"
        raise InvalidOptionError(msg)
    if rho == 0:
        return 0.0
    low, high = math.log(_LEAST_ORDER - 1), math.log(_MOST_ORDER - 1)
    for _ in range(_STEPS):  # one minimum, on a logarithmic scale of the order
        left, right = low + (high - low) / 3, high - (high - low) / 3
        if _epsilon(rho, delta, left) < _epsilon(rho, delta, right):
            high = right
        else:
            low = left
    return max(0.0, _epsilon(rho, delta, (low + high) / 2))


class LocalBudget:
    """The budget of one home.

    Args:
        home: The user's home folder; made if absent.
        epsilon: What all rounds together may cost, finite and positive.
        delta: At which.
    """

    def __init__(self, home: str | os.PathLike[str], epsilon: float, delta: float) -> None:
        self._home, self._epsilon, self._delta = Path(home), epsilon, delta

    def spent(self) -> float:
        """Rho of all rounds so far.

        Raises:
            LedgerError: The file cannot be read, or is damaged.
        """
        try:
            text = (self._home / FILE_NAME).read_text("ascii")
        except FileNotFoundError:
            return 0.0
        except (OSError, UnicodeDecodeError) as error:
            raise _unusable(_READ) from error
        try:
            kept = json.loads(text)
            rho = float(kept["rho"])
            if kept["version"] != _VERSION or not 0 <= rho < math.inf:
                raise _unusable(_READ)
        except (ValueError, KeyError, TypeError) as error:
            raise _unusable(_READ) from error
        return rho

    def spend(self, rho: float) -> EpsilonSpent:
        """Record what a round will cost, on the disk, before anything leaves.

        Returns:
            What it costs, and what all has cost, as an entry of the audit log.

        Raises:
            BudgetExhaustedError: It is more than is left; nothing is recorded.
            LedgerError: The file cannot be read or written; nothing may leave then.
        """
        with self._locked():
            before = self.spent()
            total = epsilon_of_rho(before + rho, self._delta)
            if total > self._epsilon:
                msg = (
                    f"the round would bring this device's epsilon to {total:.4g}; its own budget "
                    f"is {self._epsilon:g}"
                )
                raise BudgetExhaustedError(msg)
            self._write(before + rho)
        cost = total - epsilon_of_rho(before, self._delta)
        return EpsilonSpent(epsilon=cost, total_epsilon=total, target_delta=self._delta)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            lock = os.open(self._home / f"{FILE_NAME}.lock", flags, 0o600)
        except OSError as error:
            raise _unusable(_WRITTEN) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _write(self, rho: float) -> None:
        draft = self._home / f".{FILE_NAME}.{secrets.token_hex(8)}"
        text = json.dumps({"rho": rho, "version": _VERSION})
        try:
            try:
                write_new(draft, text.encode("ascii"))
                draft.replace(self._home / FILE_NAME)
                sync_folder(self._home)
            finally:
                draft.unlink(missing_ok=True)
        except OSError as error:
            raise _unusable(_WRITTEN) from error


def _epsilon(rho: float, delta: float, log_above_one: float) -> float:
    above = math.exp(log_above_one)
    order = 1 + above
    return rho * order + math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / above


def _unusable(to: str) -> LedgerError:
    return LedgerError(
        f"the device's own privacy budget ({FILE_NAME}) cannot be {to}; restore it from a backup"
    )
