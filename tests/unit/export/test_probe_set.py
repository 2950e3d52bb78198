from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk import Engine, Personalizer, open_bundle
from edge_sdk.errors import InvalidOptionError
from edge_sdk.guardrail import Probe
from edge_sdk.guardrail_rule import GuardrailOptions, Reason
from edge_sdk.manifest import PROBE_NAME
from edge_sdk.probe_file import probe_bytes
from export.probe_set import add_probe_set
from export.tasks.base import ImagePool
from tests.support import tiny

if TYPE_CHECKING:
    from pathlib import Path


def a_pool(names: tuple[str, ...], each: int) -> ImagePool:
    rng = np.random.default_rng(1)
    num = len(names) * each
    return ImagePool(
        images=rng.integers(0, 256, (num, 4, 4), dtype=np.uint8),
        classes=np.arange(num) % len(names),
        users=np.zeros(num, np.int64),
        class_names=names,
    )


def test_a_probe_set_is_of_the_labels_that_the_bundle_names(
    tiny_labelled_bundle: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    old, pool = open_bundle(tiny_labelled_bundle), a_pool(("star", "square", "circle"), 10)
    digest = add_probe_set(tmp_path / "new", old, pool, per_label=4, rng=rng)
    new = open_bundle(tmp_path / "new")
    assert (new.digest, new.manifest.version, new.manifest.parent) == (digest, 2, old.digest)
    assert {n: d for n, d in new.files.items() if n in old.files and n != "MODEL_CARD.md"} == {
        n: d for n, d in old.files.items() if n != "MODEL_CARD.md"
    }
    engine = Engine(new)
    probe = Probe.of(engine)
    assert probe is not None
    assert probe.slots.tolist() == [0] * 4 + [1] * 4
    circles = engine.embed(pool.images[pool.classes == 2][:, None].astype(np.float32) / 255)
    assert all(any(np.array_equal(row, c) for c in circles) for row in probe.features[:4])
    assert Probe.of(Engine(old)) is None


@pytest.mark.parametrize(
    ("names", "per_label", "message"),
    [
        (("circle", "star"), 4, "no image of the bundle's label 1"),
        (("circle", "square"), 3000, "at most 4096"),
    ],
)
def test_what_does_not_fit_is_refused(
    tiny_labelled_bundle: Path,
    tmp_path: Path,
    names: tuple[str, ...],
    per_label: int,
    message: str,
    rng: np.random.Generator,
) -> None:
    bundle = open_bundle(tiny_labelled_bundle)
    with pytest.raises(InvalidOptionError, match=message):
        add_probe_set(tmp_path / "new", bundle, a_pool(names, 3000), per_label=per_label, rng=rng)
    assert not (tmp_path / "new").exists()


def test_a_bundle_without_labels_has_none(
    tiny_bundle: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    with pytest.raises(InvalidOptionError, match="federated label"):
        add_probe_set(
            tmp_path / "new", open_bundle(tiny_bundle), a_pool(("a",), 3), per_label=1, rng=rng
        )


def test_a_state_that_forgets_the_base_task_is_reverted(
    tiny_labelled_bundle: Path, tmp_path: Path
) -> None:
    engine = Engine(tiny_labelled_bundle)
    x = tiny.examples(np.random.default_rng(0), 200)
    slots = engine.predict(engine.embed(x), engine.initial_state()).logits.argmax(axis=1)
    probe = probe_bytes(engine.embed(x), slots.astype(np.int64))
    with_probe = tiny.rewrite(
        tiny_labelled_bundle, tmp_path / "with", graphs={PROBE_NAME: probe}, version=2
    )
    options = GuardrailOptions(probe_tolerance=0.1)
    reasons = {}
    for bundle in (tiny_labelled_bundle, with_probe):
        home = tmp_path / f"home-{bundle.name}"
        with Personalizer(bundle, home=home, guardrail=options) as personal:
            # what the labels mean to this user is the opposite of what the probe set says
            personal.teach("circle", x[slots == 1][:40])
            personal.teach("square", x[slots == 0][:40])
            report = personal.adapt().guardrail
            assert report is not None
            reasons[bundle] = report.reason
            assert (personal.version == 0) == (bundle == with_probe)
    assert reasons == {
        tiny_labelled_bundle: Reason.BETTER_THAN_BASE,
        with_probe: Reason.FORGETS_BASE_TASK,
    }
