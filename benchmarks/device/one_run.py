"""One peer, one process: `one_run.py prepare|measure|version PEER [--task ...]`; JSON out."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

from measure import measure
from work import TASKS


def main() -> None:
    """Do what the arguments say; the last line of the output is a JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=["prepare", "measure", "version"])
    parser.add_argument("peer")
    parser.add_argument("--task", choices=TASKS)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--seconds", type=float, default=2.0)
    args = parser.parse_args()
    peer = importlib.import_module(args.peer)
    result: object = None
    if args.action == "version":
        result = peer.version()
    elif args.action == "prepare":
        args.folder.mkdir(parents=True, exist_ok=True)
        peer.prepare(args.task, args.folder)
    else:
        result = measure(lambda task: peer.Run(task, args.folder, 1), args.task, args.seconds)
    sys.stdout.write(json.dumps({"result": result}) + "\n")


if __name__ == "__main__":
    main()
