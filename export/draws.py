"""Training data, drawn by a thread while the step before computes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    import numpy as np

Drawn = TypeVar("Drawn")

RngState = dict[str, Any]
"""What `numpy.random.BitGenerator.state` holds."""


class Draws(Generic[Drawn]):
    """One draw after another from one generator, at most one of them ahead of what was asked for.

    The draws are the same, bit for bit, with and without the thread: only one of them is made at a
    time, and nothing else uses the generator.
    """

    def __init__(
        self,
        draw: Callable[[np.random.Generator], Drawn],
        rng: np.random.Generator,
        *,
        background: bool,
    ) -> None:
        """Draw nothing yet.

        Args:
            draw: Makes one draw; it touches nothing that a step changes.
            rng: Given over to the draws: nobody else may use it from now on.
            background: Make the next draw in a thread as soon as one is taken.
        """
        self._draw, self._rng = draw, rng
        self._thread = ThreadPoolExecutor(1, "draws") if background else None
        self._ahead: Future[tuple[Drawn, RngState]] | None = None
        self._state: RngState = rng.bit_generator.state  # type: ignore[assignment]

    @property
    def state(self) -> RngState:
        """The generator's state after the newest draw that was taken, whatever was made ahead."""
        return self._state

    def go_on_from(self, state: RngState) -> None:
        """Continue from a `state`; only before the first draw.

        Raises:
            KeyError, TypeError, ValueError: It is no state of this kind of generator.
        """
        self._rng.bit_generator.state = state
        self._state = state

    def take(self) -> Drawn:
        """The next draw; whatever it raises is raised here."""
        if self._thread is None:
            drawn, self._state = self._make()
            return drawn
        drawn, self._state = (self._ahead or self._thread.submit(self._make)).result()
        self._ahead = self._thread.submit(self._make)
        return drawn

    def close(self) -> None:
        """End the thread, after the draw that it is at."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    def _make(self) -> tuple[Drawn, RngState]:
        drawn = self._draw(self._rng)
        return drawn, self._rng.bit_generator.state  # type: ignore[return-value]
