"""Personal state = f(bundle, kept examples): the pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.errors import CapacityError, DivergedError, InvalidOptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from edge_sdk._core import State
    from edge_sdk.arrays import Float32Array, Int64Array
    from edge_sdk.engine import Engine, Prediction
    from edge_sdk.events import Source
    from edge_sdk.manifest import Manifest
    from edge_sdk.store_rows import Example


@dataclass(frozen=True, slots=True, eq=False)
class PersonalPrediction:
    """What is predicted for n examples.

    Attributes:
        labels: The most probable label of each example, `n` of them.
        confidence: Its probability, float32 `[n]`.
        probabilities: float32 `[n, len(names)]`, each row sums to 1.
        names: The label of each column: the labels in use, in slot order.
        version: The one personal state that all of it comes from; 0 is the bundle's own.
        variance: Posterior variance of each probability, float32 `[n, len(names)]`; None where the
            bundle does not tell (`manifest.variance`).
    """

    labels: tuple[str, ...]
    confidence: Float32Array
    probabilities: Float32Array
    names: tuple[str, ...]
    version: int
    variance: Float32Array | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PersonalValues:
    """What is predicted for n examples by a bundle that learns values.

    Attributes:
        mean: float32 `[n, outputs]`.
        variance: float32 `[n, outputs]`; None where the bundle does not tell.
        version: The one personal state that all of it comes from; 0 is the bundle's own.
    """

    mean: Float32Array
    variance: Float32Array | None
    version: int


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A state, what its first slots mean, and the losses (nats, `[steps]`) of getting there."""

    state: State
    names: tuple[str, ...]
    losses: Float32Array


@dataclass(frozen=True, slots=True, eq=False)
class Current:
    """The state that answers, whole: whoever holds a reference to it never sees another one.

    Attributes:
        state: The state.
        version: Its version; 0 is the bundle's own.
        slots: The slots that are in use and have a name.
        names: Those names, in slot order.
        source: Where it comes from.
        damage: What is damaged in the store and the remedy; empty when nothing is.
        head: The version that the store says is current: another one than `version` after damage.
    """

    state: State
    version: int
    slots: tuple[int, ...]
    names: tuple[str, ...]
    source: Source
    damage: str
    head: int


def current_of(
    fitted: Fit, *, version: int, source: Source, head: int, damage: str = ""
) -> Current:
    """What answers with a fitted state."""
    counts = fitted.state["counts"][: len(fitted.names)]
    slots = tuple(int(slot) for slot in np.flatnonzero(counts > 0))
    names = tuple(fitted.names[slot] for slot in slots)
    return Current(fitted.state, version, slots, names, source, damage, head)


def slot_names(manifest: Manifest, examples: Iterable[Example]) -> tuple[str, ...]:
    """What the slots mean: the bundle's labels, then the user's in order of their oldest example.

    The one slot of a bundle that learns values has the empty name.

    Raises:
        CapacityError: There are more labels than slots.
    """
    if manifest.task == "regression":
        return ("",)
    taught = (example.label for example in examples)
    names = tuple(dict.fromkeys((*manifest.labels, *taught)))
    if len(names) > manifest.ways:
        msg = (
            f"this bundle has {manifest.ways} label slots, {len(names)} are needed; "
            "forget a label first"
        )
        raise CapacityError(msg)
    return names


def slots_of(manifest: Manifest, examples: Sequence[Example]) -> Int64Array:
    """The slot of each example, int64 `[n]`."""
    slot_of = {name: slot for slot, name in enumerate(slot_names(manifest, examples))}
    return np.array([slot_of[example.label] for example in examples], dtype=np.int64)


def targets_of(manifest: Manifest, examples: Sequence[Example]) -> Int64Array | Float32Array:
    """What `Engine.adapt` is to learn: slots, int64 `[n]`, or values, float32 `[n, outputs]`."""
    if manifest.task != "regression":
        return slots_of(manifest, examples)
    values = np.array([example.value for example in examples], dtype=np.float32)
    return values.reshape(len(examples), manifest.outputs or 1)


def fit(
    engine: Engine,
    examples: Sequence[Example],
    features: Float32Array,
    *,
    after_step: Callable[[float], None] | None = None,
) -> Fit:
    """Adapt the bundle's starting state to examples in the order taught; without any, that state.

    Args:
        engine: The bundle.
        examples: What to adapt on, ids ascending.
        features: Theirs, float32 `[n, *features.shape]`.
        after_step: Called after each inner step with the part done, in (0, 1]; what it raises stops
            the adaptation. The result has the same bits with and without it.

    Raises:
        CapacityError: There are more labels than slots.
        DivergedError: A loss or the state is not finite.
    """
    manifest = engine.bundle.manifest
    names = slot_names(manifest, examples)
    if not examples:
        return Fit(engine.initial_state(), names, np.zeros(0, dtype=np.float32))
    targets = targets_of(manifest, examples)
    if after_step is None:
        result = engine.adapt(features, targets)
        return Fit(result.state, names, result.losses)
    one_by_one = manifest.adaptation == "sequential"
    num_steps = len(targets) if one_by_one else manifest.steps
    state, losses = engine.initial_state(), []
    for step in range(1, num_steps + 1):
        seen = slice(step - 1, step) if one_by_one else slice(None)
        try:
            result = engine.adapt(features[seen], targets[seen], steps=1, start=state)
        except DivergedError:
            msg = (
                f"the loss or the state is not finite at step {step}; take fewer steps or check "
                "the features; the state is unchanged"
            )
            raise DivergedError(msg) from None
        state = result.state
        losses.append(result.losses)
        after_step(step / num_steps)
    return Fit(state, names, np.concatenate(losses))


def answers_right(prediction: object, correct: object) -> tuple[bool, ...]:
    """Whether each label of a prediction was right; `correct` as for `Personalizer.feedback`.

    Raises:
        InvalidOptionError: One of both is not such a thing.
    """
    if not isinstance(prediction, PersonalPrediction):
        msg = f"prediction must be what predict() gave, got {type(prediction).__name__}"
        raise InvalidOptionError(msg)
    said = [correct] if isinstance(correct, bool | np.bool_ | str) else correct
    if not isinstance(said, list | tuple | np.ndarray) or len(said) != len(prediction.labels):
        msg = (
            f"correct must say for each of {len(prediction.labels)} examples whether its label was "
            "right, or the label that would have been"
        )
        raise InvalidOptionError(msg)
    right = []
    for label, word in zip(prediction.labels, said, strict=True):
        if not isinstance(word, bool | np.bool_ | str):
            msg = f"correct must hold bool and str, got {type(word).__name__}"
            raise InvalidOptionError(msg)
        right.append(word == label if isinstance(word, str) else bool(word))
    return tuple(right)


def read_prediction(prediction: Prediction, current: Current) -> PersonalPrediction:
    """Probabilities over the slots in use."""
    wide = prediction.logits[:, current.slots].astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    np.exp(wide, out=wide)
    wide /= wide.sum(axis=1, keepdims=True)
    probabilities = wide.astype(np.float32)
    best = probabilities.argmax(axis=1)
    return PersonalPrediction(
        labels=tuple([current.names[column] for column in best.tolist()]),
        confidence=probabilities.max(axis=1),
        probabilities=probabilities,
        names=current.names,
        version=current.version,
        variance=None if prediction.variance is None else prediction.variance[:, current.slots],
    )
