"""Options that commands of `edge-sdk export` share, and the choices that they offer."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path | None,
    typer.Option(
        envvar="EDGE_SDK_DATA", help="Folder with the real data sets.", show_default=False
    ),
]
Key = Annotated[
    Path | None,
    typer.Option(
        "--key", help="Private key (PEM) to sign the new bundle with.", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads.")]


class TargetName(StrEnum):
    """Processor families that the frozen graph can be quantized for."""

    arm64 = "arm64"
    x86 = "x86"
    x86_vnni = "x86-vnni"
    npu = "npu"


class Split(StrEnum):
    """Which classes to draw episodes from."""

    train = "train"
    validation = "validation"
    test = "test"


class Protocol(StrEnum):
    """How episodes are drawn."""

    random = "random"
    lake = "lake"


class Control(StrEnum):
    """What is taught in place of the support set."""

    none = "none"
    permuted = "permuted"
    unadapted = "unadapted"


class Encoding(StrEnum):
    """Numbers of the starting state."""

    float32 = "float32"
    float16 = "float16"
    int8 = "int8"


class Weights(StrEnum):
    """Numbers of the large weights that the adapting and predicting graphs hold."""

    float32 = "float32"
    float16 = "float16"
    int8 = "int8"
    nf4 = "nf4"
