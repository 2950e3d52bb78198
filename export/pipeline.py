"""From a trained learner to a bundle: export, quantize, pass the gates, and only then write."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from edge_sdk import Engine, open_bundle
from edge_sdk.errors import InvalidOptionError, NonFiniteError
from edge_sdk.manifest import BundleDraft, FeaturesSpec, InputSpec, Json, TensorSpec
from export.bundle_writer import write_bundle
from export.errors import GateError
from export.evaluate import EvaluateOptions, Evaluation, evaluate
from export.gates import GateOptions, ParityReport, check_embed, check_kernel, check_parity
from export.init_graph import InitEncoding, init_graph
from export.intervals import Mean, mean_interval
from export.model_card import model_card
from export.quantize import Target, WeightBits, check_bits, quantize_embed
from export.stored_weights import (
    WeightEncoding,
    check_encoding,
    encode,
    holds_weights,
    rounded,
)
from export.tasks.base import TRAIN, VALIDATION, ImagePool
from export.to_onnx import export_graphs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edge_sdk.signing import SigningKey
    from export.learners.base import Learner
    from export.tasks.base import TaskSource
    from export.tasks.functions import ValueSource


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")  # docs/BUNDLE_FORMAT.md


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportOptions:
    """How a learner becomes a bundle.

    Attributes:
        name: The bundle's name.
        version: Its version, at least 1.
        target: Processor family whose int8 kernels the frozen graph is quantized for.
        init_encoding: Bits of the starting state; None: 16 where nothing is frozen (the state is
            then the whole network), else 32.
        weights: Bits of the large weights that adapt.onnx and predict.onnx hold; None: what the
            learner asks for.
        weight_bits: Bits of the weights of the quantized embed.onnx.
        quantize: Whether anything is encoded in few bits at all; False: all numbers are float32.
        calibration_images: Training images that set the activation ranges.
        gate: Limits of the parity gate.
        accuracy: Episodes of the validation split on which quantization is judged; of fewer ways
            where the bundle has fewer slots.
        max_drop: Largest mean loss of query accuracy (0..1) that quantization may cost on them.
        seed: Of the calibration draw.
    """

    name: str
    version: int = 1
    target: Target = "arm64"
    init_encoding: InitEncoding | None = None
    weights: WeightEncoding | None = None
    weight_bits: WeightBits = 8
    quantize: bool = True
    calibration_images: int = 500
    gate: GateOptions = field(default_factory=GateOptions)
    accuracy: EvaluateOptions = field(
        default_factory=lambda: EvaluateOptions(episodes=300, queries=5)
    )
    max_drop: float = 0.005
    seed: int = 0

    def __post_init__(self) -> None:
        check_bits(self.weight_bits)
        if self.weights is not None:
            check_encoding(self.weights)
        if not _NAME.fullmatch(self.name):
            msg = "name must be 1 to 128 characters of A-Z a-z 0-9 . _ -, the first one no sign"
            raise InvalidOptionError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportReport:
    """What was written, and the evidence.

    Attributes:
        path: The bundle's folder.
        digest: The bundle's digest.
        size_bytes: All of its files.
        parity: Errors against float64 PyTorch.
        fp32: Validation accuracy of the unquantized bundle.
        shipped: Validation accuracy of the bundle as written, on the same episodes.
        drop: Their paired difference (fp32 - shipped).
    """

    path: Path
    digest: str
    size_bytes: int
    parity: ParityReport
    fp32: Mean
    shipped: Mean
    drop: Mean


def export_bundle(
    learner: Learner,
    source: TaskSource | ValueSource,
    out: Path,
    options: ExportOptions,
    *,
    graphs: Mapping[str, bytes] | None = None,
    provenance: Mapping[str, Json] | None = None,
    overwrite: bool = False,
    key: SigningKey | None = None,
) -> ExportReport:
    """Export, quantize and write `learner`, if it passes the gates.

    Args:
        learner: Trained; left as it was.
        source: What it was trained on: calibration takes its training images, the accuracy gate
            episodes of its validation split. Test images are never touched.
        out: The bundle's folder.
        options: How.
        graphs: What `export_graphs` gave of this learner, where several bundles are made of it.
        provenance: Further JSON values for the manifest, such as the training seed.
        overwrite: Replace a bundle that is at `out`.
        key: Sign the bundle with it.

    Raises:
        NonFiniteError: A weight is NaN or infinite.
        GateError: The device would compute something else, or quantization costs too much.
        InvalidOptionError: `out` exists, or an option is not allowed.

    On any error `out` is what it was before.
    """
    o = options
    _check_finite(learner)
    accuracy = o.accuracy
    if learner.options.task == "classification":
        accuracy = replace(accuracy, ways=min(accuracy.ways, learner.options.ways))
    state = {k: v.detach().numpy() for k, v in learner.init(learner.options.ways).items()}
    graphs = export_graphs(learner) if graphs is None else graphs
    draft = _draft(learner, source, o, provenance or {})
    encoding: InitEncoding = o.init_encoding or ("float32" if learner.has_embed else "float16")
    exact = {**graphs, "init.onnx": init_graph(state, "float32")}
    weights = (o.weights or learner.weight_encoding) if o.quantize else "float32"
    shipped, quantization = exact, {"embed": "float32", "init": "float32", "target": o.target}
    if o.quantize:
        shipped = {name: encode(graph, weights) for name, graph in graphs.items()}
        shipped["init.onnx"] = init_graph(state, encoding)
        quantization["init"] = encoding
    if not learner.has_embed:
        quantization["embed"] = "none"
    elif o.quantize:
        x = _calibration_inputs(source, o)
        shipped["embed.onnx"] = quantize_embed(
            graphs["embed.onnx"], x, target=o.target, weight_bits=o.weight_bits
        )
        quantization["embed"] = f"int{o.weight_bits}"
    if any(holds_weights(graph) for graph in graphs.values()):
        quantization["weights"] = weights
    draft = replace(draft, quantization=quantization)
    with tempfile.TemporaryDirectory() as folder:
        exact_engine = _candidate(Path(folder) / "exact", draft, exact)
        engine = _candidate(Path(folder) / "shipped", draft, shipped)
        embed_error = check_embed(learner, exact_engine, o.gate)
        parity = check_parity(rounded(learner, weights), engine, o.gate)
        if draft.kernel is not None:
            graph_draft = replace(draft, kernel=None)
            graph_engine = _candidate(Path(folder) / "graph", graph_draft, shipped)
            parity = replace(parity, kernel_error=check_kernel(engine, graph_engine, o.gate))
        pool = source.pool(VALIDATION)
        fp32 = evaluate(exact_engine, pool, accuracy)
        quantized = evaluate(engine, pool, accuracy)
    drop = _check_drop(fp32, quantized, o.max_drop)
    draft = replace(
        draft,
        quality={
            "validation_accuracy": quantized.accuracy.mean,
            "validation_accuracy_fp32": fp32.accuracy.mean,
            "validation_episodes": float(accuracy.episodes),
            "validation_shots": float(accuracy.shots),
            "validation_ways": float(accuracy.ways),
            "parity_embed_error": embed_error,
            "parity_update_error": parity.update_error,
            "parity_several_steps_error": parity.several_error,
            "parity_logit_error": parity.logit_error,
            **({} if draft.kernel is None else {"parity_kernel_error": parity.kernel_error}),
        },
    )
    digest = write_bundle(
        out,
        manifest_fields=draft,
        graphs=shipped,
        model_card=model_card(draft),
        overwrite=overwrite,
        key=key,
    )
    size_bytes = sum(file.stat().st_size for file in out.iterdir())
    return ExportReport(
        path=out,
        digest=digest,
        size_bytes=size_bytes,
        parity=parity,
        fp32=fp32.accuracy,
        shipped=quantized.accuracy,
        drop=drop,
    )


def _check_finite(learner: Learner) -> None:
    for name, tensor in learner.state_dict().items():
        if not torch.isfinite(tensor).all():
            msg = f"{name} is not finite; nothing was written"
            raise NonFiniteError(msg)


def _draft(
    learner: Learner,
    source: TaskSource | ValueSource,
    options: ExportOptions,
    provenance: Mapping[str, Json],
) -> BundleDraft:
    shape = learner.options.input_shape
    with torch.no_grad():
        features = learner.eval().embed(torch.zeros(1, *shape)).shape[1:]
        state = learner.init(learner.options.ways)
    return BundleDraft(
        name=options.name,
        version=options.version,
        parent=None,
        learner=learner.name,
        adaptation=learner.adaptation,
        steps=learner.steps,
        ways=learner.options.ways,
        labels=(),
        input=InputSpec(shape=shape, description=source.pool(TRAIN).description),
        features=FeaturesSpec(shape=tuple(features)),
        state=tuple(
            TensorSpec(name=k, shape=tuple(v.shape), role=learner.roles.get(k, "shared"))
            for k, v in state.items()
        ),
        provenance={
            "code_version": version("edge-sdk"),
            "tasks": {source.name: source.digest()},
            "settings": dict(learner.settings),
            **provenance,
        },
        kernel=learner.kernel(),
        task=learner.options.task,
        outputs=learner.options.outputs if learner.options.task == "regression" else None,
        variance=learner.has_variance,
    )


def _candidate(path: Path, draft: BundleDraft, graphs: Mapping[str, bytes]) -> Engine:
    write_bundle(path, manifest_fields=draft, graphs=graphs, model_card="A candidate.\n")
    return Engine(open_bundle(path))


def _calibration_inputs(
    source: TaskSource | ValueSource, options: ExportOptions
) -> NDArray[np.float32]:
    pool = source.pool(TRAIN)
    rng = np.random.default_rng(options.seed)
    if not isinstance(pool, ImagePool):
        return pool.draw(options.calibration_images, 1, rng)[0][:, 0]
    rows = rng.choice(
        len(pool.images), min(options.calibration_images, len(pool.images)), replace=False
    )
    return pool.inputs(np.sort(rows))


def _check_drop(fp32: Evaluation, shipped: Evaluation, max_drop: float) -> Mean:
    drop = mean_interval(fp32.accuracies - shipped.accuracies)
    if not drop.mean <= max_drop:
        msg = (
            f"quantization costs {100 * drop.mean:.2f} points of query accuracy, allowed "
            f"{100 * max_drop:.2f}; nothing was written. Try another target, or more bits in init"
        )
        raise GateError(msg)
    return drop
