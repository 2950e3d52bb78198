"""A run's state on disk after each round, so that a killed run goes on with the same bits.

One file, replaced as a whole: a power cut leaves the old one or the new one.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_sdk.durable import sync_folder, write_durably
from federated.errors import CheckpointError
from federated.round_core import RoundReport, RunState

if TYPE_CHECKING:
    from pathlib import Path

    from federated.privacy.options import PrivacyOptions
    from federated.round_core import RoundOptions

FORMAT = 1
_ABOUT, _SHARED, _OPTIMIZER, _TREE = "about", "shared/", "optimizer/", "tree/"


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """What is kept of a run.

    Attributes:
        run_id: The run's id, under which the ledger holds what it has spent.
        fingerprint: Of what the run rests on (`run_fingerprint`).
        state: All that its next round depends on.
    """

    run_id: str
    fingerprint: str
    state: RunState


def run_fingerprint(
    bundle_digest: str, options: RoundOptions, privacy: PrivacyOptions | None
) -> str:
    """SHA-256 (hex) of the bundle and options of a run; more rounds make no other run."""
    known = {
        "bundle": bundle_digest,
        "options": asdict(replace(options, rounds=1)),
        "privacy": None if privacy is None else asdict(privacy),
    }
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint at `path`.

    Raises:
        CheckpointError: It cannot be written; the old one is whole.
    """
    state = checkpoint.state
    about = {
        "format": FORMAT,
        "run_id": checkpoint.run_id,
        "fingerprint": checkpoint.fingerprint,
        "next_round": state.next_round,
        "clipping_norm": state.clipping_norm,
        "used": sorted(state.used),
        "reports": [asdict(report) for report in state.reports],
    }
    arrays: dict[str, Any] = {_ABOUT: np.frombuffer(json.dumps(about).encode(), np.uint8)}
    arrays |= {_SHARED + name: value for name, value in state.shared.items()}
    arrays |= {_OPTIMIZER + name: value for name, value in state.optimizer.items()}
    arrays |= {_TREE + name: value for name, value in state.tree.items()}
    data = io.BytesIO()
    np.savez(data, **arrays)
    partial = path.with_name(path.name + ".partial")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        write_durably(os.open(partial, flags, 0o600), data.getvalue())
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        msg = f"the checkpoint cannot be written: {error.strerror}"
        raise CheckpointError(msg) from error


def read_checkpoint(path: Path, fingerprint: str) -> Checkpoint:
    """Read the checkpoint at `path`.

    Raises:
        CheckpointError: It is missing, damaged, or of a run with another bundle or other options.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            about = json.loads(arrays[_ABOUT].tobytes())
            kept = {name: arrays[name] for name in arrays.files if name != _ABOUT}
        if about["format"] != FORMAT:
            msg = f"the checkpoint is of format {about['format']}, this version reads {FORMAT}"
            raise CheckpointError(msg)
        checkpoint = Checkpoint(
            run_id=about["run_id"],
            fingerprint=about["fingerprint"],
            state=RunState(
                next_round=about["next_round"],
                shared=_part(kept, _SHARED),
                optimizer=_part(kept, _OPTIMIZER),
                clipping_norm=about["clipping_norm"],
                tree=_part(kept, _TREE),
                used=frozenset(about["used"]),
                reports=tuple(RoundReport(**entry) for entry in about["reports"]),
            ),
        )
    except (OSError, KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, CheckpointError):
            raise
        msg = f"{path.name} is missing or damaged; without it the run starts anew"
        raise CheckpointError(msg) from error
    if checkpoint.fingerprint != fingerprint:
        msg = "the checkpoint is of a run on another bundle or with other options; start anew"
        raise CheckpointError(msg)
    return checkpoint


def _part(arrays: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): value
        for name, value in sorted(arrays.items())
        if name.startswith(prefix)
    }
