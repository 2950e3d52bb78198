"""Loads the frozen graph on the first provider that takes it, and says which one that is."""

from __future__ import annotations

import importlib.util
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sdk import _core
from edge_sdk.errors import EdgeError, MissingExtraError, ProviderError, RuntimeLibraryError
from edge_sdk.manifest import EMBED_NAME, compiled_embed_name
from edge_sdk.provider_options import CPU, EMULATED_SOC, SOCS, QnnProvider

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edge_sdk.bundle import Bundle
    from edge_sdk.provider_options import BuiltInProvider

    Load = Callable[[bytes | None, _core.Accelerator | None], _core.Engine]

QNN_VARIABLE = "EDGE_SDK_ONNXRUNTIME_QNN"
"""Environment variable with the path of the QNN plug-in to use instead of the package's. Qualcomm's
own libraries must lie beside it."""

_QNN_NAMES = ("libonnxruntime_providers_qnn.so", "onnxruntime_providers_qnn.dll")
_HTP_NAMES = ("libQnnHtp.so", "QnnHtp.dll")
_PROVIDER_NAMES = {
    "xnnpack": "XnnpackExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "nnapi": "NnapiExecutionProvider",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where the frozen graph runs. Adapting and predicting always run on the CPU, in float32.

    Attributes:
        provider: `cpu`, `qnn`, `xnnpack`, `coreml` or `nnapi`.
        file: The graph in use; None where the bundle freezes nothing.
        soc: The SoC it is compiled for; None: that of the device, or none in particular.
        batch: Examples in one call of it; None: any number.
        nodes: ONNX Runtime's provider names to the number of nodes each runs of what operation, as
            ONNX Runtime reports them after its own rewriting. Empty for `cpu`.
        refused: What was asked for before, and why it could not be used, first choice first.
    """

    provider: str
    file: str | None
    soc: str | None
    batch: int | None
    nodes: Mapping[str, Mapping[str, int]]
    refused: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Choice:
    """One way to load: the graph's file, and what to run it on."""

    file: str
    accelerator: _core.Accelerator
    soc: str | None


def place(
    providers: Sequence[QnnProvider | BuiltInProvider | None], bundle: Bundle, load: Load
) -> tuple[_core.Engine, Placement]:
    """Load on the first provider that takes the frozen graph; None stands for the CPU.

    Args:
        providers: First choice first. Only where None is among them may the CPU run anything of the
            frozen graph; what it then runs is in the placement.
        bundle: What to load.
        load: Makes the engine from the bytes of the frozen graph and an accelerator.

    Raises:
        ProviderError: No provider takes the graph, and the CPU is not among them.
        MissingExtraError: The same; the last one's package is not installed.
        RuntimeLibraryError: The same; ONNX Runtime is too old for the last one.
    """
    refused: list[tuple[str, str]] = []
    last: EdgeError | None = None
    for provider in providers:
        if provider is None:
            engine = load(bundle.files.get(EMBED_NAME), None)
            return engine, _on_cpu(bundle, tuple(refused))
        try:
            choice = _choose(provider, bundle, share=None in providers)
            engine = load(bundle.files[choice.file], choice.accelerator)
        except (ProviderError, MissingExtraError, RuntimeLibraryError) as error:
            refused.append((provider.name, str(error)))
            last = error
        else:
            return engine, _placement(provider.name, choice, engine, tuple(refused))
    if last is None:
        msg = "providers must name at least one execution provider"
        raise ProviderError(msg)
    raise last


def find_qnn_plugin() -> Path:
    """The QNN plug-in: `EDGE_SDK_ONNXRUNTIME_QNN` if set, else that of the package onnxruntime-qnn.

    Raises:
        MissingExtraError: There is none; the message says what to do.
    """
    override = os.environ.get(QNN_VARIABLE)
    if override:
        if not Path(override).is_file():
            msg = f"{QNN_VARIABLE} does not name a file; set it to the QNN plug-in or unset it"
            raise MissingExtraError(msg)
        return Path(override)
    spec = importlib.util.find_spec("onnxruntime_qnn")
    for location in (spec and spec.submodule_search_locations) or ():
        for name in _QNN_NAMES:
            if (Path(location) / name).is_file():
                return Path(location) / name
    msg = "provider qnn needs the package onnxruntime-qnn: pip install 'edge-sdk[npu]'"
    raise MissingExtraError(msg)


def _choose(provider: QnnProvider | BuiltInProvider, bundle: Bundle, *, share: bool) -> _Choice:
    if EMBED_NAME not in bundle.files:
        msg = f"{provider.name}: the bundle freezes nothing, there is no {EMBED_NAME} to run"
        raise ProviderError(msg)
    if isinstance(provider, QnnProvider):
        return _choose_qnn(provider, bundle)
    accelerator = _core.Accelerator(
        name=provider.name,
        provider=_PROVIDER_NAMES[provider.name],
        plugin="",
        options=list(provider.options.items()),
        batch=provider.batch or 0,
        share_with_cpu=share,
        file=EMBED_NAME,
    )
    return _Choice(EMBED_NAME, accelerator, None)


def _choose_qnn(provider: QnnProvider, bundle: Bundle) -> _Choice:
    if bundle.manifest.quantization.get("embed") != "int8":
        msg = (
            f"qnn: {EMBED_NAME} is not quantized, and the HTP would compute it in half precision; "
            "export the bundle with --target npu"
        )
        raise ProviderError(msg)
    plugin = find_qnn_plugin()
    backend = next((p for name in _HTP_NAMES if (p := plugin.with_name(name)).is_file()), None)
    # Android puts an app's libraries where the loader finds them by name.
    options = [("backend_path", str(backend or _HTP_NAMES[0]))]
    # By default the first and last (de)quantization are left to the CPU.
    options.append(("offload_graph_io_quantization", "0"))
    soc = provider.soc
    if soc is None and platform.machine().lower() in {"x86_64", "amd64"}:
        soc = EMULATED_SOC
    if soc is not None:
        model, architecture = SOCS[soc]
        options += [("soc_model", str(model)), ("htp_arch", str(architecture))]
    compiled = "" if soc is None else compiled_embed_name(soc)
    ready = compiled in bundle.files and provider.compile_to is None
    file = compiled if ready else EMBED_NAME
    accelerator = _core.Accelerator(
        name=provider.name,
        provider="QNNExecutionProvider",
        plugin=str(plugin),
        options=options,
        batch=0 if ready else provider.batch,
        share_with_cpu=False,  # a graph in pieces goes back and forth between the two
        file=file,
        compile_to=os.fspath(provider.compile_to or ""),
    )
    return _Choice(file, accelerator, soc)


def _placement(
    name: str, choice: _Choice, engine: _core.Engine, refused: tuple[tuple[str, str], ...]
) -> Placement:
    nodes: dict[str, dict[str, int]] = {}
    for provider, operation, count in engine.embed_nodes:
        nodes.setdefault(provider, {})[operation] = count
    return Placement(
        provider=name,
        file=choice.file,
        soc=choice.soc,
        batch=engine.embed_batch or None,
        nodes=nodes,
        refused=refused,
    )


def _on_cpu(bundle: Bundle, refused: tuple[tuple[str, str], ...]) -> Placement:
    file = EMBED_NAME if EMBED_NAME in bundle.files else None
    return Placement(provider=CPU, file=file, soc=None, batch=None, nodes={}, refused=refused)
