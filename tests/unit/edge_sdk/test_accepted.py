"""The record of accepted versions: durable, whole after a crash, and damage is noticed."""

from __future__ import annotations

import errno
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_sdk.accepted import LOCK_NAME, RECORD_NAME, Accepted, AcceptedVersions
from edge_sdk.errors import OlderBundleError, StoreError


def version(number: int, letter: str = "a") -> Accepted:
    return Accepted(version=number, digest=letter * 64)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "device"


def test_what_was_accepted_is_remembered_by_a_new_process(home: Path) -> None:
    AcceptedVersions(home).accept("glyphs", version(7))
    code = (
        "import sys; from edge_sdk.accepted import *; "
        "AcceptedVersions(sys.argv[1]).check('glyphs', Accepted(version=6, digest='b' * 64))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, home], capture_output=True, text=True, check=False
    )
    assert "OlderBundleError: manifest.json: glyphs has version 6" in done.stderr


def test_only_a_newer_or_the_same_bundle_passes(home: Path) -> None:
    record = AcceptedVersions(home)
    record.check("a", version(5))
    assert not home.exists()  # a check writes nothing
    record.accept("a", version(5))
    for good in (version(5), version(6, "c")):
        record.check("a", good)
    for bad in (version(4), version(4, "c"), version(5, "c")):
        for call in (record.check, record.accept):
            with pytest.raises(OlderBundleError):
                call("a", bad)
    record.check("b", version(1))


def test_it_is_private_and_written_only_when_it_changes(home: Path) -> None:
    record = AcceptedVersions(home)
    record.accept("a", version(1))
    before = (home / RECORD_NAME).stat()
    assert before.st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o777 == 0o700
    record.accept("a", version(1))
    assert (home / RECORD_NAME).stat().st_ino == before.st_ino
    record.accept("a", version(2))
    assert {path.name for path in home.iterdir()} == {RECORD_NAME, LOCK_NAME}


def test_every_flipped_byte_and_every_truncation_is_noticed(home: Path) -> None:
    record = AcceptedVersions(home)
    record.accept("a", version(3))
    record.accept("b", version(1, "b"))
    path = home / RECORD_NAME
    good = path.read_bytes()
    damaged = [good[:size] for size in range(len(good))]
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 1 << place % 8
        damaged.append(bytes(bad))
    for data in (*damaged, good + b"\n", b"[" * 100_000):
        path.write_bytes(data)
        with pytest.raises(StoreError, match=RECORD_NAME):
            record.check("a", version(3))
    path.write_bytes(good)
    record.check("a", version(3))


@pytest.mark.parametrize("name", [RECORD_NAME, LOCK_NAME, f"{RECORD_NAME}.tmp"])
def test_links_are_not_followed(home: Path, tmp_path: Path, name: str) -> None:
    home.mkdir(parents=True)
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    (home / name).symlink_to(target)
    with pytest.raises(StoreError):
        AcceptedVersions(home).accept("a", version(1))
    assert target.read_bytes() == b"precious"


@pytest.mark.parametrize("call", ["fsync", "open", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_failed_write_leaves_the_old_or_the_new_record(
    home: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    AcceptedVersions(home).accept("a", version(1))
    real = getattr(os, call)
    for failing in range(8):
        calls = 0

        def fail(*args: object, _failing: int = failing, **options: object) -> object:
            nonlocal calls
            calls += 1
            if calls > _failing:
                raise OSError(code, os.strerror(code))
            return real(*args, **options)

        target = Path if call == "replace" else os
        monkeypatch.setattr(target, call, fail)
        try:
            AcceptedVersions(home).accept("a", version(2, "b"))
            acknowledged = True
        except StoreError:
            acknowledged = False
        monkeypatch.undo()
        record = AcceptedVersions(home)
        record.check("a", version(2, "b"))  # never damaged, never a version from nowhere
        if acknowledged:
            with pytest.raises(OlderBundleError):
                record.check("a", version(1))
            assert calls <= failing
            return
    pytest.fail("it never succeeded")


GOLDEN = (
    '{\n "bundles": {\n  "glyphs": {\n   "digest": "'
    + "ab" * 32
    + '",\n   "version": 7\n  }\n },\n'
    ' "format": 1,\n'
    ' "sha256": "549991a91fa32de49b9cb47666e3a4d735b0dc102228de2e8b4cbd62be44cc4f"\n}\n'
)


def test_a_record_written_by_the_first_version_is_read(home: Path) -> None:
    home.mkdir(parents=True)
    (home / RECORD_NAME).write_text(GOLDEN)
    with pytest.raises(OlderBundleError, match="version 7"):
        AcceptedVersions(home).check("glyphs", version(6))


def _accept(home: Path, numbers: range) -> None:
    for number in numbers:
        try:
            AcceptedVersions(home).accept("a", version(number))
        except OlderBundleError:
            continue


def test_processes_take_turns(home: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ranges = [range(1, 40, 3), range(2, 40, 3), range(3, 41, 3)]
    workers = [context.Process(target=_accept, args=(home, numbers)) for numbers in ranges]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    with pytest.raises(OlderBundleError):
        AcceptedVersions(home).check("a", version(38))
    AcceptedVersions(home).check("a", version(39))
