"""Forks workers that change one home for ever, until someone kills them.

Run as a script: `kill_worker.py BUNDLE HOME transactional|encrypted|torn`. Each line on stdin,
`SEED`, forks one worker; its process id, each operation before it starts and after it is committed,
and its end go to stdout. Forking from a process that has all imports done makes a worker start in
milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from edge_sdk import FileKeyStore, NoGenerationError, Personalizer
from edge_sdk.runtime import find_runtime_library
from edge_sdk.store import Store
from tests.support.tiny import class_examples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

LABELS = ("anna", "ben", "cleo", "dora")


def lesson(label: str, n: int, number: int) -> NDArray[np.float32]:
    """The examples `[n, 1, 4, 4]` of operation `number`; the checker makes the same."""
    return class_examples(np.random.default_rng(number), n, seed=LABELS.index(label))


def key_of(home: str | Path, mode: str) -> FileKeyStore | None:
    """The key store of a home, beside it."""
    return FileKeyStore(f"{home}.key") if mode == "encrypted" else None


def work(bundle: str, home: str, mode: str, seed: int) -> None:
    """Teach, adapt, roll back, forget and erase at random; never returns."""
    rng = np.random.default_rng(seed)
    # Unguarded: what a commit holds then follows from the operations alone.
    with Personalizer(bundle, home=home, key=key_of(home, mode), guardrail=None) as personal:
        number = seed * 10_000
        while True:
            number += 1
            choice, label = rng.random(), str(rng.choice(LABELS))
            if choice < 0.4 or not personal.examples:
                n = int(rng.integers(1, 7))
                say(f"start teach {label} {n} {number}")
                personal.teach(label, lesson(label, n, number))
            elif choice < 0.65:
                say("start adapt")
                personal.adapt()
            elif choice < 0.77:
                say("start roll_back")
                with suppress(NoGenerationError):
                    personal.roll_back()
            elif choice < 0.82:
                say("start erase")
                personal.erase()
            elif label in personal.labels:
                say(f"start forget {label}")
                personal.forget(label)
            else:
                continue
            say("done")


def say(line: str) -> None:
    """One write, so that a kill leaves whole lines."""
    os.write(sys.stdout.fileno(), f"{line}\n".encode("ascii"))


@contextmanager
def _no_transaction(_store: Store, _begin: str) -> Iterator[None]:
    yield


def main() -> None:
    """Fork a worker for each seed on stdin and wait for its end."""
    bundle, home, mode = sys.argv[1:]
    ctypes.CDLL(str(find_runtime_library()))  # the slow part of a start
    if mode == "torn":
        Store._atomic = _no_transaction  # type: ignore[method-assign, assignment]
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                work(bundle, home, mode, int(line))
            finally:
                os._exit(1)
        say(f"pid {pid}")
        _, status = os.waitpid(pid, 0)
        say(f"end {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main()
