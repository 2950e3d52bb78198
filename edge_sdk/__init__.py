"""Teach a model new classes, users and styles on the device, with stock ONNX Runtime."""

from edge_sdk._core import State
from edge_sdk.adapt_job import AdaptJob, AdaptReport
from edge_sdk.bundle import Bundle, open_bundle
from edge_sdk.capacity import Capacity
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
from edge_sdk.events import Event, EventKind, Source, Status
from edge_sdk.keys import FileKeyStore, KeyStore
from edge_sdk.manifest import Manifest, TensorSpec
from edge_sdk.personal_state import PersonalPrediction
from edge_sdk.personalizer import Personalizer
from edge_sdk.provider_options import BuiltInProvider, QnnProvider
from edge_sdk.providers import Placement
from edge_sdk.store_rows import Example
from edge_sdk.trust import TrustedKey, TrustPolicy
from edge_sdk.update import ModelUpdate

__all__ = [
    "AdaptCancelledError",
    "AdaptJob",
    "AdaptReport",
    "Adaptation",
    "AuditError",
    "BadBundleError",
    "BadStateError",
    "BadUpdateError",
    "BuiltInProvider",
    "Bundle",
    "Capacity",
    "CapacityError",
    "DivergedError",
    "DtypeMismatchError",
    "EdgeError",
    "EmptySupportError",
    "Engine",
    "Event",
    "EventKind",
    "Example",
    "ExpiredBundleError",
    "FileKeyStore",
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
]
