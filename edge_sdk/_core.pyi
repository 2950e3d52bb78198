# The C++ core. What each method does, and raises, is written in csrc/include/edge/.

from typing import ClassVar, Final, TypeVar, final

import numpy as np
import numpy.typing as npt

from edge_sdk.errors import EdgeError

ERROR_CODES: Final[tuple[str, ...]]

@final
class State:
    @staticmethod
    def from_arrays(tensors: dict[str, npt.NDArray[np.float32]]) -> State: ...
    @staticmethod
    def from_bytes(data: bytes) -> State: ...
    def to_bytes(self) -> bytes: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    def __getitem__(self, name: str) -> npt.NDArray[np.float32]: ...
    def __len__(self) -> int: ...
    def __contains__(self, name: object) -> bool: ...
    def __eq__(self, other: object) -> bool: ...
    __hash__: ClassVar[None]  # type: ignore[assignment]
    def __getstate__(self) -> bytes: ...
    def __setstate__(self, state: bytes) -> None: ...

@final
class Accelerator:
    def __init__(
        self,
        *,
        name: str,
        provider: str,
        plugin: str,
        options: list[tuple[str, str]],
        batch: int,
        share_with_cpu: bool,
        file: str,
        compile_to: str = "",
    ) -> None: ...

@final
class Engine:
    def __init__(
        self,
        *,
        init: bytes,
        embed: bytes | None,
        adapt: bytes,
        predict: bytes,
        state: list[tuple[str, tuple[int, ...]]],
        ways: int,
        input_shape: tuple[int, ...],
        feature_shape: tuple[int, ...],
        steps: int,
        adaptation: str,
        library: str,
        providers: list[str],
        threads: int,
        kernel: tuple[str, str, float, float, bool]
        | tuple[str, str, str, float, float, float, bool]
        | None = None,
        accelerator: Accelerator | None = None,
        outputs: int = 0,
        variance: bool = False,
    ) -> None: ...
    def initial_state(self) -> State: ...
    def embed(self, x: object) -> npt.NDArray[np.float32]: ...
    def adapt(
        self,
        features: object,
        labels: object,
        weights: object = None,
        steps: int | None = None,
        start: State | None = None,
    ) -> tuple[State, npt.NDArray[np.float32]]: ...
    def predict(
        self, features: object, state: State
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]: ...
    def embed_and_predict(
        self, x: object, state: State
    ) -> tuple[
        npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32] | None
    ]: ...
    @property
    def embed_nodes(self) -> list[tuple[str, str, int]]: ...
    @property
    def embed_batch(self) -> int: ...
    @property
    def runtime_version(self) -> str: ...

def adapt_many(
    engine: Engine,
    features: list[npt.NDArray[np.float32]],
    labels: list[npt.NDArray[np.int64] | npt.NDArray[np.float32]],
    starts: list[State | None],
    steps: int | None = None,
    threads: int = 1,
) -> list[State | EdgeError]: ...
def joint_norm(delta: object) -> float: ...
def add_rounded(
    total: npt.NDArray[np.int64], delta: object, scale: float, bound_squared: float
) -> bool: ...
def check_graph(file: str, graph: bytes) -> None: ...
def clip_update(
    delta: object, clipping_norm: float
) -> tuple[dict[str, npt.NDArray[np.float32]], float]: ...

_Words = TypeVar("_Words", npt.NDArray[np.uint16], npt.NDArray[np.uint32], npt.NDArray[np.uint64])

def apply_masks(values: _Words, *, add: bytes, subtract: bytes) -> _Words: ...
def round_to_grid(
    values: npt.NDArray[np.float32], *, step: float, limit: int, seed: bytes
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]: ...
def rotate(
    values: npt.NDArray[np.float32], *, seed: bytes, back: bool = False
) -> npt.NDArray[np.float32]: ...
def largest_entries(values: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.int64]: ...
