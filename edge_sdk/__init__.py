"""Teach a model new classes, users and styles on the device, with stock ONNX Runtime."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from edge_sdk._core import State
from edge_sdk.bundle import Bundle, open_bundle
from edge_sdk.engine import Adaptation, Engine, Prediction, ValuePrediction
from edge_sdk.errors import (
    AdaptCancelledError,
    AuditError,
    BadBundleError,
    BadStateError,
    BadUpdateError,
    CapacityError,
    DivergedError,
    DtypeMismatchError,
    EdgeError,
    EmptySupportError,
    ExpiredBundleError,
    InvalidOptionError,
    KeyStoreError,
    LabelRangeError,
    MissingExtraError,
    NoGenerationError,
    NonFiniteError,
    NothingTaughtError,
    OlderBundleError,
    ProviderError,
    RuntimeFailedError,
    RuntimeLibraryError,
    ShapeMismatchError,
    SignatureError,
    StoreDamagedError,
    StoreError,
    UnknownExampleError,
    UnknownLabelError,
    WrongKeyError,
)
from edge_sdk.manifest import Manifest, TensorSpec
from edge_sdk.provider_options import BuiltInProvider, QnnProvider
from edge_sdk.providers import Placement
from edge_sdk.trust import TrustedKey, TrustPolicy

if TYPE_CHECKING:
    from edge_sdk.adapt_job import AdaptJob, AdaptReport
    from edge_sdk.audit import AuditLog
    from edge_sdk.capacity import Capacity
    from edge_sdk.drift import DriftReport
    from edge_sdk.events import Event, EventKind, Source, Status
    from edge_sdk.guardrail import GuardrailReport
    from edge_sdk.guardrail_rule import GuardrailOptions
    from edge_sdk.keys import FileKeyStore, KeyStore
    from edge_sdk.personal_state import PersonalPrediction, PersonalValues
    from edge_sdk.personalizer import Personalizer
    from edge_sdk.store_rows import Example
    from edge_sdk.update import ModelUpdate
    from edge_sdk.zoo import pretrained, pretrained_names

__all__ = [
    "AdaptCancelledError",
    "AdaptJob",
    "AdaptReport",
    "Adaptation",
    "AuditError",
    "AuditLog",
    "BadBundleError",
    "BadStateError",
    "BadUpdateError",
    "BuiltInProvider",
    "Bundle",
    "Capacity",
    "CapacityError",
    "DivergedError",
    "DriftReport",
    "DtypeMismatchError",
    "EdgeError",
    "EmptySupportError",
    "Engine",
    "Event",
    "EventKind",
    "Example",
    "ExpiredBundleError",
    "FileKeyStore",
    "GuardrailOptions",
    "GuardrailReport",
    "InvalidOptionError",
    "KeyStore",
    "KeyStoreError",
    "LabelRangeError",
    "Manifest",
    "MissingExtraError",
    "ModelUpdate",
    "NoGenerationError",
    "NonFiniteError",
    "NothingTaughtError",
    "OlderBundleError",
    "PersonalPrediction",
    "PersonalValues",
    "Personalizer",
    "Placement",
    "Prediction",
    "ProviderError",
    "QnnProvider",
    "RuntimeFailedError",
    "RuntimeLibraryError",
    "ShapeMismatchError",
    "SignatureError",
    "Source",
    "State",
    "Status",
    "StoreDamagedError",
    "StoreError",
    "TensorSpec",
    "TrustPolicy",
    "TrustedKey",
    "UnknownExampleError",
    "UnknownLabelError",
    "ValuePrediction",
    "WrongKeyError",
    "open_bundle",
    "pretrained",
    "pretrained_names",
]

_ON_DEMAND = {
    "AdaptJob": "adapt_job",
    "AdaptReport": "adapt_job",
    "AuditLog": "audit",
    "Capacity": "capacity",
    "DriftReport": "drift",
    "Event": "events",
    "EventKind": "events",
    "Example": "store_rows",
    "FileKeyStore": "keys",
    "GuardrailOptions": "guardrail_rule",
    "GuardrailReport": "guardrail",
    "KeyStore": "keys",
    "ModelUpdate": "update",
    "PersonalPrediction": "personal_state",
    "PersonalValues": "personal_state",
    "Personalizer": "personalizer",
    "Source": "events",
    "Status": "events",
    "pretrained": "zoo",
    "pretrained_names": "zoo",
}
"""Names that an `Engine` alone does not need, and their modules: an app that never opens a user's
store does not wait for it. Imported when first asked for (PEP 562)."""


def __getattr__(name: str) -> object:
    if name not in _ON_DEMAND:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value: object = getattr(importlib.import_module(f"{__name__}.{_ON_DEMAND[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
