"""One user's store, bound to one engine: which generation answers, and how generations change."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk._core import State
from edge_sdk.capacity import Capacity, chosen
from edge_sdk.errors import (
    BadStateError,
    CapacityError,
    DivergedError,
    NoGenerationError,
    RuntimeFailedError,
    StoreDamagedError,
)
from edge_sdk.events import EventKind, Source
from edge_sdk.personal_state import Current, Fit, current_of, fit, slot_names
from edge_sdk.residual import drop_residuals
from edge_sdk.store import Binding
from edge_sdk.store_codec import Header
from edge_sdk.store_generations import CURRENT, PREVIOUS
from edge_sdk.store_rows import Example
from edge_sdk.taught_values import RowShape

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge_sdk.arrays import Float32Array
    from edge_sdk.engine import Engine
    from edge_sdk.store import Store
    from edge_sdk.store_generations import Generation

Note = tuple[EventKind, str]
"""An event to be: its kind and detail."""


@dataclass(slots=True)
class _Damage:
    """What was found while looking for a state that can answer."""

    texts: list[str] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


class KeptState:
    """One user's store, bound to one engine: it never mixes features of different backbones.

    Not thread-safe: its owner holds a lock. Every method but `transaction` and `snapshot` must run
    inside one of them.
    """

    def __init__(self, engine: Engine, store: Store) -> None:
        self._engine, self._store = engine, store
        self._manifest = engine.bundle.manifest
        self._rows = RowShape.of(self._manifest)
        self._binding = Binding(engine.bundle.embed_identity, self._rows.stored)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Read and write; a store without examples becomes this bundle's.

        Raises:
            BadStateError: The examples were made with another `embed.onnx`.
            StoreError, WrongKeyError: As `Store` says.
        """
        with self._store.transaction():
            if not self._is_bound():
                self._store.bind(self._binding)
            yield

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Read one version; raises as `transaction` does."""
        with self._store.snapshot():
            self._is_bound()
            yield

    def head(self) -> int:
        """The version that the store says is current; 0 when nothing is adapted."""
        return self._store.generations.version(CURRENT) or 0

    def examples(self) -> tuple[Example, ...]:
        """All kept examples, in the order taught."""
        return self.support()[0] if self._rows.outputs else self._store.examples.kept()

    def support(self) -> tuple[tuple[Example, ...], Float32Array]:
        """All kept examples and their features `[n, *features.shape]`."""
        return self._load(self._store.examples.ids(kept=True))

    def adapted(self, version: int) -> tuple[tuple[Example, ...], Float32Array]:
        """The examples that a stored version was adapted on, and their features."""
        return self._load(self.adapted_ids(version))

    def adapted_ids(self, version: int) -> tuple[int, ...]:
        """Ids of the examples that a stored version was adapted on, ascending; none for 0."""
        for role in (CURRENT, PREVIOUS):
            stored = self._store.generations.read(role)
            if stored is not None and stored.version == version and stored.header is not None:
                return stored.header.ids
        return ()

    def restore(self, *, keep: bool) -> tuple[Current, tuple[Note, ...]]:
        """The state that answers: the current generation, else the one before, else the base.

        A stored state that is damaged or of another bundle is computed again. `keep` stores what
        was computed; without it the store is only read. More labels than this bundle has slots are
        damage, too: all stays in the store until labels are forgotten or another bundle is opened.
        """
        damage = _Damage()
        try:
            slot_names(self._manifest, self._store.examples.kept())
        except (CapacityError, StoreDamagedError) as error:
            damage.texts.append(str(error))
        head = self.head()
        lost = head != 0
        if not self._store.generations.complete():
            lost = True
            damage.texts.append("a generation of the state is missing; adapt() again")
        for role, source in ((CURRENT, Source.CURRENT), (PREVIOUS, Source.PREVIOUS)):
            stored = self._store.generations.read(role)
            if stored is None or stored.version == 0:
                break
            found = self._revive(stored, role, damage, keep=keep)
            if found is not None:
                fitted, version = found
                if role == PREVIOUS:
                    damage.notes.append((EventKind.FELL_BACK, "to the generation before"))
                else:
                    head = version
                text = "; ".join(damage.texts)
                current = current_of(fitted, version=version, source=source, head=head, damage=text)
                return current, tuple(damage.notes)
        if lost:
            damage.notes.append((EventKind.FELL_BACK, "to the bundle's own starting state"))
        base = self.base(head=head, damage="; ".join(damage.texts), lost=lost)
        return base, tuple(damage.notes)

    def base(self, *, head: int = 0, damage: str = "", lost: bool = False) -> Current:
        """The bundle's own starting state."""
        source = Source.BASE_BY_DAMAGE if lost else Source.BASE
        fitted = fit(self._engine, (), np.zeros(0, np.float32))
        return current_of(fitted, version=0, source=source, head=head, damage=damage)

    def teach(self, label: str, rows: Float32Array, capacity: Capacity | None) -> tuple[int, ...]:
        """Add examples of a label and let go of what exceeds its capacity.

        Args:
            label: Empty where values are taught: all of them then count as one label's.
            rows: Features `[n, *features.shape]`, or such rows as `RowShape.join` makes.
            capacity: What may be kept.

        Raises:
            CapacityError: Every slot already has a label.
            StoreDamagedError: An example is missing, or one that had to be read is damaged.
        """
        examples = self._store.examples
        kept = examples.kept()
        slot_names(self._manifest, (*kept, Example(0, label)))  # is there a slot left?
        ids = examples.add(label, rows)
        if capacity is not None:
            mine = [*(example.id for example in kept if example.label == label), *ids]
            if len(mine) > capacity.per_label:
                stay = self._chosen(mine, capacity)
                examples.let_go(i for i in mine if i not in stay)
                self._collect()
        return ids

    def unchanged_since(self, serving: Current, ids: Sequence[int]) -> bool:
        """Whether no other state was committed since `serving`, and all of `ids` are still kept."""
        self._store.examples.check_complete()
        kept = set(self._store.examples.ids(kept=True))
        return self.head() == serving.head and set(ids) <= kept

    def commit(self, fitted: Fit, ids: Sequence[int], serving: Current) -> Current:
        """Make a state fitted to `ids` current; what answered until now is the one before."""
        generations = self._store.generations
        if serving.version == 0:
            generations.drop(CURRENT)
            generations.write_base(PREVIOUS)
        elif serving.source is Source.CURRENT:
            generations.move(CURRENT, PREVIOUS)
        version = generations.write(CURRENT, self._header(fitted, ids), fitted.state.to_bytes())
        self._collect()
        return current_of(fitted, version=version, source=Source.CURRENT, head=version)

    def fall_back(self, serving: Current) -> Current:
        """Make the bundle's own starting state current; what answered until now is the one before.

        Where that is the bundle's own, nothing changes.
        """
        generations = self._store.generations
        if serving.source is Source.PREVIOUS:
            generations.drop(CURRENT)
        elif serving.source is Source.CURRENT:
            generations.move(CURRENT, PREVIOUS)
        self._collect()
        return self.base()

    def num_kept(self) -> int:
        """How many examples are kept."""
        return len(self._store.examples.ids(kept=True))

    def forget(self, gone: Sequence[int]) -> None:
        """Delete examples, and fit both generations again to what is left of theirs.

        A generation whose header is damaged may rest on them, so it is deleted.

        Raises:
            StoreDamagedError: An example is missing, or one of what is left is damaged.
            DivergedError: Fitting to what is left was not finite.
        """
        self._store.examples.check_complete()
        self._delete(gone)

    def drop_damaged(self) -> tuple[int, ...]:
        """Forget the examples that are damaged or missing; returns the ids of the damaged ones."""
        damaged = self._store.examples.damaged_ids()
        self._delete(damaged)
        return damaged

    def _delete(self, gone: Sequence[int]) -> None:
        self._store.examples.delete(gone, accept_losses=True)
        if gone:
            drop_residuals(self._store.memory)
        left = set(self._store.examples.ids())
        for role in (PREVIOUS, CURRENT):  # so that the current one gets the larger version
            stored = self._store.generations.read(role)
            if stored is not None and stored.version != 0:
                self._fit_to(stored, role, left)
        generations = self._store.generations
        if generations.version(CURRENT) is None and generations.version(PREVIOUS) == 0:
            generations.drop(PREVIOUS)
        self._collect()

    def roll_back(self) -> Current:
        """Make the generation before current.

        Raises:
            NoGenerationError: There is none.
            StoreDamagedError: It is damaged, and so is an example that it was adapted on.
        """
        stored = self._store.generations.read(PREVIOUS)
        if stored is None:
            msg = "there is no earlier generation to return to; adapt() or erase()"
            raise NoGenerationError(msg)
        if stored.version == 0:
            self._store.generations.clear()
            current = self.base()
        else:
            damage = _Damage()
            found = self._revive(stored, PREVIOUS, damage, keep=True)
            if found is None:
                raise StoreDamagedError("; ".join(damage.texts))
            fitted, version = found
            self._store.generations.move(PREVIOUS, CURRENT)
            current = current_of(fitted, version=version, source=Source.CURRENT, head=version)
        self._collect()
        return current

    def _revive(
        self, stored: Generation, role: int, damage: _Damage, *, keep: bool
    ) -> tuple[Fit, int] | None:
        """A stored state, computed again where it has to be; None where that cannot be done."""
        header = stored.header
        if header is None:
            damage.texts.append(f"the header of state {stored.version} is damaged; adapt() again")
            return None
        same_bundle = header.bundle_digest == self._engine.bundle.digest
        if stored.data is not None and same_bundle:
            try:
                state = State.from_bytes(stored.data)
            except BadStateError:  # written by another version of the core
                pass
            else:
                return Fit(state, header.names, np.zeros(0, dtype=np.float32)), stored.version
        try:
            fitted = fit(self._engine, *self._load(header.ids))
        except (CapacityError, DivergedError, RuntimeFailedError, StoreDamagedError) as error:
            damage.texts.append(f"state {stored.version} is lost: {error}")
            return None
        version = stored.version
        if keep:
            again = self._header(fitted, header.ids), fitted.state.to_bytes()
            if same_bundle or not header.bundle_digest:
                self._store.generations.repair(role, *again)
            else:  # other bits need another name
                version = self._store.generations.write(role, *again)
        damage.notes.append((EventKind.RECOMPUTED, f"state {stored.version}, from its examples"))
        return fitted, version

    def _fit_to(self, stored: Generation, role: int, left: set[int]) -> None:
        """Fit a generation to those of its examples that are left."""
        generations = self._store.generations
        if stored.header is None:
            generations.drop(role)
            if role == CURRENT:
                generations.move(PREVIOUS, CURRENT)
            return
        rest = tuple(i for i in stored.header.ids if i in left)
        if rest == stored.header.ids:
            return
        if rest:
            examples, features = self._load(rest)
            try:
                fitted = fit(self._engine, examples, features)
            except CapacityError:  # to be fitted when enough labels are forgotten
                generations.write_unfitted(role, rest)
            else:
                generations.write(role, self._header(fitted, rest), fitted.state.to_bytes())
        elif role == PREVIOUS:
            generations.write_base(role)
        else:
            generations.drop(role)

    def _header(self, fitted: Fit, ids: Sequence[int]) -> Header:
        return Header(self._engine.bundle.digest, tuple(ids), fitted.names)

    def _load(self, ids: Sequence[int]) -> tuple[tuple[Example, ...], Float32Array]:
        return self._rows.split(*self._load_rows(ids))

    def _load_rows(self, ids: Sequence[int]) -> tuple[tuple[Example, ...], Float32Array]:
        self._store.examples.check_complete()
        return self._store.examples.load(self._rows.stored, ids)

    def _chosen(self, ids: Sequence[int], capacity: Capacity) -> set[int]:
        if capacity.policy == "most_recent":
            return set(ids[-capacity.per_label :])
        _, rows = self._load_rows(ids)
        return {ids[row] for row in chosen(capacity, rows)}

    def _collect(self) -> None:
        self._store.examples.collect(self._store.generations.ids_in_use())

    def _is_bound(self) -> bool:
        """Whether the store is this bundle's; one without examples may become any bundle's."""
        if self._store.binding() == self._binding:
            return True
        if self._store.examples.ids(kept=True):
            msg = (
                "the examples in this home were made with another embed.onnx; open it with the "
                "bundle they were taught with, or choose another home and teach again"
            )
            raise BadStateError(msg)
        return False
