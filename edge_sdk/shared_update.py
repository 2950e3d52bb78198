"""One update of a device for a federated round: adapt, clip, code, log; then it may leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from edge_sdk.audit_entries import EpsilonSpent, UpdateSent
from edge_sdk.errors import NothingTaughtError
from edge_sdk.personal_state import targets_of
from edge_sdk.residual import KEPT, hold_residual, read_residual, settle_residual
from edge_sdk.update import ModelUpdate, make_update

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    from edge_sdk._core import State
    from edge_sdk.arrays import Float32Array
    from edge_sdk.engine import Engine
    from edge_sdk.live_state import LiveState

    Residual: TypeAlias = Mapping[str, Float32Array]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class ShareTerms:
    """On what terms an update leaves.

    Attributes:
        clipping_norm: L2 bound on the whole update.
        steps: Inner steps, the bundle's number by default.
        consent_id: The consent under which it leaves, for the audit log.
        spent: The privacy budget that it costs, for the audit log.
    """

    clipping_norm: float
    steps: int | None = None
    consent_id: str | None = None
    spent: EpsilonSpent | None = None


def share(
    engine: Engine,
    live: LiveState,
    code: Callable[[ModelUpdate], tuple[T, Residual | None]],
    terms: ShareTerms,
    *,
    start: State | None,
    token: str,
) -> T:
    """As `Personalizer.share`."""
    bundle = engine.bundle
    origin = engine.initial_state() if start is None else start
    while True:
        with live.reading() as kept:
            examples, features = kept.support()
            if not examples:
                msg = "there is nothing to share; call teach()"
                raise NothingTaughtError(msg)
            carried = read_residual(live.store.memory, bundle.digest)
        targets = targets_of(bundle.manifest, examples)
        adapted = engine.adapt(features, targets, steps=terms.steps, start=origin).state
        made = make_update(
            bundle.manifest, bundle.digest, origin, adapted, terms.clipping_norm, carried=carried
        )
        coded, residual = code(made)
        sent = UpdateSent(
            bundle_digest=bundle.digest,
            num_examples=len(targets),
            clipping_norm=float(terms.clipping_norm),
            consent_id=terms.consent_id,
        )
        entries = [sent] if terms.spent is None else [sent, terms.spent]
        with live.changing() as kept:
            if kept.examples() != examples:
                continue  # what was forgotten meanwhile is in it
            live.journal(entries)
            if residual is not None:
                hold_residual(live.store.memory, bundle.digest, residual, token)
            elif carried:
                live.store.memory.remove(KEPT)
        return coded


def settle(live: LiveState, token: str) -> None:
    """As `Personalizer.settle`."""
    with live.changing():
        settle_residual(live.store.memory, token)
