"""What a bundle says about itself: frozen dataclasses that mirror docs/BUNDLE_FORMAT.md."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

FORMAT = 1
DTYPE: Literal["float32"] = "float32"

MANIFEST_NAME = "manifest.json"
DIGEST_NAME = "manifest.sha256"
SIGNATURE_NAME = "manifest.sig"
"""Optional; with the other two, not listed in the manifest."""
EMBED_NAME = "embed.onnx"
PROBE_NAME = "probe.bin"
"""Optional: examples of the base task (`edge_sdk.probe_file`)."""
MODEL_CARD_NAME = "MODEL_CARD.md"
GRAPH_NAMES = ("init.onnx", "adapt.onnx", "predict.onnx")
"""Graphs of every bundle; `EMBED_NAME` is there unless nothing is frozen."""
REQUIRED_NAMES = (*GRAPH_NAMES, MODEL_CARD_NAME)
LISTED_NAMES = (*REQUIRED_NAMES, EMBED_NAME)
"""Files that a manifest may list, besides `PROBE_NAME` and those that `is_compiled_embed` knows."""

_COMPILED_NAME = re.compile(r"embed\.[A-Z][A-Z0-9]{1,15}\.onnx")

MAX_MANIFEST_BYTES = 1 << 20
MAX_FILE_BYTES = 64 << 20


def compiled_embed_name(soc: str) -> str:
    """Name of the file with `embed.onnx` compiled for one system on chip."""
    return f"embed.{soc}.onnx"


def is_compiled_embed(name: str) -> bool:
    """Whether a file of this name holds `embed.onnx` compiled for a system on chip."""
    return _COMPILED_NAME.fullmatch(name) is not None


Role: TypeAlias = Literal["shared", "slot", "personal"]
Adaptation: TypeAlias = Literal["gradient", "closed_form", "sequential"]
Task: TypeAlias = Literal["classification", "regression"]
VELOCITY_SUFFIX = ".velocity"
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


@dataclass(frozen=True, kw_only=True, slots=True)
class InputSpec:
    """One model input: its shape without n, and what the numbers mean, for people."""

    shape: tuple[int, ...]
    description: str
    dtype: Literal["float32"] = DTYPE


@dataclass(frozen=True, kw_only=True, slots=True)
class FeaturesSpec:
    """One example's features: the shape without n."""

    shape: tuple[int, ...]
    dtype: Literal["float32"] = DTYPE


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorSpec:
    """One state tensor; `role` says what may leave a device (docs/ARCHITECTURE.md section 2)."""

    name: str
    shape: tuple[int, ...]
    role: Role
    dtype: Literal["float32"] = DTYPE


@dataclass(frozen=True, kw_only=True, slots=True)
class FileEntry:
    """Size in bytes and lower-case hex SHA-256 of one file."""

    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SoftmaxSgd:
    """A native kernel that computes what `adapt.onnx` does: gradient descent on a softmax head.

    Attributes:
        weight: State tensor `[ways, dim]`.
        bias: State tensor `[ways]`.
        rate: Step size, > 0.
        rate_per_slot: Whether the step size is `rate` times the number of slots in use.
        momentum: In [0, 1). Above 0 the state also holds `<weight>.velocity` and `<bias>.velocity`.
    """

    weight: str
    bias: str
    rate: float
    rate_per_slot: bool = False
    momentum: float = 0.0
    kind: Literal["softmax_sgd"] = "softmax_sgd"

    adaptation: ClassVar[Adaptation] = "gradient"

    def tensor_names(self) -> tuple[str, ...]:
        """The names that it was given; velocities follow from them."""
        return self.weight, self.bias

    def tensor_shapes(self, ways: int, dim: int) -> dict[str, tuple[int, ...]]:
        """The state tensors that it works on, all but `counts`."""
        shapes: dict[str, tuple[int, ...]] = {self.weight: (ways, dim), self.bias: (ways,)}
        if self.momentum > 0:
            shapes |= {f"{name}{VELOCITY_SUFFIX}": shape for name, shape in shapes.items()}
        return shapes


@dataclass(frozen=True, kw_only=True, slots=True)
class RidgeKernel:
    """A native kernel that computes what `adapt.onnx` does: ridge regression in closed form.

    With `u` the features (or their directions), `S` the weights and `Y` the one-hot labels:
    `gram += u.T S u`, `moments += Y.T S u`, `counts += Y.T S 1`, then `weight = moments
    (gram + r I)^-1` with `r = ridge + ridge_per_weight * sum(counts)`. The loss is that of the
    logits `scale * u weight.T` over the slots in use.

    Attributes:
        weight: State tensor `[ways, dim]`.
        gram: State tensor `[dim, dim]`.
        moments: State tensor `[ways, dim]`.
        ridge: > 0.
        ridge_per_weight: >= 0.
        scale: > 0.
        unit_rows: Whether `u = features / sqrt(sum(features^2) + 1e-6)`; else `u = features`.
    """

    weight: str
    gram: str
    moments: str
    ridge: float
    ridge_per_weight: float = 0.0
    scale: float = 1.0
    unit_rows: bool = False
    kind: Literal["ridge"] = "ridge"

    adaptation: ClassVar[Adaptation] = "closed_form"

    def tensor_names(self) -> tuple[str, ...]:
        """The names that it was given."""
        return self.weight, self.gram, self.moments

    def tensor_shapes(self, ways: int, dim: int) -> dict[str, tuple[int, ...]]:
        """The state tensors that it works on, all but `counts`."""
        return {self.weight: (ways, dim), self.gram: (dim, dim), self.moments: (ways, dim)}


Kernel: TypeAlias = SoftmaxSgd | RidgeKernel


@dataclass(frozen=True, kw_only=True)
class BundleDraft:
    """Everything a manifest says except its files: what a writer decides.

    Attributes:
        name: The model's name, `[A-Za-z0-9._-]`, at most 128 characters.
        version: At least 1; a federated round adds 1.
        parent: SHA-256 (hex) of the manifest this was made from, or None.
        learner: Name of the learner.
        adaptation: Whether adapting takes gradient steps, one closed form, or reads the examples
            one by one in the order they were taught.
        steps: Calls of `adapt.onnx` in one gradient adaptation; 1 for the others.
        ways: Label slots.
        labels: What the first slots mean, at most `ways` distinct strings; often none.
        input: One model input.
        features: One example's features.
        state: The state tensors, in the order of the graphs' names.
        quantization: Names to encodings, as `{"embed": "int8"}`.
        quality: Names to finite figures.
        provenance: Names to JSON values: code version, seed, digests of data.
        expires: The last day (UTC) on which a device that checks signatures opens it; None: always.
        kernel: What an engine may run in place of `adapt.onnx`; often nothing.
        task: Whether it learns labels or values. A regression has one slot.
        outputs: How many numbers a value has; None for labels.
        variance: Whether `predict.onnx` also gives a variance.
    """

    name: str
    version: int
    parent: str | None
    learner: str
    adaptation: Adaptation
    steps: int
    ways: int
    labels: tuple[str, ...]
    input: InputSpec
    features: FeaturesSpec
    state: tuple[TensorSpec, ...]
    quantization: Mapping[str, str] = field(default_factory=dict)
    quality: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, Json] = field(default_factory=dict)
    expires: dt.date | None = None
    kernel: Kernel | None = None
    task: Task = "classification"
    outputs: int | None = None
    variance: bool = False


@dataclass(frozen=True, kw_only=True)
class Manifest(BundleDraft):
    """A draft with its files: the whole of `manifest.json`."""

    files: Mapping[str, FileEntry]
    format: int = FORMAT

    def draft(self) -> BundleDraft:
        """All but the files, to write the next version from (`dataclasses.replace`)."""
        return BundleDraft(**{f.name: getattr(self, f.name) for f in fields(BundleDraft)})
