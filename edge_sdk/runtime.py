"""Finds the libonnxruntime of the installed onnxruntime wheel, without importing onnxruntime."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from edge_sdk.errors import RuntimeLibraryError

LIBRARY_VARIABLE = "EDGE_SDK_ONNXRUNTIME"
"""Environment variable with the path of a libonnxruntime to use instead of the wheel's."""

TELEMETRY_VARIABLE = "ORT_DISABLE_TELEMETRY"
"""Environment variable of ONNX Runtime: `1` keeps it from reporting use; `0`, set by the app, lets
it."""

_PATTERNS = ("libonnxruntime.so*", "libonnxruntime*.dylib", "onnxruntime.dll")
_REMEDY = f"pip install onnxruntime, or set {LIBRARY_VARIABLE} to the path of a libonnxruntime"


def refuse_telemetry() -> None:
    """Keep ONNX Runtime from reporting its use, unless the app has decided about that.

    Official builds of 1.29 and newer otherwise keep an identifier and a database of use in the
    user's folder and send them to their maker (Privacy.md in the wheel). It must be called before a
    library of ONNX Runtime makes its first environment; the core does the same for C apps.
    """
    os.environ.setdefault(TELEMETRY_VARIABLE, "1")


def find_runtime_library() -> Path:
    """The library to open: `EDGE_SDK_ONNXRUNTIME` if set, else the wheel's.

    Raises:
        RuntimeLibraryError: There is none; the message says what to do.
    """
    refuse_telemetry()
    override = os.environ.get(LIBRARY_VARIABLE)
    if override:
        if not Path(override).is_file():
            msg = f"{LIBRARY_VARIABLE} does not name a file; set it to a libonnxruntime or unset it"
            raise RuntimeLibraryError(msg)
        return Path(override)
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or not spec.submodule_search_locations:
        msg = f"onnxruntime is not installed; {_REMEDY}"
        raise RuntimeLibraryError(msg)
    for location in spec.submodule_search_locations:
        for pattern in _PATTERNS:
            for found in sorted((Path(location) / "capi").glob(pattern)):
                return found
    msg = f"the installed onnxruntime has no shared library of its own; {_REMEDY}"
    raise RuntimeLibraryError(msg)
