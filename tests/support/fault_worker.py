"""Makes each write of each change fail in turn and checks what is left. Run by `faults.run_worker`.

Usage: `fault_worker.py NAME-OF-FAULT BUNDLE SCRATCH`, with `faults.c` preloaded. For each change it
prints how many calls it makes, how many of the runs with a fault raised an error, and how many of
those left the new version all the same.
"""

from __future__ import annotations

import ctypes
import shutil
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from edge_sdk import Capacity, Personalizer, errors
from edge_sdk.accepted import Accepted, AcceptedVersions
from edge_sdk.keys import FileKeyStore
from tests.support.faults import FAULTS
from tests.support.homes import shots, teach_in_turn

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_CALLS = 400
X = np.ones((1, 1, 4, 4), np.float32)


class Disk:
    """The failing disk."""

    def __init__(self, name: str, scratch: Path) -> None:
        self._code, self._lasting = FAULTS[name]
        self._folder = str(scratch).encode()
        self._library = ctypes.CDLL(None)
        self._library.edge_fault_disarm.restype = ctypes.c_long

    def fails(self, number: int, change: Callable[[], object]) -> tuple[int, bool]:
        """Run a change whose `number`-th call fails; how many there were, and if it raised.

        Only `EdgeError` may leave a change.
        """
        where, at = ctypes.c_char_p(self._folder), ctypes.c_long(number)
        self._library.edge_fault_arm(where, self._code, int(self._lasting), at)
        try:
            change()
        except errors.EdgeError:
            return self._library.edge_fault_disarm(), True
        finally:
            calls = self._library.edge_fault_disarm()
        return calls, False


@dataclass
class Tally:
    """What happened over all numbers."""

    calls: int = 0
    failed: int = 0
    new: int = 0


STORE_CHANGES: dict[str, Callable[[Personalizer], object]] = {
    "teach": lambda personal: personal.teach("cleo", shots(2, 40)),
    "adapt": lambda personal: personal.adapt(),
    "roll-back": lambda personal: personal.roll_back(),
    "forget": lambda personal: personal.forget("anna"),
    "erase": lambda personal: personal.erase(),
}


def contents(personal: Personalizer) -> tuple[Any, ...]:
    """All that a user would miss."""
    features, slots = personal.support()
    state = personal.state.to_bytes(), personal.version
    return personal.examples, features.tobytes(), slots.tobytes(), *state


def check_store(disk: Disk, change: Callable[[Personalizer], object], folder: Path) -> Tally:
    """A home holds the old or the new version, in memory and on the disk, and can be used on."""
    options: dict[str, Any] = {"capacity": Capacity(per_label=30)}
    bundle, good, home = folder / "bundle", folder / "good", folder / "home"
    with Personalizer(bundle, home=good, **options) as personal:
        teach_in_turn(personal, "anna", "ben")
        old = contents(personal)
    tally = Tally()
    for number in range(1, MAX_CALLS):
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(good, home)
        with Personalizer(bundle, home=home, **options) as personal:
            calls, failed = disk.fails(number, lambda: change(personal))
            found = contents(personal)
            if personal.version:
                assert personal.predict(X).version == personal.version
        with Personalizer(bundle, home=home, **options) as personal:
            assert personal.status.damage == ""
            assert contents(personal) == found, number
            if found == old:
                assert failed, f"call {number}: nothing changed, and nobody was told"
                change(personal)
                assert contents(personal) != old
        tally.failed += failed
        tally.new += failed and found != old
        if calls < number:
            assert not failed
            tally.calls = calls
            return tally
    msg = "it never ended"
    raise AssertionError(msg)


def check_opening(disk: Disk, folder: Path) -> Tally:
    """An opening that fails leaves what there was."""
    bundle, good, home = folder / "bundle", folder / "good", folder / "home"
    with Personalizer(bundle, home=good) as personal:
        teach_in_turn(personal, "anna", "ben")
        old = contents(personal)
    tally = Tally()
    for number in range(1, MAX_CALLS):
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(good, home)
        calls, failed = disk.fails(number, lambda: Personalizer(bundle, home=home).close())
        with Personalizer(bundle, home=home) as personal:
            assert personal.status.damage == ""
            assert contents(personal) == old
        tally.failed += failed
        if calls < number:
            tally.calls = calls
            return tally
    msg = "it never ended"
    raise AssertionError(msg)


def check_file(
    disk: Disk,
    prepare: Callable[[Path], object],
    change: Callable[[Path], object],
    read: Callable[[Path], object],
    folder: Path,
) -> Tally:
    """A file that is written whole holds the old or the new content; then the change works."""
    tally = Tally()
    for number in range(1, MAX_CALLS):
        home = folder / f"file{number}"
        home.mkdir()
        prepare(home)
        old = read(home)
        calls, failed = disk.fails(number, lambda home=home: change(home))  # type: ignore[misc]
        found = read(home)
        if not failed:
            assert found != old, f"call {number}: nothing changed, and nobody was told"
        change(home)
        assert read(home) != old
        tally.failed += failed
        tally.new += failed and found != old
        if calls < number:
            assert not failed
            tally.calls = calls
            return tally
    msg = "it never ended"
    raise AssertionError(msg)


def accept(home: Path) -> None:
    """A newer bundle is accepted."""
    record = AcceptedVersions(home)
    newest = record._read()["a"].version
    record.accept("a", Accepted(version=newest + 1, digest="ab" * 32))


FILE_CHANGES: dict[str, tuple[Callable[[Path], object], ...]] = {
    "accept": (
        lambda home: AcceptedVersions(home).accept("a", Accepted(version=1, digest="ab" * 32)),
        accept,
        lambda home: AcceptedVersions(home)._read(),
    ),
    "make-key": (
        lambda _: None,
        lambda home: FileKeyStore(home / "key").create(),
        lambda home: FileKeyStore(home / "key").load(),
    ),
    "destroy-key": (
        lambda home: FileKeyStore(home / "key").create(),
        lambda home: FileKeyStore(home / "key").delete(),
        lambda home: (home / "key").exists(),
    ),
}


def main(fault: str, bundle: str, scratch: str) -> None:
    """Run all of them."""
    folder = Path(scratch).resolve()
    disk = Disk(fault, folder)
    checks: dict[str, Callable[[Path], Tally]] = {"open": partial(check_opening, disk)}
    for name, change in STORE_CHANGES.items():
        checks[name] = partial(check_store, disk, change)
    for name, parts in FILE_CHANGES.items():
        checks[name] = partial(check_file, disk, *parts)
    for name, check in checks.items():
        own = folder / name
        own.mkdir()
        shutil.copytree(bundle, own / "bundle")
        try:
            tally = check(own)
        except BaseException as error:
            error.add_note(f"while: {name}")
            raise
        sys.stdout.write(f"{name} {tally.calls} {tally.failed} {tally.new}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
