"""Published accuracies on Omniglot, in %, with where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """What a paper reports.

    Attributes:
        accuracy: Cell (`5w1s`) to %.
        source: Whose figure it is.
        transductive: Whether all queries of an episode are normalised together, which helps.
    """

    accuracy: Mapping[str, float]
    source: str
    transductive: bool = False


def _cells(*values: float | None) -> Mapping[str, float]:
    names = ("5w1s", "5w5s", "20w1s", "20w5s")
    pairs = zip(names, values, strict=True)
    return MappingProxyType({name: value for name, value in pairs if value is not None})


OMNIGLOT: Mapping[str, Published] = MappingProxyType({
    "matching": Published(
        accuracy=_cells(98.1, 98.9, 93.8, 98.5), source="Vinyals et al. 2016",
    ),
    "prototypical": Published(
        accuracy=_cells(98.8, 99.7, 96.0, 98.9), source="Snell et al. 2017",
    ),
    "relation": Published(
        accuracy=_cells(99.6, 99.8, 97.6, 99.1), source="Sung et al. 2018",
    ),
    "maml": Published(
        accuracy=_cells(98.7, 99.9, 95.8, 98.9), source="Finn et al. 2017", transductive=True,
    ),
    "reptile": Published(
        accuracy=_cells(95.39, 98.90, 88.14, 96.65), source="Nichol et al. 2018",
    ),
    "anil": Published(
        accuracy=_cells(None, None, 96.2, 98.0), source="Raghu et al. 2020", transductive=True,
    ),
    "ridge": Published(
        accuracy=_cells(98.9, 99.7, 96.2, 99.2), source="Bertinetto et al. 2019, about",
    ),
    "versa": Published(
        accuracy=_cells(99.70, 99.75, 97.66, 98.77), source="Gordon et al. 2019",
    ),
    "meta_sgd": Published(
        accuracy=_cells(99.5, 99.9, 95.9, 99.0), source="Li et al. 2017", transductive=True,
    ),
    "siamese": Published(
        accuracy=_cells(97.3, 98.4, 88.2, 97.0), source="Koch 2015, as in Finn et al. 2017",
    ),
    "cnp": Published(
        accuracy=_cells(95.3, 98.5, 89.9, 96.8), source="Garnelo et al. 2018",
    ),
    "mann": Published(
        accuracy=_cells(82.8, 94.9, None, None),
        source="Santoro et al. 2016, as in Finn et al. 2017",
    ),
    "incontext": Published(
        accuracy=_cells(99.07, 99.78, 97.64, 99.36),
        source="SNAIL, Mishra et al. 2018, which reads images by a larger network of its own",
    ),
})  # fmt: skip

LAKE_ERRORS: Mapping[str, float] = MappingProxyType(
    {"people": 4.5, "Siamese networks (Koch 2015)": 8.0, "ProtoNet (Lake 2019)": 13.7}
)
"""Error in % at Lake's one-shot task (Lake, Salakhutdinov, Tenenbaum, "The Omniglot challenge: a
3-year progress report", 2019)."""


def published(learner: str, tasks: str) -> Published | None:
    """The published figures of a learner on a source; None where there are none."""
    return OMNIGLOT.get(learner) if tasks == "omniglot" else None
