"""Two apps, two users each, over process restarts: every step holds, and its log verifies."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_sdk import Engine, open_bundle
from edge_sdk.audit import AuditLog
from tests.support import tiny
from tests.support.homes import all_bytes, shots

if TYPE_CHECKING:
    from collections.abc import Mapping

APP = Path(__file__).with_name("story_app.py")


def a_day(bundle: Path, homes: Path, day: str) -> dict[str, Any]:
    """One process of the app; what it saw of each user."""
    done = subprocess.run(
        [sys.executable, APP, bundle, homes, day],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == ("crash" in day), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def fitted(bundle: Path, lessons: Mapping[str, Any]) -> str:
    """f(bundle, examples): the state that a user taught just this must have."""
    engine = Engine(bundle)
    features = np.concatenate([engine.embed(x) for x in lessons.values()])
    slots = np.repeat(np.arange(len(lessons)), [len(x) for x in lessons.values()])
    return engine.adapt(features, slots).state.to_bytes().hex()


@pytest.mark.parametrize("learner", ["tiny_bundle", "tiny_gradient_bundle"])
def test_a_user_s_story(learner: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    bundle: Path = request.getfixturevalue(learner)
    newer = tiny.rewrite(bundle, tmp_path / "newer", version=2, parent=open_bundle(bundle).digest)
    homes = tmp_path / "homes"
    log = ["bundle_opened", "taught", "taught", "adapted"]
    heads: dict[str, str] = {}

    def check(day: str, used: Path, kinds: list[str]) -> dict[str, Any]:
        found = a_day(used, homes, day)
        for user, saw in found.items():
            assert saw["log_ok"], (day, user)
            assert saw["kinds"] == kinds, (day, user)
            # what was logged yesterday is still there, unchanged
            report = AuditLog(homes / user).verify(head=heads.get(user))
            assert report.ok, (day, user)
            assert report.head == saw["head"]
            heads[user] = saw["head"]
        assert found["0"]["state"] != found["1"]["state"] or day == "last"
        return found

    found = check("first", bundle, log)
    for user in (0, 1):
        saw = found[str(user)]
        lessons = {"anna": shots(10 * user, 4), "ben": shots(10 * user + 1, 4)}
        assert saw["state"] == fitted(bundle, lessons)
        assert (saw["answers"]["anna"], saw["answers"]["ben"]) == (["anna"] * 2, ["ben"] * 2)

    log += ["taught", "adapted"]
    found = check("second", bundle, log)
    assert [found[u]["answers"]["cleo"] for u in "01"] == [["cleo"] * 2] * 2
    second = {user: saw["state"] for user, saw in found.items()}

    # the same backbone: everything taught is still valid, and judged again with the new bundle
    log += ["bundle_opened", "adapted"]
    found = check("upgrade", newer, log)
    assert {user: saw["state"] for user, saw in found.items()} == second
    assert [found[u]["examples"] for u in "01"] == [12, 12]

    log += ["forgot", "taught", "adapted", "rolled_back"]
    found = check("third crash", newer, log)
    for user in (0, 1):
        saw = found[str(user)]
        never = {"anna": shots(10 * user, 4), "cleo": shots(10 * user + 2, 4)}
        assert saw["state"] == fitted(newer, never), "as if it had never been taught"
        assert "ben" not in {name for names in saw["answers"].values() for name in names}
        assert saw["examples"] == 10  # the lesson taught after it is still there

    # nothing is lost by the crash, and nothing comes twice
    assert check("after", newer, log) == found

    log += ["consent_changed", "erased"]
    found = check("last", newer, log)
    base = Engine(newer).initial_state().to_bytes().hex()
    assert [(saw["state"], saw["examples"]) for saw in found.values()] == [(base, 0)] * 2
    left = all_bytes(homes)
    for user in (0, 1):
        rows = Engine(newer).embed(shots(10 * user, 4))
        assert not any(row.tobytes() in left for row in rows)
    assert b"anna" not in left
    assert b"cleo" not in left
    command = "from edge_sdk.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command, "log", homes / "0", "--verify", "--head", heads["0"]],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(log)} entries verified, head {heads['0']}" in done.stdout
