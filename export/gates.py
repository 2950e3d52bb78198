"""The parity gate: the device computes what float64 PyTorch computes, or no bundle is written."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from export.calibration import predict_calibrated
from export.errors import GateError
from export.learners.adaptation import adapt_all
from export.learners.base import UNUSED_LOGIT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edge_sdk import Adaptation, Engine
    from edge_sdk import State as DeviceState
    from export.learners.base import Learner, State

CHANGE_FLOOR = 1e-3
"""Part of a tensor's norm that is added to the norm of its change before dividing by it: a change
that is far smaller than the tensor cannot be more exact than the tensor's own float32 rounding."""

_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, kw_only=True, slots=True)
class GateOptions:
    """How the parity gate tries an exported learner.

    Attributes:
        update_limit: Largest relative error of a tensor's change after one step.
        several_limit: The same after all steps: each step also carries on the error of those
            before.
        logit_limit: Largest relative error of the logits after adapting.
        embed_limit: Largest relative error of a feature vector before quantization; the sums of
            four convolutions carry some 1e-6.
        kernel_limit: Largest difference between a native kernel and `adapt.onnx` in each step, in
            any number of the state and in the losses, over the larger of 1 and the tensor's largest
            number. A graph that solves a system by float32 products carries some 1e-6.
        seeds: Seeds of the noise.
        ways: Classes in a support set.
        shots: Examples of each.
    """

    update_limit: float = 1e-4
    several_limit: float = 1e-3
    logit_limit: float = 1e-3
    embed_limit: float = 1e-4
    kernel_limit: float = 1e-5
    seeds: tuple[int, ...] = (0, 1, 2)
    ways: int = 5
    shots: int = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class ParityReport:
    """Largest relative errors that were seen, over all inputs and tensors.

    `kernel_error` compares a native kernel with `adapt.onnx`; 0 where there is none.
    """

    update_error: float
    several_error: float
    logit_error: float
    kernel_error: float = 0.0


def check_parity(
    learner: Learner, engine: Engine, options: GateOptions | None = None
) -> ParityReport:
    """Compare the device's adaptation with float64 PyTorch, on noise and on flat and tied inputs.

    Both start from the engine's own starting state and its own features, so that quantization is
    not what is judged here (`export.quantize` judges that) but every operation of `adapt` and
    `predict`.

    Args:
        learner: As it was exported; left as it was.
        engine: The candidate bundle, loaded.
        options: Limits and inputs.

    Raises:
        GateError: An error is over its limit, or not a number; the message names the tensor and
            the input.
    """
    o = GateOptions() if options is None else options
    reference = copy.deepcopy(learner).to("cpu", torch.float64).eval().requires_grad_(False)
    worst = {"update": 0.0, "several": 0.0, "logits": 0.0}
    start = {k: np.asarray(engine.initial_state()[k]) for k in engine.initial_state().names}
    for seed in o.seeds:
        rng = np.random.default_rng(seed)
        for name, x in gate_inputs(learner.options.input_shape, o, rng):
            features = engine.embed(x)
            answers = _answers(learner, len(x), o, rng)
            weights = np.ones(len(x), np.float32)
            weights[-1] = 0.0  # a padded example must change nothing
            for kind, steps, rows in _cases(learner, len(x)):
                limit = o.update_limit if kind == "update" else o.several_limit
                where = f"{name} input, seed {seed}, {steps} step(s), {rows} example(s)"
                seen = (features[:rows], answers[:rows], weights[:rows])
                after = engine.adapt(*seen, steps=steps).state
                want = _adapt64(reference, start, *seen, steps)
                for tensor in after.names:
                    error = relative_error(start[tensor], want[tensor].numpy(), after[tensor])
                    _require(error, limit, f"adapt.onnx: {tensor} on {where}")
                    worst[kind] = max(worst[kind], error)
                for output, error in _prediction_errors(reference, engine, want, after, features):
                    _require(error, o.logit_limit, f"predict.onnx: {output} on {where}")
                    worst["logits"] = max(worst["logits"], error)
    return ParityReport(
        update_error=worst["update"],
        several_error=max(worst["several"], worst["update"]),
        logit_error=worst["logits"],
    )


def check_embed(learner: Learner, engine: Engine, options: GateOptions | None = None) -> float:
    """Compare the device's features with float64 PyTorch, before they are quantized.

    Args:
        learner: As it was exported; left as it was.
        engine: The bundle without quantization, loaded.
        options: Limits and inputs.

    Returns:
        The largest relative error over all inputs.

    Raises:
        GateError: It is over its limit, or not a number.
    """
    o = GateOptions() if options is None else options
    reference = copy.deepcopy(learner).to("cpu", torch.float64).eval().requires_grad_(False)
    worst = 0.0
    for seed in o.seeds:
        for name, x in gate_inputs(learner.options.input_shape, o, np.random.default_rng(seed)):
            want = reference.embed(torch.from_numpy(x).double()).numpy().reshape(len(x), -1)
            gap = engine.embed(x).reshape(len(x), -1) - want
            scale = np.linalg.norm(want, axis=1).max()  # a blank image may have tiny features
            error = float(np.linalg.norm(gap, axis=1).max() / max(scale, _TINY))
            _require(error, o.embed_limit, f"embed.onnx: features of {name} input, seed {seed}")
            worst = max(worst, error)
    return worst


def check_kernel(
    kernel_engine: Engine, graph_engine: Engine, options: GateOptions | None = None
) -> float:
    """Compare a bundle's native kernel with its `adapt.onnx`; gives the largest difference.

    From the starting state and onwards from an adapted one, with whole, fractional and zero
    weights, and with slots that are not in use.

    Args:
        kernel_engine: Runs the kernel.
        graph_engine: The same bundle without it.
        options: Limits and inputs.

    Raises:
        GateError: The difference is over its limit, or not a number.
    """
    o = GateOptions() if options is None else options
    manifest = graph_engine.bundle.manifest
    worst = 0.0
    for seed in o.seeds:
        rng = np.random.default_rng(seed)
        for name, x in gate_inputs(manifest.input.shape, o, rng):
            features = graph_engine.embed(x)
            ways = min(o.ways, manifest.ways)
            labels = np.arange(len(x), dtype=np.int64) % ways
            weights = rng.uniform(0.25, 2, len(x)).astype(np.float32)
            weights[-1] = 0.0
            start = graph_engine.adapt(features[: ways - 1], labels[: ways - 1]).state
            for case, weight, state in (
                ("", None, None),
                (", weighted, from an adapted state", weights, start),
            ):
                where = f"{name} input, seed {seed}{case}"
                support = (features, labels, weight)
                whole = kernel_engine.adapt(*support, None, state)
                after = graph_engine.initial_state() if state is None else state
                for step in range(manifest.steps):
                    # one at a time from one state: at a large learned rate, steps on tied inputs
                    # multiply the rounding of those before
                    want = graph_engine.adapt(*support, 1, after)
                    got = kernel_engine.adapt(*support, 1, after)
                    worst = max(worst, _kernel_gap(want, got, f"{where}, step {step + 1}", o))
                    after = got.state
                composed = replace(whole, state=after)
                worst = max(worst, _kernel_gap(composed, whole, f"{where}, all steps", o))
    return worst


def _kernel_gap(want: Adaptation, got: Adaptation, where: str, options: GateOptions) -> float:
    """The largest difference of two adaptations, or `GateError`."""
    worst = 0.0
    pairs = {k: (want.state[k], got.state[k]) for k in want.state.names}
    for tensor, (a, b) in {**pairs, "the loss": (want.losses, got.losses)}.items():
        error = float(np.abs(a - b).max() / max(1.0, float(np.abs(a).max())))
        _require(error, options.kernel_limit, f"the kernel: {tensor} on {where}")
        worst = max(worst, error)
    return worst


def gate_inputs(
    input_shape: tuple[int, ...], options: GateOptions, rng: np.random.Generator
) -> list[tuple[str, NDArray[np.float32]]]:
    """The support sets to try, float32: noise, and images whose neighbours are equal, as paper is.

    Wrong gradients of pooling and normalisation hide on noise: its windows have no ties.
    """
    n = options.ways * options.shots
    noise = rng.random((n, *input_shape), dtype=np.float32)
    blank = np.zeros_like(noise)
    flat = np.broadcast_to(rng.random((n, *([1] * len(input_shape)))), noise.shape)
    tied = np.zeros_like(noise)
    half = input_shape[-1] // 2
    tied[..., : half - 1] = (rng.random((n, *input_shape))[..., : half - 1] < 0.5).astype(
        np.float32
    )
    inputs = [("noise", noise), ("blank", blank), ("flat", flat), ("tied", tied)]
    return [(name, np.ascontiguousarray(x, np.float32)) for name, x in inputs]


def relative_error(
    start: NDArray[np.float32], want: NDArray[np.float64], got: NDArray[np.float32]
) -> float:
    """Norm of the error, over the norm of the change (and a little of the tensor's own norm)."""
    change = np.linalg.norm(want - start) + CHANGE_FLOOR * np.linalg.norm(want)
    error = np.linalg.norm(got.astype(np.float64) - want)
    if error == 0:
        return 0.0
    return float(error / change) if change > 0 else float("inf")


def _answers(
    learner: Learner, n: int, options: GateOptions, rng: np.random.Generator
) -> NDArray[np.int64] | NDArray[np.float32]:
    if learner.options.task == "regression":
        return rng.normal(size=(n, learner.options.outputs)).astype(np.float32)
    return np.arange(n, dtype=np.int64) % min(options.ways, learner.options.ways)


def _cases(learner: Learner, n: int) -> list[tuple[str, int, int]]:
    """What is tried: (kind of error, steps, number of examples)."""
    if learner.adaptation == "sequential":
        return [("update", 1, 1), ("several", 1, n)]
    return [
        ("update" if steps == 1 else "several", steps, n) for steps in sorted({1, learner.steps})
    ]


def _prediction_errors(
    reference: Learner,
    engine: Engine,
    want: State,
    after: DeviceState,
    features: NDArray[np.float32],
) -> list[tuple[str, float]]:
    rows = torch.from_numpy(features).double()
    prediction, variance = predict_calibrated(reference, want, rows)
    if reference.options.task == "regression":
        values = engine.predict_values(features, after)
        errors = [("mean", _scaled_error(prediction.numpy(), values.mean))]
        found = values.variance
    else:
        classes = engine.predict(features, after)
        errors = [("logits", _logit_error(prediction.numpy(), classes.logits))]
        found = classes.variance
    if variance is not None and found is not None:
        errors.append(("variance", _scaled_error(variance.numpy(), found)))
    return errors


def _scaled_error(want: NDArray[np.float64], got: NDArray[np.float32]) -> float:
    return float(np.abs(got.astype(np.float64) - want).max() / max(1.0, float(np.abs(want).max())))


def _logit_error(want: NDArray[np.float64], got: NDArray[np.float32]) -> float:
    used = want > UNUSED_LOGIT / 2
    if (got[~used] != UNUSED_LOGIT).any():  # slots that are not in use must stay masked
        return float("inf")
    centred = want - np.where(used, want, 0).sum(1, keepdims=True) / used.sum(1, keepdims=True)
    scale = max(1.0, float(np.abs(centred[used]).max()))
    return float(np.abs(got.astype(np.float64) - want)[used].max() / scale)


def _adapt64(
    reference: Learner,
    start: Mapping[str, NDArray[np.float32]],
    features: NDArray[np.float32],
    answers: NDArray[np.int64] | NDArray[np.float32],
    weights: NDArray[np.float32],
    steps: int,
) -> State:
    state = {k: torch.from_numpy(np.array(v)).double() for k, v in start.items()}
    taught = torch.from_numpy(answers)
    state, _losses = adapt_all(
        reference,
        state,
        torch.from_numpy(features).double(),
        taught.double() if taught.is_floating_point() else taught,
        torch.from_numpy(weights).double(),
        steps=steps,
    )
    return state


def _require(error: float, limit: float, what: str) -> None:
    if not error <= limit:  # also stops on NaN
        msg = f"{what}: relative error {error:.2e}, allowed {limit:.0e}; nothing was written"
        raise GateError(msg)
