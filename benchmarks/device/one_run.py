"""One peer, one process: `one_run.py prepare|measure|predict|version PEER ...`; JSON out."""

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
    parser.add_argument("action", choices=["prepare", "measure", "predict", "version"])
    parser.add_argument("peer")
    parser.add_argument("--task", choices=TASKS)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--seconds", type=float, default=2.0)
    args = parser.parse_args()
    result: object = None
    if args.action == "predict":
        from predicting import measure_predict

        result = measure_predict(args.task, args.folder)
    elif args.action == "measure":

        def load(task: str) -> object:
            return importlib.import_module(args.peer).Run(task, args.folder, 1)

        result = measure(load, args.task, args.seconds)
    elif args.action == "prepare":
        args.folder.mkdir(parents=True, exist_ok=True)
        importlib.import_module(args.peer).prepare(args.task, args.folder)
    else:
        result = importlib.import_module(args.peer).version()
    sys.stdout.write(json.dumps({"result": result}) + "\n")


if __name__ == "__main__":
    main()
