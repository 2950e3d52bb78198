from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk import Engine, Personalizer, open_bundle
from edge_sdk.errors import BadUpdateError, CapacityError, InvalidOptionError
from export.bundle_writer import write_bundle
from federated.errors import NothingLearnedError
from federated.next_bundle import HISTORY, RunSummary, name_labels, write_next_bundle

if TYPE_CHECKING:
    from pathlib import Path

SUMMARY = RunSummary(
    rounds=3,
    num_clients=7,
    cohort_size=4,
    num_updates=11,
    clipping_norm=2.5,
    server_lr=1.0,
    seed=0,
)


def moved(path: Path, by: float) -> dict[str, np.ndarray]:
    return {"prototypes": Engine(path).initial_state()["prototypes"] + np.float32(by)}


def test_a_new_version_holds_the_new_state_and_all_the_rest(
    tiny_labelled_bundle: Path, tmp_path: Path
) -> None:
    old = open_bundle(tiny_labelled_bundle)
    digest = write_next_bundle(
        tmp_path / "new", old, moved(tiny_labelled_bundle, 0.125), SUMMARY, {"accuracy": 0.5}
    )
    new = open_bundle(tmp_path / "new")

    assert digest == new.digest
    assert (new.manifest.version, new.manifest.parent) == (2, old.digest)
    assert new.manifest.labels == old.manifest.labels
    assert new.manifest.quality == {**old.manifest.quality, "accuracy": 0.5}
    (entry,) = new.manifest.provenance[HISTORY]  # type: ignore[misc]
    assert (entry["rounds"], entry["num_clients"], entry["clipping_norm"]) == (3, 7, 2.5)
    for name in ("embed.onnx", "adapt.onnx", "predict.onnx"):
        assert new.files[name] == old.files[name]
    card = new.files["MODEL_CARD.md"].decode()
    assert card.startswith(old.files["MODEL_CARD.md"].decode().rstrip())
    assert "Version 2: federated rounds" in card

    before, after = Engine(old).initial_state(), Engine(new).initial_state()
    step = np.float32([[0.125], [0.125], [0], [0]])  # the bundle names two of its four slots
    np.testing.assert_array_equal(after["prototypes"], before["prototypes"] + step)
    np.testing.assert_array_equal(after["counts"], before["counts"])


def test_same_input_same_bytes(tiny_labelled_bundle: Path, tmp_path: Path) -> None:
    old, shared = open_bundle(tiny_labelled_bundle), moved(tiny_labelled_bundle, 1)
    digests = {write_next_bundle(tmp_path / name, old, shared, SUMMARY) for name in ("a", "b")}
    assert len(digests) == 1


def test_history_grows_by_one_entry_a_run(tiny_labelled_bundle: Path, tmp_path: Path) -> None:
    path = tiny_labelled_bundle
    for number in (1, 2):
        write_next_bundle(tmp_path / str(number), open_bundle(path), moved(path, 1), SUMMARY)
        path = tmp_path / str(number)
    manifest = open_bundle(path).manifest
    assert manifest.version == 3
    assert len(manifest.provenance[HISTORY]) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize(("encoding", "atol"), [("float16", 1e-2), ("int8", 5e-2)])
def test_the_encoding_of_the_starting_state_is_kept(
    tiny_labelled_bundle: Path, tmp_path: Path, encoding: str, atol: float
) -> None:
    first = open_bundle(tiny_labelled_bundle)
    draft = replace(
        first.manifest.draft(), quantization={**first.manifest.quantization, "init": encoding}
    )
    graphs = {name: data for name, data in first.files.items() if name.endswith(".onnx")}
    write_bundle(tmp_path / "old", manifest_fields=draft, graphs=graphs, model_card="card")
    shared = {"prototypes": np.linspace(-4, 4, 32, dtype=np.float32).reshape(4, 8)}
    write_next_bundle(tmp_path / "new", open_bundle(tmp_path / "old"), shared, SUMMARY)

    new = open_bundle(tmp_path / "new")
    assert new.manifest.quantization["init"] == encoding
    got = Engine(new).initial_state()
    np.testing.assert_allclose(got["prototypes"][:2], shared["prototypes"][:2], atol=atol)
    np.testing.assert_array_equal(got["counts"], Engine(first).initial_state()["counts"])


def test_rounds_without_any_update_write_nothing(
    tiny_labelled_bundle: Path, tmp_path: Path
) -> None:
    idle = replace(SUMMARY, num_updates=0)
    with pytest.raises(NothingLearnedError):
        write_next_bundle(
            tmp_path / "new",
            open_bundle(tiny_labelled_bundle),
            moved(tiny_labelled_bundle, 0),
            idle,
        )
    assert not (tmp_path / "new").exists()


def test_a_state_that_does_not_fit_writes_nothing(
    tiny_labelled_bundle: Path, tmp_path: Path
) -> None:
    bundle = open_bundle(tiny_labelled_bundle)
    with pytest.raises(BadUpdateError):
        write_next_bundle(tmp_path / "new", bundle, {}, SUMMARY)
    with pytest.raises(BadUpdateError):
        write_next_bundle(
            tmp_path / "new", bundle, {"prototypes": np.full((4, 8), np.inf, np.float32)}, SUMMARY
        )
    assert not (tmp_path / "new").exists()


def test_named_labels_predict_before_anything_is_taught_and_keep_what_was(
    tiny_bundle: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    x = rng.normal(size=(3, 1, 4, 4)).astype(np.float32)
    with Personalizer(tiny_bundle, home=tmp_path / "home") as personalizer:
        personalizer.teach("mine", x)
    name_labels(tmp_path / "named", open_bundle(tiny_bundle), ["a", "b"], prior_count=2.0)

    named = open_bundle(tmp_path / "named")
    assert (named.manifest.labels, named.manifest.version) == (("a", "b"), 2)
    np.testing.assert_array_equal(Engine(named).initial_state()["counts"], [2, 2, 0, 0])
    with Personalizer(named, home=tmp_path / "home") as personalizer:
        assert set(personalizer.predict(x).names) == {"a", "b"}
        assert personalizer.labels == ("a", "b", "mine")


@pytest.mark.parametrize("labels", [[], ["a", "a"], ["a", ""]])
def test_labels_that_are_no_names_are_refused(
    tiny_bundle: Path, tmp_path: Path, labels: list[str]
) -> None:
    with pytest.raises(InvalidOptionError, match="distinct non-empty"):
        name_labels(tmp_path / "n", open_bundle(tiny_bundle), labels, prior_count=1.0)


def test_labels_that_do_not_fit_are_refused(
    tiny_bundle: Path, tiny_labelled_bundle: Path, tmp_path: Path
) -> None:
    bundle = open_bundle(tiny_bundle)
    with pytest.raises(CapacityError, match="4 slots, got 5"):
        name_labels(tmp_path / "n", bundle, list("abcde"), prior_count=1.0)
    for prior in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidOptionError, match="prior_count"):
            name_labels(tmp_path / "n", bundle, ["a"], prior_count=prior)
    with pytest.raises(InvalidOptionError, match="already"):
        name_labels(tmp_path / "n", open_bundle(tiny_labelled_bundle), ["a"], prior_count=1.0)
