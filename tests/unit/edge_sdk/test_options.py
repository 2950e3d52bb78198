"""Options are checked where they are built; a bad label is refused without being shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_sdk.errors import InvalidOptionError
from edge_sdk.options import EngineOptions, check_clipping_norm, check_count, check_label


@pytest.mark.parametrize(
    "bad",
    [{"providers": "cpu"}, {"providers": ()}, {"providers": ("",)}, {"providers": (1,)},
     {"providers": None}, {"threads": 0}, {"threads": True}, {"threads": 1.0},
     {"threads": 257}],
    ids=str,
)  # fmt: skip
def test_bad_engine_options_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidOptionError, match=next(iter(bad))):
        EngineOptions(**bad)


@pytest.mark.parametrize("value", [0, -1, 11, True, 1.5, "3", None])
def test_a_count_is_an_int_in_its_range(value: object) -> None:
    assert check_count(10, name="steps", largest=10) == 10
    with pytest.raises(InvalidOptionError, match=r"steps must be an int in 1\.\.10"):
        check_count(value, name="steps", largest=10)


@pytest.mark.parametrize("label", ["a", "x" * 256, "naïve ✓", "\N{GRINNING FACE}", " ", "a\0b"])
def test_any_short_text_is_a_label(label: str) -> None:
    assert check_label(label) == label


@pytest.mark.parametrize("label", ["", "secret" * 50, "secret\ud800", b"secret", 7, None])
def test_bad_labels_are_refused_and_not_shown(label: object) -> None:
    with pytest.raises(InvalidOptionError) as caught:
        check_label(label)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("norm", [0, -1.0, float("nan"), float("inf"), True, "1", None])
def test_a_clipping_norm_is_finite_and_positive(norm: object) -> None:
    assert check_clipping_norm(2) == 2.0
    with pytest.raises(InvalidOptionError, match="clipping_norm"):
        check_clipping_norm(norm)


def test_user_data_in_place_of_an_option_is_not_shown() -> None:
    for call in (lambda x: check_count(x, name="steps", largest=10), check_clipping_norm):
        for value in (np.array([123456.0]), [123456.0], "123456"):
            with pytest.raises(InvalidOptionError, match=f"got {type(value).__name__}") as caught:
                call(value)
            assert "123456" not in str(caught.value)
