"""Licences of the sources on which a bundle that is given away may be trained."""

from __future__ import annotations

from dataclasses import dataclass

from edge_sdk.errors import InvalidOptionError

_MIT_OMNIGLOT = """\
The MIT License (MIT)

Copyright (c) 2015 Brenden Lake

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataLicence:
    """The terms of one data set.

    Attributes:
        name: Of the licence, as SPDX writes it.
        source: Where the data comes from.
        about: What it is, one sentence.
        notice: What must travel with what was made from it; empty: nothing.
    """

    name: str
    source: str
    about: str
    notice: str = ""


SHIPPABLE: dict[str, DataLicence] = {
    "glyphs": DataLicence(
        name="Apache-2.0",
        source="export/tasks/glyphs.py",
        about="Invented characters that this project's code draws; no person's handwriting.",
    ),
    "omniglot": DataLicence(
        name="MIT",
        source="https://github.com/brendenlake/omniglot",
        about=(
            "Handwritten characters of 50 alphabets, each by 20 drawers (Lake, Salakhutdinov, "
            "Tenenbaum, Science 350(6266), 2015)."
        ),
        notice=_MIT_OMNIGLOT,
    ),
}
"""Families of sources whose licence allows it; all others serve to evaluate only."""


def shippable_licence(tasks: str) -> DataLicence:
    """The licence of a source on which a bundle that is given away may be trained.

    Raises:
        InvalidOptionError: The source has none that is known to allow it.
    """
    family = tasks.partition("-")[0]
    if family not in SHIPPABLE:
        msg = (
            f"a bundle that is trained on {tasks} is not given away: no licence that allows it is "
            f"known here; there are {', '.join(sorted(SHIPPABLE))}"
        )
        raise InvalidOptionError(msg)
    return SHIPPABLE[family]
