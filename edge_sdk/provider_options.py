"""Which execution provider runs the frozen graph, and its options: names and frozen dataclasses."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from edge_sdk.errors import InvalidOptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

CPU = "cpu"
QNN = "qnn"
BuiltIn = Literal["xnnpack", "coreml", "nnapi"]
MAX_BATCH = 4096
DEFAULT_BATCH = 8

SOCS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "SM8350": (30, 68),
        "SM8450": (36, 69),
        "SM8550": (43, 73),
        "SM8650": (57, 75),
        "SM8750": (69, 79),
        "SM8850": (87, 81),
    }
)
"""Qualcomm's systems on chip that can be named: model number and HTP architecture, as in the
"supported Snapdragon devices" table of Qualcomm's AI Engine Direct documentation."""

EMULATED_SOC = "SM8650"
"""What an x86-64 host emulates where no SoC is named."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QnnProvider:
    """Qualcomm's HTP (its NPU), through the plug-in of the package onnxruntime-qnn.

    The frozen graph has to be quantized for it (`edge-sdk export train --target npu`); it then runs
    there whole. Needs ONNX Runtime 1.24.

    Attributes:
        soc: A name of `SOCS`; the bundle's graph compiled for it is used where there is one. None:
            the SoC of this device; on an x86-64 host, which has only the emulator, `EMULATED_SOC`.
        batch: Examples in one call of the HTP, 1..4096: other batches are cut and padded to it.
            A graph compiled for a SoC has its own.
        compile_to: A file to write `embed.onnx` to, compiled for `soc` (`edge-sdk export compile`
            puts it into the bundle); it must not exist. Not read afterwards.
    """

    soc: str | None = None
    batch: int = DEFAULT_BATCH
    compile_to: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        check_batch(self.batch)
        if self.soc is not None:
            check_soc(self.soc)
        if self.compile_to is not None and (self.soc is None or os.path.lexists(self.compile_to)):
            msg = "compile_to needs a soc, and the path of a file that does not exist"
            raise InvalidOptionError(msg)

    @property
    def name(self) -> str:
        """The provider's name, as in `providers=("qnn", "cpu")`."""
        return QNN


@dataclass(frozen=True, kw_only=True, slots=True)
class BuiltInProvider:
    """A provider that some builds of libonnxruntime have: XNNPACK, CoreML or NNAPI.

    Attributes:
        name: `xnnpack`, `coreml` or `nnapi`.
        options: The provider's own, as ONNX Runtime documents them; NNAPI takes none.
        batch: Examples in one call, 1..4096, for providers that want fixed shapes; None: any.
    """

    name: BuiltIn
    options: Mapping[str, str] = field(default_factory=dict)
    batch: int | None = None

    def __post_init__(self) -> None:
        if self.name not in get_args(BuiltIn):
            msg = f"provider must be one of {', '.join(get_args(BuiltIn))}, got {self.name!r}"
            raise InvalidOptionError(msg)
        if self.batch is not None:
            check_batch(self.batch)
        if not all(map(_is_text, (*self.options, *self.options.values()))):
            msg = f"options of provider {self.name} must map strings to strings"
            raise InvalidOptionError(msg)
        if self.options and self.name == "nnapi":
            msg = "provider nnapi takes no options"
            raise InvalidOptionError(msg)


Provider: TypeAlias = str | QnnProvider | BuiltInProvider
"""What `providers` may hold: a name, or a name with its options."""


def check_providers(providers: object) -> tuple[QnnProvider | BuiltInProvider | None, ...]:
    """Providers with their options, first choice first; None is the CPU.

    Raises:
        InvalidOptionError: It is no sequence of providers, or one of them has no such name.
    """
    if isinstance(providers, str) or not isinstance(providers, Sequence):
        msg = 'providers must be a sequence of names, such as ("qnn", "cpu")'
        raise InvalidOptionError(msg)
    if not providers:
        msg = "providers must name at least one execution provider"
        raise InvalidOptionError(msg)
    return tuple(_with_options(provider) for provider in providers)


def check_soc(soc: object) -> str:
    """Return a name of `SOCS`, or raise `InvalidOptionError`."""
    if soc not in SOCS:
        text = soc if isinstance(soc, str) and re.fullmatch(r"\w{1,32}", soc) else "another value"
        msg = f"soc must be one of {', '.join(SOCS)}, got {text}"
        raise InvalidOptionError(msg)
    return str(soc)


def check_batch(batch: object) -> int:
    """Return a batch size in 1..4096, or raise `InvalidOptionError`."""
    if not isinstance(batch, int) or isinstance(batch, bool) or not 1 <= batch <= MAX_BATCH:
        msg = f"batch must be an int in 1..{MAX_BATCH}, got {batch!r}"
        raise InvalidOptionError(msg)
    return batch


def _is_text(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value


def _with_options(provider: object) -> QnnProvider | BuiltInProvider | None:
    if isinstance(provider, QnnProvider | BuiltInProvider):
        return provider
    if provider == CPU:
        return None
    if provider == QNN:
        return QnnProvider()
    for name in get_args(BuiltIn):
        if provider == name:
            return BuiltInProvider(name=name)
    known = ", ".join((CPU, QNN, *get_args(BuiltIn)))
    got = repr(provider) if isinstance(provider, str) else type(provider).__name__
    msg = f"providers must hold names ({known}) or providers with options, got {got}"
    raise InvalidOptionError(msg)
