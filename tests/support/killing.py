"""Kills workers at random moments and checks that a store holds the old or the new version."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from edge_sdk import Engine, Example, Personalizer, StoreError
from edge_sdk.store import Store
from edge_sdk.store_generations import CURRENT, PREVIOUS
from tests.e2e import kill_worker

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from edge_sdk.audit import AuditLog

TIMEOUT_S = 60
MAX_DELAY_S = 0.05
LOGGED = {
    "teach": "taught",
    "adapt": "adapted",
    "forget": "forgot",
    "roll_back": "rolled_back",
    "erase": "erased",
}


@dataclass(frozen=True, slots=True)
class Version:
    """What a store must hold after a number of operations.

    Attributes:
        examples: The kept examples and the features of each.
        next_id: The id that the next example gets.
        current: Ids that the current state was adapted on; none: the bundle's own.
        previous: The same of the generation before; None where there is none.
        log: Kinds of the entries in the audit log, but for those of openings.
    """

    examples: tuple[tuple[Example, bytes], ...] = ()
    next_id: int = 1
    current: tuple[int, ...] = ()
    previous: tuple[int, ...] | None = None
    log: tuple[str, ...] = ()

    def after(self, engine: Engine, operation: str) -> Version:
        """The version after one operation, as the worker announces it."""
        kind, *words = operation.split()
        if kind == "roll_back" and self.previous is None:
            return self
        return replace(self._changed(engine, kind, *words), log=(*self.log, LOGGED[kind]))

    def _changed(self, engine: Engine, kind: str, *words: str) -> Version:
        if kind == "erase":
            return Version(next_id=self.next_id)
        if kind == "roll_back":
            assert self.previous is not None
            return replace(self, current=self.previous, previous=None)
        if kind == "adapt":
            ids = tuple(example.id for example, _ in self.examples)
            return replace(self, current=ids, previous=self.current)
        return self._without(words[0]) if kind == "forget" else self._taught(engine, *words)

    def _without(self, label: str) -> Version:
        kept = tuple(pair for pair in self.examples if pair[0].label != label)
        left = {example.id for example, _ in kept}
        current = tuple(i for i in self.current if i in left)
        previous = self.previous
        if previous is not None:
            previous = tuple(i for i in previous if i in left)
        if not current and not previous:
            previous = None
        return replace(self, examples=kept, current=current, previous=previous)

    def _taught(self, engine: Engine, label: str, n: str, number: str) -> Version:
        features = engine.embed(kill_worker.lesson(label, int(n), int(number)))
        taught = tuple(
            (Example(self.next_id + i, label), row.tobytes()) for i, row in enumerate(features)
        )
        return replace(self, examples=self.examples + taught, next_id=self.next_id + len(features))

    def state_bytes(self, engine: Engine, ids: tuple[int, ...]) -> bytes:
        """f(bundle, examples): the bytes that a state adapted on them must have."""
        adapted = [pair for pair in self.examples if pair[0].id in ids]
        if not adapted:
            return engine.initial_state().to_bytes()
        labels = [example.label for example, _ in adapted]
        slots = np.array([list(dict.fromkeys(labels)).index(label) for label in labels])
        rows: NDArray[np.float32] = np.array([np.frombuffer(f, np.float32) for _, f in adapted])
        return engine.adapt(rows, slots).state.to_bytes()


@dataclass(slots=True)
class Tally:
    """What the kills hit: operations under way, by kind, that were lost or kept."""

    kills: int = 0
    acknowledged: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)


class Killer:
    """Runs workers on one home, one after the other, and kills each.

    Args:
        bundle: The bundle that they use.
        home: Their store.
        mode: `transactional`, `encrypted`, or `torn` to show that the check can fail.
    """

    def __init__(self, bundle: Path, home: Path, mode: str) -> None:
        self._home, self._mode, self._keys = home, mode, kill_worker.key_of(home, mode)
        self._states: dict[int, bytes] = {}
        self._engine = Engine(bundle)
        self._version = Version()
        self.tally = Tally()
        self._process = subprocess.Popen(
            [sys.executable, kill_worker.__file__, bundle, home, mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def kill_many(self, num_kills: int, rng: np.random.Generator) -> Tally:
        """Call `kill_one` so many times."""
        for _ in range(num_kills):
            self.kill_one(rng)
        return self.tally

    def kill_one(self, rng: np.random.Generator) -> None:
        """Start a worker, kill it, and check the store; raises AssertionError if it is torn."""
        self._send(f"{self.tally.kills + 1}\n")
        pid = int(self._read_line().removeprefix("pid "))
        operations: list[str] = []
        done = 0
        if rng.random() < 0.8:  # else: at any moment of opening, too
            while done == 0:
                done += self._note(self._read_line(), operations)
        time.sleep(rng.uniform(0, MAX_DELAY_S))
        os.kill(pid, signal.SIGKILL)
        while not (line := self._read_line()).startswith("end "):
            done += self._note(line, operations)
        assert line == f"end {-signal.SIGKILL}", "the worker failed by itself"
        self.tally.kills += 1
        self.tally.acknowledged += done
        self._check(operations, done)

    def _note(self, line: str, operations: list[str]) -> int:
        """Keep what a worker started; returns 1 when it says that this is committed."""
        if line == "done":
            return 1
        operations.append(line.removeprefix("start "))
        return 0

    def _check(self, operations: list[str], done: int) -> None:
        for operation in operations[:done]:
            self._version = self._version.after(self._engine, operation)
        assert len(operations) - done in {0, 1}
        found = self._read_store()
        if found == self._image(self._version):
            self._count(self.tally.lost, operations[done:])
        else:
            assert operations[done:], "an acknowledged operation was lost"
            self._version = self._version.after(self._engine, operations[done])
            assert found == self._image(self._version), "neither the old nor the new version"
            self._count(self.tally.kept, operations[done:])
        bundle, current = self._engine.bundle, self._version.current
        with Personalizer(bundle, home=self._home, key=self._keys) as personal:
            state = personal.state.to_bytes()
            assert state == self._version.state_bytes(self._engine, current)
            assert personal.examples == tuple(example for example, _ in self._version.examples)
            assert personal.status.damage == ""
            assert self._states.setdefault(personal.version, state) == state, "a number used twice"
            if self._mode != "torn":
                self._check_log(personal.audit_log, operations[done:], found)

    def _check_log(self, log: AuditLog, under_way: list[str], found: object) -> None:
        """Each change that is there is in the log, once, and no other."""
        assert log.verify().ok
        every = (record.entry.KIND for record in log.records())
        kinds = tuple(kind for kind in every if kind != "bundle_opened")
        if kinds != self._version.log and under_way:  # it left the store as it was: erased twice
            self._version = self._version.after(self._engine, under_way[0])
            assert found == self._image(self._version)
        assert kinds == self._version.log

    def _image(self, version: Version) -> tuple[object, ...]:
        """What `_read_store` must find."""
        stored: list[object] = []
        for ids in (version.current or None, version.previous):
            if ids is None:
                stored.append(None)
            else:
                stored.append((ids, version.state_bytes(self._engine, ids) if ids else None))
        return version.examples, *stored

    def _read_store(self) -> tuple[object, ...]:
        """The store as it is: nothing is repaired here, as a personalizer would."""
        stored: list[object] = []
        store = Store(self._home, keys=self._keys)
        try:
            with store.snapshot():
                check = store.database().execute("PRAGMA integrity_check").fetchall()
                assert check == [("ok",)]
                bound = store.binding() is not None  # not so right after an erase
                shape = self._engine.bundle.manifest.features.shape
                ids = store.examples.ids()
                examples, features = store.examples.load(shape, ids) if bound else ((), ())
                assert store.generations.complete(), "the store is not whole: a state is missing"
                for role in (CURRENT, PREVIOUS):
                    found = store.generations.read(role)
                    if found is None or found.header is None:
                        assert found is None or found.version == 0, "the store is not whole: header"
                        stored.append(None if found is None else ((), None))
                    else:
                        stored.append((found.header.ids, found.data))
        except StoreError as error:
            msg = f"the store is not whole: {error}"
            raise AssertionError(msg) from error
        finally:
            store.close()
        return tuple((e, f.tobytes()) for e, f in zip(examples, features, strict=True)), *stored

    @staticmethod
    def _count(counts: dict[str, int], under_way: list[str]) -> None:
        for operation in under_way:
            kind = operation.split()[0]
            counts[kind] = counts.get(kind, 0) + 1

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode("ascii"))
        self._process.stdin.flush()

    def _read_line(self) -> str:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                assert selector.select(TIMEOUT_S), "the worker went silent"
                data = os.read(self._process.stdout.fileno(), 65536)
                assert data, "the worker's parent ended"
                self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode("ascii")
