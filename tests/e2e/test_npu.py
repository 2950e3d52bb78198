"""The frozen graph on Qualcomm's HTP emulator, as the SoC SM8650. Needs the extra `npu`."""

from __future__ import annotations

import platform
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("onnxruntime_qnn", reason="onnxruntime-qnn is not installed (extra npu)")
pytest.importorskip("torch", reason="torch is not installed (extra export)")
if platform.machine().lower() not in {"x86_64", "amd64"}:
    pytest.skip("the HTP emulator runs on x86-64 only", allow_module_level=True)

import onnx

from edge_sdk import Engine, Personalizer, QnnProvider, open_bundle
from edge_sdk.errors import BadBundleError, InvalidOptionError, ProviderError
from edge_sdk.provider_options import SOCS
from export.compile_npu import compile_bundle
from export.evaluate import EvaluateOptions, evaluate
from export.gates import GateOptions
from export.learners.base import LearnerOptions
from export.learners.registry import make_learner
from export.pipeline import ExportOptions, export_bundle
from export.tasks.glyphs import GlyphTasks
from export.tasks.sampler import EpisodeOptions
from export.train import train
from export.train_options import TrainOptions
from tests.support import tiny

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from export.learners.base import Learner

pytestmark = pytest.mark.device

SM8650 = QnnProvider(soc="SM8650")
PROVIDER = "QNNExecutionProvider"


@pytest.fixture(scope="module")
def source() -> GlyphTasks:
    return GlyphTasks(seed=0)


@pytest.fixture(scope="module")
def learner(source: GlyphTasks) -> Learner:
    """Trained a little: what the layers' ranges look like decides how far rounding carries."""
    learner = make_learner("prototypical", LearnerOptions(hidden=16, ways=8), seed=0)
    episodes = EpisodeOptions(ways=8, shots=1, queries=4)
    train(learner, source, TrainOptions(steps=40, episodes=episodes))
    return learner


def write(learner: Learner, source: GlyphTasks, out: Path, target: str) -> Path:
    accuracy = EvaluateOptions(ways=5, shots=1, queries=5, episodes=40)
    export_bundle(
        learner,
        source,
        out,
        ExportOptions(
            name="glyphs",
            target=target,  # type: ignore[arg-type]
            accuracy=accuracy,
            calibration_images=100,
            gate=GateOptions(seeds=(0,)),
            max_drop=0.05,
        ),
    )
    return out


@pytest.fixture(scope="module")
def bundle(learner: Learner, source: GlyphTasks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(learner, source, tmp_path_factory.mktemp("npu") / "bundle", "npu")


@pytest.fixture(scope="module")
def npu(bundle: Path) -> Engine:
    return Engine(bundle, providers=(SM8650,))


@pytest.fixture(scope="module")
def x(source: GlyphTasks) -> NDArray[np.float32]:
    images = source.pool("test").images
    rows = np.random.default_rng(7).choice(len(images), 64, replace=False)
    return images[rows][:, None].astype(np.float32) / np.float32(255)


def quantum(bundle: Path) -> float:
    """Scale of the features' quantization."""
    model = onnx.load_from_string(open_bundle(bundle).files["embed.onnx"])
    last = next(node for node in model.graph.node if "features" in node.output)
    assert last.op_type == "DequantizeLinear"
    scales = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    return float(scales[last.input[1]])


def test_the_features_are_the_exact_ones_to_one_quantum(
    npu: Engine, bundle: Path, x: NDArray[np.float32]
) -> None:
    want, got = Engine(bundle).embed(x), npu.embed(x)
    steps = np.rint(np.abs(got - want) / quantum(bundle))
    assert steps.max() <= 1
    assert (steps == 0).mean() > 0.95
    assert len(np.unique(want)) > 50  # else a constant would pass


def test_no_node_runs_on_the_cpu(npu: Engine) -> None:
    placement = npu.placement
    assert (placement.provider, placement.soc, placement.batch) == ("qnn", "SM8650", 8)
    assert set(placement.nodes) == {PROVIDER}
    assert placement.nodes[PROVIDER]["Conv"] == 4
    assert placement.refused == ()


def test_a_bare_name_emulates_sm8650_and_the_cpu_is_not_used(bundle: Path) -> None:
    placement = Engine(bundle, providers=("qnn", "cpu")).placement
    assert (placement.provider, placement.soc) == ("qnn", "SM8650")
    assert set(placement.nodes) == {PROVIDER}


def test_padding_and_cutting_batches_changes_nothing(npu: Engine, x: NDArray[np.float32]) -> None:
    alone = np.concatenate([npu.embed(x[i]) for i in range(17)])
    for n in range(1, 18):
        np.testing.assert_array_equal(npu.embed(x[:n]), alone[:n])


def test_threads_share_the_npu(npu: Engine, x: NDArray[np.float32]) -> None:
    want = npu.embed(x[:16])

    def work(i: int) -> bool:
        start = i % 9
        return np.array_equal(npu.embed(x[start : start + 7]), want[start : start + 7])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(36)))


def test_adapted_accuracy_is_that_of_the_cpu(npu: Engine, bundle: Path, source: GlyphTasks) -> None:
    options = EvaluateOptions(ways=5, shots=1, queries=5, episodes=40)
    pool = source.pool("test")
    on_cpu = evaluate(Engine(bundle), pool, options).accuracies
    on_npu = evaluate(npu, pool, options).accuracies
    assert on_cpu.mean() > 0.4  # chance is 0.2
    assert abs(on_npu.mean() - on_cpu.mean()) <= 0.003


def test_a_user_is_taught_on_the_npu(bundle: Path, tmp_path: Path, source: GlyphTasks) -> None:
    pool = source.pool("test")
    with Personalizer(bundle, home=tmp_path / "home", providers=("qnn",)) as user:
        for label in (0, 1):
            rows = np.flatnonzero(pool.classes == label)[:3]
            user.teach(str(label), pool.images[rows][:, None].astype(np.float32) / 255)
        user.adapt()
        seen = pool.images[np.flatnonzero(pool.classes == 1)[0]][None].astype(np.float32) / 255
        assert user.predict(seen).labels == ("1",)
        assert user.placement.provider == "qnn"


@pytest.mark.parametrize("soc", SOCS)
def test_a_bundle_compiled_ahead_gives_the_same(
    bundle: Path, tmp_path: Path, x: NDArray[np.float32], soc: str
) -> None:
    report = compile_bundle(bundle, socs=[soc], out=tmp_path / "compiled")
    opened = open_bundle(report.path)
    name = f"embed.{soc}.onnx"
    assert list(report.size_bytes) == [name]
    model = onnx.load_from_string(opened.files[name])
    assert [node.op_type for node in model.graph.node] == ["EPContext"]
    engine = Engine(opened, providers=(QnnProvider(soc=soc),))
    assert engine.placement.file == name
    assert engine.placement.nodes == {PROVIDER: {"EPContext": 1}}
    assert engine.placement.batch == 8
    plain = Engine(bundle, providers=(QnnProvider(soc=soc),))
    for n in (1, 8, 11):
        np.testing.assert_array_equal(engine.embed(x[:n]), plain.embed(x[:n]))


def test_several_socs_are_added_in_place_and_others_run_as_before(
    bundle: Path, tmp_path: Path, x: NDArray[np.float32]
) -> None:
    copy = tiny.rewrite(bundle, tmp_path / "copy")
    before = open_bundle(copy)
    compile_bundle(copy, socs=["SM8650"], batch=4)
    compile_bundle(copy, socs=["SM8550"], batch=2)
    after = open_bundle(copy)
    assert after.manifest.version == before.manifest.version + 2
    assert after.embed_identity == before.embed_identity
    compiled = after.manifest.provenance["compiled"]
    assert isinstance(compiled, dict)
    assert sorted(compiled) == ["embed.SM8550.onnx", "embed.SM8650.onnx"]
    assert Engine(after, providers=(SM8650,)).placement.batch == 4
    np.testing.assert_array_equal(Engine(after).embed(x[:3]), Engine(before).embed(x[:3]))
    assert Engine(after, providers=(QnnProvider(soc="SM8450"),)).placement.file == "embed.onnx"


def test_a_compiled_bundle_can_be_signed(bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="needs the extra secure")
    from edge_sdk.signing import SigningKey  # noqa: PLC0415 - an extra
    from tests.support.signing import policy  # noqa: PLC0415

    key = SigningKey.generate()
    compile_bundle(bundle, socs=["SM8650"], out=tmp_path / "signed", key=key)
    opened = open_bundle(tmp_path / "signed", trust=policy(key))
    assert opened.signed_by == "key0"
    assert "embed.SM8650.onnx" in opened.files


def test_compiling_refuses_bad_wishes_and_leaves_the_bundle(bundle: Path, tmp_path: Path) -> None:
    digest = open_bundle(bundle).digest
    for socs in ([], ["SM8650", "SM8650"], ["SM1"]):
        with pytest.raises(InvalidOptionError):
            compile_bundle(bundle, socs=socs)
    with pytest.raises(InvalidOptionError, match="already exists"):
        compile_bundle(bundle, socs=["SM8650"], out=bundle)
    assert open_bundle(bundle).digest == digest
    assert not list(tmp_path.iterdir())


def test_a_graph_that_the_htp_does_not_take_whole_is_refused_whole(
    bundle: Path, tmp_path: Path, x: NDArray[np.float32]
) -> None:
    """An operator that is not on the HTP, in the middle: nothing of the graph may run then."""
    model = onnx.load_from_string(open_bundle(bundle).files["embed.onnx"])
    last = next(node for node in model.graph.node if "features" in node.output)
    last.output[0] = "inner"
    model.graph.node.append(onnx.helper.make_node("Det", ["boxes"], ["volume"]))
    shape = onnx.numpy_helper.from_array(np.array([0, 1, 8, 8], np.int64), "box_shape")
    model.graph.initializer.append(shape)
    model.graph.node.insert(
        len(model.graph.node) - 1,
        onnx.helper.make_node("Reshape", ["inner", "box_shape"], ["boxes"]),
    )
    model.graph.node.append(onnx.helper.make_node("Add", ["inner", "volume"], ["features"]))
    odd = tiny.rewrite(bundle, tmp_path / "odd", graphs={"embed.onnx": model.SerializeToString()})
    with pytest.raises(ProviderError, match=r"embed\.onnx"):
        Engine(odd, providers=(SM8650,))
    fallback = Engine(odd, providers=(SM8650, "cpu"))
    assert fallback.placement.provider == "cpu"
    assert fallback.placement.refused[0][0] == "qnn"
    np.testing.assert_array_equal(fallback.embed(x[:2]), Engine(odd).embed(x[:2]))


def test_a_compiled_file_that_is_no_graph_is_no_bundle(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BadBundleError, match=r"embed\.SM8650\.onnx: is not an ONNX graph"):
        tiny.rewrite(bundle, tmp_path / "wrong", graphs={"embed.SM8650.onnx": b"garbage"})


def test_a_compiled_file_with_a_damaged_binary_is_refused(bundle: Path, tmp_path: Path) -> None:
    report = compile_bundle(bundle, socs=["SM8650"], out=tmp_path / "compiled")
    model = onnx.load_from_string(open_bundle(report.path).files["embed.SM8650.onnx"])
    context = next(a for a in model.graph.node[0].attribute if a.name == "ep_cache_context")
    context.s = b"garbage that is no binary"
    damaged = {"embed.SM8650.onnx": model.SerializeToString()}
    wrong = tiny.rewrite(report.path, tmp_path / "wrong", graphs=damaged)
    with pytest.raises(ProviderError, match=r"embed\.SM8650\.onnx"):
        Engine(wrong, providers=(SM8650,))
    assert Engine(wrong, providers=(SM8650, "cpu")).placement.provider == "cpu"
