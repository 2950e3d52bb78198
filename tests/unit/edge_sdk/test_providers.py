"""Choosing providers: typed errors, and the CPU only where it is asked for and then reported."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_sdk import BuiltInProvider, Engine, Personalizer, QnnProvider, errors, providers
from edge_sdk.manifest import is_compiled_embed
from tests.support import tiny

if TYPE_CHECKING:
    from pathlib import Path

INT8 = {"embed": "int8", "init": "float32", "target": "npu"}


@pytest.fixture
def no_qnn(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if onnxruntime-qnn were not installed."""
    real = importlib.util.find_spec
    monkeypatch.delenv(providers.QNN_VARIABLE, raising=False)
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxruntime_qnn" else real(name)
    )


@pytest.fixture
def int8_bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    return tiny.rewrite(tiny_bundle, tmp_path / "int8", quantization=INT8)


def test_the_cpu_is_the_default_and_is_reported(tiny_bundle: Path) -> None:
    placement = Engine(tiny_bundle).placement
    assert (placement.provider, placement.file) == ("cpu", "embed.onnx")
    assert (placement.batch, placement.nodes, placement.refused) == (None, {}, ())


@pytest.mark.parametrize("provider", ["xnnpack", "coreml", "nnapi"])
def test_a_provider_that_the_library_lacks_is_refused_with_those_it_has(
    tiny_bundle: Path, provider: str
) -> None:
    with pytest.raises(
        errors.ProviderError, match=rf"{provider}: .* it has .*CPUExecutionProvider"
    ):
        Engine(tiny_bundle, providers=(provider,))


def test_the_cpu_takes_over_only_where_it_is_named_and_says_so(
    tiny_bundle: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    engine = Engine(tiny_bundle, providers=("xnnpack", BuiltInProvider(name="coreml"), "cpu"))
    placement = engine.placement
    assert placement.provider == "cpu"
    assert [name for name, _ in placement.refused] == ["xnnpack", "coreml"]
    assert "XnnpackExecutionProvider" in placement.refused[0][1]
    x = tiny.examples(rng, 3)
    np.testing.assert_array_equal(engine.embed(x), Engine(tiny_bundle).embed(x))
    with Personalizer(tiny_bundle, home=tmp_path / "home", providers=("nnapi", "cpu")) as user:
        assert [name for name, _ in user.placement.refused] == ["nnapi"]


def test_providers_after_the_cpu_are_not_tried(tiny_bundle: Path) -> None:
    assert Engine(tiny_bundle, providers=("cpu", "xnnpack")).placement.refused == ()


@pytest.mark.usefixtures("no_qnn")
def test_a_missing_package_is_named(int8_bundle: Path) -> None:
    with pytest.raises(errors.MissingExtraError, match=r"edge-sdk\[npu\]"):
        Engine(int8_bundle, providers=("qnn",))
    ((name, reason),) = Engine(int8_bundle, providers=("qnn", "cpu")).placement.refused
    assert name == "qnn"
    assert "onnxruntime-qnn" in reason


def test_a_plug_in_named_by_the_environment_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(providers.QNN_VARIABLE, "/nowhere/libonnxruntime_providers_qnn.so")
    with pytest.raises(errors.MissingExtraError, match="does not name a file"):
        providers.find_qnn_plugin()


def test_what_is_no_plug_in_is_refused(
    int8_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = tmp_path / "libonnxruntime_providers_qnn.so"
    plugin.write_bytes(b"not a library")
    monkeypatch.setenv(providers.QNN_VARIABLE, str(plugin))
    with pytest.raises(errors.ProviderError, match=r"qnn: .*register the plug-in"):
        Engine(int8_bundle, providers=("qnn",))
    placement = Engine(int8_bundle, providers=("qnn", "cpu")).placement
    assert placement.provider == "cpu"
    assert "register the plug-in" in placement.refused[0][1]


def test_the_htp_gets_no_float_graph(tiny_bundle: Path) -> None:
    with pytest.raises(errors.ProviderError, match=r"half precision; export .* --target npu"):
        Engine(tiny_bundle, providers=("qnn",))


def test_without_a_frozen_graph_there_is_nothing_to_run(tiny_bundle: Path, tmp_path: Path) -> None:
    bare = tiny.rewrite(
        tiny_bundle,
        tmp_path / "bare",
        graphs={"embed.onnx": None},
        input=type(Engine(tiny_bundle).bundle.manifest.input)(shape=(8,), description="features"),
    )
    with pytest.raises(errors.ProviderError, match=r"no embed\.onnx to run"):
        Engine(bare, providers=("qnn",))
    placement = Engine(bare, providers=("qnn", "cpu")).placement
    assert (placement.provider, placement.file) == ("cpu", None)


@pytest.mark.parametrize(
    "make",
    [
        lambda: QnnProvider(soc="SM1"),
        lambda: QnnProvider(soc="a\nb"),
        lambda: QnnProvider(batch=0),
        lambda: QnnProvider(batch=True),
        lambda: QnnProvider(batch=4097),
        lambda: QnnProvider(compile_to="/nowhere/embed.onnx"),
        lambda: BuiltInProvider(name="qnn"),  # type: ignore[arg-type]
        lambda: BuiltInProvider(name="coreml", batch=0),
        lambda: BuiltInProvider(name="coreml", options={"a": 1}),  # type: ignore[dict-item]
        lambda: BuiltInProvider(name="nnapi", options={"a": "1"}),
    ],
)
def test_bad_provider_options_are_refused(make: Any) -> None:
    with pytest.raises(errors.InvalidOptionError) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_names_of_compiled_files() -> None:
    assert is_compiled_embed("embed.SM8650.onnx")
    for name in ("embed.onnx", "embed..onnx", "embed.sm8650.onnx", "embed.SM8650.onnx\n",
                 "embed.../x.onnx", "init.SM8650.onnx",
                 "embed.S.onnx", "embed.X12345678901234567.onnx"):  # fmt: skip
        assert not is_compiled_embed(name)


def test_a_compiled_file_is_part_of_the_bundle(tiny_bundle: Path, tmp_path: Path) -> None:
    data = (tiny_bundle / "embed.onnx").read_bytes()
    both = tiny.rewrite(tiny_bundle, tmp_path / "both", graphs={"embed.SM8650.onnx": data})
    assert Engine(both).bundle.files["embed.SM8650.onnx"] == data
    damaged = bytearray(data)
    damaged[10] ^= 1
    (both / "embed.SM8650.onnx").write_bytes(damaged)
    with pytest.raises(errors.BadBundleError, match=r"embed\.SM8650\.onnx does not match"):
        Engine(both)
    (both / "embed.SM8650.onnx").unlink()
    with pytest.raises(errors.BadBundleError, match=r"embed\.SM8650\.onnx is missing"):
        Engine(both)
    (tiny_bundle / "embed.SM8650.onnx").write_bytes(data)
    with pytest.raises(errors.BadBundleError, match=r"embed\.SM8650\.onnx is in the bundle, but"):
        Engine(tiny_bundle)


def test_a_compiled_file_needs_what_it_is_compiled_from(tiny_bundle: Path, tmp_path: Path) -> None:
    data = (tiny_bundle / "embed.onnx").read_bytes()
    shape = type(Engine(tiny_bundle).bundle.manifest.input)(shape=(8,), description="features")
    with pytest.raises(errors.BadBundleError, match=r"must list embed\.onnx, which"):
        tiny.rewrite(
            tiny_bundle,
            tmp_path / "orphan",
            graphs={"embed.onnx": None, "embed.SM8650.onnx": data},
            input=shape,
        )
