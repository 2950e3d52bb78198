"""A bundle's graphs, loaded: the C++ engine.

The core takes any object and is its own array gate: it checks dtype, shape, finiteness and range,
once, and refuses with the same typed errors as `edge_sdk.arrays`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from edge_sdk import _core
from edge_sdk._core import State
from edge_sdk.arrays import Float32Array, as_batch
from edge_sdk.bundle import Bundle, open_bundle
from edge_sdk.errors import BadStateError, InvalidOptionError
from edge_sdk.manifest import RidgeKernel, SoftmaxSgd
from edge_sdk.options import MAX_STEPS, MAX_THREADS, EngineOptions, check_count
from edge_sdk.provider_options import CPU, check_providers
from edge_sdk.providers import Placement, place
from edge_sdk.runtime import find_runtime_library

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from edge_sdk.errors import EdgeError
    from edge_sdk.manifest import Kernel, Task
    from edge_sdk.provider_options import Provider


@dataclass(frozen=True, slots=True, eq=False)
class Adaptation:
    """What adapting gave.

    Attributes:
        state: The new state.
        losses: float32 `[steps]`, in nats: before each step (gradient), or of the new state
            (closed form). Of a sequential bundle one for each example whose weight is not 0.
    """

    state: State
    losses: Float32Array


@dataclass(frozen=True, slots=True, eq=False)
class SupportSet:
    """What one user teaches, for `Engine.adapt_many`.

    Attributes:
        features: float32 `[n, *features.shape]`, n >= 1.
        labels: Slot of each row, int64 `[n]`; of a regression float32 `[n, outputs]`.
        start: The state to start from; None: the bundle's.
    """

    features: Float32Array
    labels: NDArray[np.int64] | Float32Array
    start: State | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What predicting gave.

    Attributes:
        logits: float32 `[n, ways]`; -1e9 where a slot is not in use.
        variance: Of the probability of each slot, float32 `[n, ways]`; None where the bundle does
            not tell (`manifest.variance`).
    """

    logits: Float32Array
    variance: Float32Array | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ValuePrediction:
    """What predicting values gave.

    Attributes:
        mean: float32 `[n, outputs]`.
        variance: float32 `[n, outputs]`; None where the bundle does not tell.
    """

    mean: Float32Array
    variance: Float32Array | None


class Engine:
    """Runs one bundle. Immutable, and safe to call from several threads.

    Args:
        bundle: An open bundle, or the path of one.
        providers: What runs `embed.onnx`, first choice first: `cpu`, `qnn`, `xnnpack`, `coreml`,
            `nnapi`, or such a provider with its options (`QnnProvider(soc="SM8650")`). The CPU runs
            any of it only where `cpu` is among them; `placement` says what came of it.
        threads: Threads of one ONNX Runtime session.

    Raises:
        BadBundleError: The bundle is damaged or its graphs do not fit its manifest.
        InvalidOptionError: A provider or thread count is not allowed.
        ProviderError, MissingExtraError: No provider can run `embed.onnx`, and `cpu` is not among
            them.
        RuntimeLibraryError: There is no libonnxruntime to use, or it is too old for a provider.
    """

    def __init__(
        self,
        bundle: Bundle | str | os.PathLike[str],
        *,
        providers: Sequence[Provider] = ("cpu",),
        threads: int = 1,
    ) -> None:
        options = EngineOptions(providers=providers, threads=threads)
        self._bundle = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
        self._adaptation = self._bundle.manifest.adaptation
        chosen = check_providers(options.providers)
        self._core, self._placement = place(chosen, self._bundle, partial(self._load, options))

    def _load(
        self, options: EngineOptions, embed: bytes | None, accelerator: _core.Accelerator | None
    ) -> _core.Engine:
        manifest, files = self._bundle.manifest, self._bundle.files
        return _core.Engine(
            init=files["init.onnx"],
            embed=embed,
            adapt=files["adapt.onnx"],
            predict=files["predict.onnx"],
            state=[(spec.name, spec.shape) for spec in manifest.state],
            ways=manifest.ways,
            input_shape=manifest.input.shape,
            feature_shape=manifest.features.shape,
            steps=manifest.steps,
            adaptation=manifest.adaptation,
            outputs=manifest.outputs or 0,
            variance=manifest.variance,
            library=os.fspath(find_runtime_library()),
            providers=[CPU],
            threads=options.threads,
            kernel=_kernel_arguments(manifest.kernel),
            accelerator=accelerator,
        )

    @property
    def bundle(self) -> Bundle:
        """The bundle that runs."""
        return self._bundle

    @property
    def placement(self) -> Placement:
        """Which provider runs the frozen graph, and what was refused before it."""
        return self._placement

    @property
    def runtime_version(self) -> str:
        """Version of the ONNX Runtime in use."""
        return self._core.runtime_version

    def initial_state(self) -> State:
        """The bundle's starting state."""
        return self._core.initial_state()

    def embed(self, x: object) -> Float32Array:
        """Features, float32 `[n, *features.shape]`, of `x`: float32 `[n, *input.shape]`, n >= 1.

        One example `[*input.shape]` is taken as a batch of one.

        Raises:
            DtypeMismatchError, ShapeMismatchError, NonFiniteError: `x` is not such an array.
            RuntimeFailedError: ONNX Runtime failed.
        """
        return self._core.embed(as_batch(x, shape=self._bundle.manifest.input.shape))

    def adapt(
        self,
        features: object,
        labels: object,
        weights: object = None,
        steps: int | None = None,
        start: State | None = None,
    ) -> Adaptation:
        """Fit a state to one support set.

        Args:
            features: float32 `[n, *features.shape]`, n >= 1.
            labels: Slot of each row, int64 `[n]`, in `0..ways-1`; of a regression the value of
                each, finite float32 `[n, outputs]`.
            weights: float32 `[n]`, finite and >= 0; 0 leaves an example out. All 1 by default.
            steps: Inner steps, the manifest's by default; only 1 unless it takes gradient steps.
            start: The state to start from, the bundle's by default.

        Raises:
            DtypeMismatchError, ShapeMismatchError, NonFiniteError, LabelRangeError: An array is
                not as above.
            EmptySupportError: There is no example, or all weights are zero.
            InvalidOptionError: `steps` is not allowed, or a weight is negative.
            BadStateError: `start` does not belong to this bundle.
            DivergedError: A loss or the new state is not finite.

        States are immutable: on any error there simply is no new one.
        """
        if steps is not None:
            self._check_steps(steps)
        if start is not None:
            _check_state(start)
        return Adaptation(*self._core.adapt(features, labels, weights, steps, start))

    def adapt_many(
        self, support: Sequence[SupportSet], *, steps: int | None = None, threads: int = 1
    ) -> list[State | EdgeError]:
        """Fit a state to each of many support sets, on several threads and without the GIL.

        Args:
            support: One a user; each is checked as by `adapt`.
            steps: Inner steps, the manifest's by default; only 1 unless it takes gradient steps.
            threads: Sets that are adapted on at a time; the result does not depend on it.

        Returns:
            For each set the state that `adapt` gives, to the bit, or the error that it raises.

        Raises:
            InvalidOptionError: `steps` or `threads` is not allowed.
            DtypeMismatchError: An array is not of the dtype that `adapt` asks for.
        """
        if steps is not None:
            self._check_steps(steps)
        check_count(threads, name="threads", largest=MAX_THREADS)
        return _core.adapt_many(
            self._core,
            [one.features for one in support],
            [one.labels for one in support],
            [one.start for one in support],
            steps,
            threads,
        )

    def predict(self, features: object, state: State) -> Prediction:
        """Logits, float32 `[n, ways]`, of features float32 `[n, *features.shape]`, n >= 1.

        Raises:
            DtypeMismatchError, ShapeMismatchError, NonFiniteError: `features` is not such an array.
            BadStateError: `state` does not belong to this bundle.
            InvalidOptionError: This bundle learns values; use `predict_values`.
        """
        self._check_task("classification", "predict_values")
        return Prediction(*self._predict(features, state))

    def predict_values(self, features: object, state: State) -> ValuePrediction:
        """What a regression predicts for features float32 `[n, *features.shape]`, n >= 1.

        Raises:
            DtypeMismatchError, ShapeMismatchError, NonFiniteError: `features` is not such an array.
            BadStateError: `state` does not belong to this bundle.
            InvalidOptionError: This bundle learns labels; use `predict`.
        """
        self._check_task("regression", "predict")
        return ValuePrediction(*self._predict(features, state))

    def _predict(self, features: object, state: State) -> tuple[Float32Array, Float32Array | None]:
        rows = as_batch(features, shape=self._bundle.manifest.features.shape)
        _check_state(state)
        return self._core.predict(rows, state)

    def _check_task(self, task: Task, instead: str) -> None:
        if self._bundle.manifest.task != task:
            msg = f"this bundle does {self._bundle.manifest.task}; use {instead}()"
            raise InvalidOptionError(msg)

    def embed_and_predict(self, x: object, state: State) -> tuple[Float32Array, Prediction]:
        """The features of `x`, and their logits: as `embed`, then `predict`, with the same bits.

        While it computes, no other Python thread can come in between, which would make it wait.

        Raises:
            As `embed` and `predict`.
        """
        self._check_task("classification", "predict_values")
        features, logits, variance = self._embed_and_predict(x, state)
        return features, Prediction(logits, variance)

    def embed_and_predict_values(
        self, x: object, state: State
    ) -> tuple[Float32Array, ValuePrediction]:
        """The features of `x`, and their values: as `embed`, then `predict_values`, likewise.

        Raises:
            As `embed` and `predict_values`.
        """
        self._check_task("regression", "predict")
        features, mean, variance = self._embed_and_predict(x, state)
        return features, ValuePrediction(mean, variance)

    def _embed_and_predict(
        self, x: object, state: State
    ) -> tuple[Float32Array, Float32Array, Float32Array | None]:
        _check_state(state)
        inputs = as_batch(x, shape=self._bundle.manifest.input.shape)
        return self._core.embed_and_predict(inputs, state)

    def _check_steps(self, steps: int) -> None:
        check_count(steps, name="steps", largest=MAX_STEPS)
        if self._adaptation != "gradient" and steps != 1:
            kind = self._adaptation.replace("_", "-")
            msg = f"steps must be 1 for a {kind} bundle, got {steps}"
            raise InvalidOptionError(msg)


def _kernel_arguments(
    kernel: Kernel | None,
) -> tuple[str, str, float, float, bool] | tuple[str, str, str, float, float, float, bool] | None:
    match kernel:
        case None:
            return None
        case SoftmaxSgd(weight=weight, bias=bias, rate=rate, momentum=momentum):
            return weight, bias, rate, momentum, kernel.rate_per_slot
        case RidgeKernel(weight=weight, gram=gram, moments=moments, ridge=ridge, scale=scale):
            return weight, gram, moments, ridge, kernel.ridge_per_weight, scale, kernel.unit_rows


def _check_state(state: object) -> None:
    """pybind11's own TypeError prints its arguments, so the type is checked before it can."""
    if not isinstance(state, State):
        msg = f"state must be an edge_sdk.State, got {type(state).__name__}"
        raise BadStateError(msg)
