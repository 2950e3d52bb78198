"""Every error the SDK raises: one base class, one code each, shared with the C++ core.

Each class also derives from the builtin that a stranger would catch. Messages name what was wrong,
what was expected and the remedy; they never hold an example, a label or a feature.
"""

from __future__ import annotations


class EdgeError(Exception):
    """Base of all errors of this SDK."""

    code = "edge"


class InvalidOptionError(EdgeError, ValueError):
    """An option is outside what its documentation allows."""

    code = "invalid_option"


class ShapeMismatchError(EdgeError, ValueError):
    """An array has not the shape that the bundle asks for."""

    code = "shape_mismatch"


class DtypeMismatchError(EdgeError, TypeError):
    """An array has not the dtype that is asked for; nothing is ever cast."""

    code = "dtype_mismatch"


class NonFiniteError(EdgeError, ValueError):
    """An array holds NaN or infinity."""

    code = "non_finite"


class EmptySupportError(EdgeError, ValueError):
    """There is no example to adapt on, or all weights are zero."""

    code = "empty_support"


class LabelRangeError(EdgeError, ValueError):
    """A label slot is outside ``0..ways-1``."""

    code = "label_range"


class CapacityError(EdgeError, ValueError):
    """More labels were taught than the bundle has slots."""

    code = "capacity"


class UnknownLabelError(EdgeError, LookupError):
    """A label was never taught, or has been forgotten."""

    code = "unknown_label"


class UnknownExampleError(EdgeError, LookupError):
    """An example id was never given here, or its example is no longer kept."""

    code = "unknown_example"


class NoGenerationError(EdgeError, LookupError):
    """There is no generation of the personal state to return to."""

    code = "no_generation"


class AdaptCancelledError(EdgeError, RuntimeError):
    """An adaptation was cancelled before it was committed; the state is unchanged."""

    code = "adapt_cancelled"


class NothingTaughtError(EdgeError, LookupError):
    """There is no label to predict yet."""

    code = "nothing_taught"


class DivergedError(EdgeError, ArithmeticError):
    """The inner loop met a non-finite loss or state; the state is unchanged."""

    code = "diverged"


class BadBundleError(EdgeError, ValueError):
    """A bundle is damaged, incomplete, or not one this version can read."""

    code = "bad_bundle"


class SignatureError(BadBundleError):
    """A bundle is not signed, or not by a key that is trusted now, or was changed afterwards."""

    code = "bad_signature"


class ExpiredBundleError(BadBundleError):
    """A bundle's expiry date has passed."""

    code = "expired_bundle"


class OlderBundleError(BadBundleError):
    """A newer bundle of this name was accepted before on this device."""

    code = "older_bundle"


class BadStateError(EdgeError, ValueError):
    """A state's bytes are damaged, or it belongs to another bundle."""

    code = "bad_state"


class BadUpdateError(EdgeError, ValueError):
    """A model update is malformed, non-finite, or belongs to another bundle."""

    code = "bad_update"


class StoreError(EdgeError, OSError):
    """The personal store cannot be read or written."""

    code = "store"


class StoreDamagedError(StoreError):
    """What the personal store holds does not match its checksums, or is not a store at all."""

    code = "store_damaged"


class KeyStoreError(EdgeError, OSError):
    """A key cannot be read, written or destroyed."""

    code = "key_store"


class WrongKeyError(EdgeError, ValueError):
    """The personal store is encrypted with another key than was given; nothing is lost."""

    code = "wrong_key"


class AuditError(EdgeError, OSError):
    """The audit log cannot be read or written, or its end is torn or bad."""

    code = "audit"


class RuntimeLibraryError(EdgeError, OSError):
    """libonnxruntime is missing, or too old."""

    code = "runtime_library"


class RuntimeFailedError(EdgeError, RuntimeError):
    """ONNX Runtime refused a graph or failed while running it."""

    code = "runtime_failed"


class ProviderError(EdgeError, RuntimeError):
    """An execution provider cannot run the frozen graph, or not all of it."""

    code = "provider"


class MissingExtraError(EdgeError, ImportError):
    """An optional dependency is not installed; the message says which extra brings it."""

    code = "missing_extra"


def _all_classes(base: type[EdgeError]) -> list[type[EdgeError]]:
    found = [base]
    for sub in base.__subclasses__():
        found.extend(_all_classes(sub))
    return found


_BY_CODE = {cls.code: cls for cls in _all_classes(EdgeError)}


def from_code(code: str, message: str) -> EdgeError:
    """Make the error that the C++ core reports as `code`; unknown codes give `EdgeError`."""
    return _BY_CODE.get(code, EdgeError)(message)
