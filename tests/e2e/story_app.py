"""An app's process: opens each user's home, does one day's steps, says what it saw, and ends.

Run as a script: `story_app.py BUNDLE HOMES DAY`; one JSON object goes to stdout. A day ends without
closing anything where its name says `crash`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from edge_sdk import Personalizer
from tests.support.homes import shots

LABELS = ("anna", "ben", "cleo")


def live(personal: Personalizer, user: int, day: str) -> None:
    """What this user does that day; each user has classes of their own."""
    seed = 10 * user
    if day == "first":
        for number, label in enumerate(LABELS[:2]):
            personal.teach(label, shots(seed + number, 4))
        personal.adapt()
    elif day == "second":
        personal.teach(LABELS[2], shots(seed + 2, 4))
        personal.adapt(background=True).result(60)
        personal.feedback(personal.predict(shots(seed, 1)), "anna")
    elif day == "third crash":
        personal.forget("ben")
        personal.teach("anna", shots(seed, 2, draw=1))
        personal.adapt()
        personal.roll_back()
    elif day == "last":
        personal.record_consent("0f8fad5b-d9cb-469f-a165-70867728950e", granted=False)
        personal.erase()


def seen(personal: Personalizer, user: int) -> dict[str, object]:
    """What the app can see of a user."""
    asked = {label: shots(10 * user + n, 2, draw=7) for n, label in enumerate(LABELS)}
    known = personal.version != 0
    answers = {k: list(personal.predict(x).labels) for k, x in asked.items()} if known else {}
    report = personal.audit_log.verify()
    return {
        "answers": answers,
        "examples": len(personal.examples),
        "head": report.head,
        "kinds": [record.entry.KIND for record in personal.audit_log.records()],
        "log_ok": report.ok,
        "state": personal.state.to_bytes().hex(),
        "version": personal.version,
    }


def main() -> None:
    """Live through one day."""
    bundle, homes, day = sys.argv[1:]
    found = {}
    for user in range(2):
        personal = Personalizer(bundle, home=Path(homes) / str(user))
        live(personal, user, day)
        found[str(user)] = seen(personal, user)
        if "crash" not in day:
            personal.close()
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
    if "crash" in day:
        os._exit(1)


if __name__ == "__main__":
    main()
