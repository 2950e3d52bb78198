"""Measures secure aggregation and compression: `python -m benchmarks.secure.run`.

Figures are CPU time of one thread of this process, so that a busy machine moves them little.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.secure.compression import compression
from benchmarks.secure.cost import session_cost

RESULTS = Path(__file__).parent.parent / "results" / "secure.json"
MEMBERS, LENGTH = 32, 25_000


def main() -> None:
    """Run all, print it and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="sessions of each kind")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    kinds = [(32, 0.0), (32, 0.1), (32, 0.3), (16, 0.0), (64, 0.0)]
    sessions = [
        session_cost(
            num=MEMBERS,
            length=LENGTH,
            modulus_bits=modulus_bits,
            share_gone=share_gone,
            repeats=args.repeats,
        )
        for modulus_bits, share_gone in kinds
    ]
    found = {
        "command": f"python -m benchmarks.secure.run --repeats {args.repeats}",
        "figure": (
            "CPU ms of a whole session: keys, signatures, shares, masks, confirmation, reveal; "
            "medians over sessions. Errors are relative L2, over 5 seeds."
        ),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "system": platform.system(),
        },
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("edge-sdk", "numpy", "cryptography")},
        "sessions": sessions,
        "compression": compression(LENGTH, MEMBERS),
    }
    text = json.dumps(found, indent=1) + "\n"
    args.out.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
