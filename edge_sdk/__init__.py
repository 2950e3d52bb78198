"""Teach a model new classes, users and styles on the device, with stock ONNX Runtime."""

from edge_sdk._core import State
from edge_sdk.bundle import Bundle, open_bundle
from edge_sdk.engine import Adaptation, Engine, Prediction
from edge_sdk.errors import (
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
    LabelRangeError,
    MissingExtraError,
    NonFiniteError,
    NothingTaughtError,
    OlderBundleError,
    ProviderError,
    RuntimeFailedError,
    RuntimeLibraryError,
    ShapeMismatchError,
    SignatureError,
    StoreError,
    UnknownLabelError,
)
from edge_sdk.manifest import Manifest, TensorSpec
from edge_sdk.personal_state import PersonalPrediction
from edge_sdk.personalizer import AdaptReport, Personalizer
from edge_sdk.provider_options import BuiltInProvider, QnnProvider
from edge_sdk.providers import Placement
from edge_sdk.store import Example
from edge_sdk.trust import TrustedKey, TrustPolicy
from edge_sdk.update import ModelUpdate

__all__ = [
    "AdaptReport",
    "Adaptation",
    "AuditError",
    "BadBundleError",
    "BadStateError",
    "BadUpdateError",
    "BuiltInProvider",
    "Bundle",
    "CapacityError",
    "DivergedError",
    "DtypeMismatchError",
    "EdgeError",
    "EmptySupportError",
    "Engine",
    "Example",
    "ExpiredBundleError",
    "InvalidOptionError",
    "LabelRangeError",
    "Manifest",
    "MissingExtraError",
    "ModelUpdate",
    "NonFiniteError",
    "NothingTaughtError",
    "OlderBundleError",
    "PersonalPrediction",
    "Personalizer",
    "Placement",
    "Prediction",
    "ProviderError",
    "QnnProvider",
    "RuntimeFailedError",
    "RuntimeLibraryError",
    "ShapeMismatchError",
    "SignatureError",
    "State",
    "StoreError",
    "TensorSpec",
    "TrustPolicy",
    "TrustedKey",
    "UnknownLabelError",
    "open_bundle",
]
