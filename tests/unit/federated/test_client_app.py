from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from edge_sdk import Engine, FileKeyStore, Personalizer, open_bundle
from edge_sdk.audit_entries import EpsilonSpent, UpdateSent
from edge_sdk.errors import BadUpdateError, EdgeError
from edge_sdk.update import ModelUpdate, joint_norm
from federated import client_app, messages
from federated.compress.coded_update import UpdateCode
from federated.local_round import shared_tensors
from federated.privacy.mechanism import DeviceNoise
from federated.settings import ClientSettings, encode_client_settings

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "the user's own word"  # noqa: S105


@pytest.fixture(autouse=True)
def flower_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


@pytest.fixture
def device(tiny_labelled_bundle: Path, tmp_path: Path, rng: np.random.Generator) -> ClientSettings:
    home = tmp_path / "home"
    with Personalizer(tiny_labelled_bundle, home=home) as personalizer:
        personalizer.teach("circle", rng.normal(size=(3, 1, 4, 4)).astype(np.float32))
        personalizer.teach(SECRET, rng.normal(size=(2, 1, 4, 4)).astype(np.float32))
    return ClientSettings(client_id="ann", bundle=str(tiny_labelled_bundle), home=str(home))


def a_context(device: ClientSettings) -> Context:
    return Context(
        run_id=1, node_id=1, node_config=encode_client_settings(device), state=RecordDict(),
        run_config={},
    )  # fmt: skip


def an_instruction(device: ClientSettings, **changes: object) -> RecordDict:
    bundle = open_bundle(device.bundle)
    fields: dict[str, object] = {
        "server_round": 0,
        "bundle_digest": bundle.digest,
        "clipping_norm": 0.5,
        "steps": None,
        "shared": shared_tensors(bundle, Engine(bundle).initial_state()),
        **changes,
    }
    return messages.encode_instruction(messages.Instruction(**fields))  # type: ignore[arg-type]


def answer(device: ClientSettings, content: RecordDict, message_type: str = "train") -> Message:
    msg = Message(content, 1, message_type)
    return client_app.app(message=msg, context=a_context(device))


def test_a_device_says_who_its_user_is(device: ClientSettings) -> None:
    assert messages.decode_client(answer(device, RecordDict(), "query").content) == "ann"


def test_a_device_replies_with_a_clipped_update_and_nothing_personal(
    device: ClientSettings,
) -> None:
    content = answer(device, an_instruction(device)).content
    update = messages.decode_reply(content)
    assert isinstance(update, ModelUpdate)
    assert sorted(update.delta) == ["prototypes"]
    assert 0 < joint_norm(update.delta) <= 0.5
    # the slot of the user's own label is in the tensor, and empty
    np.testing.assert_array_equal(update.delta["prototypes"][2:], 0)
    assert SECRET not in str(content)


def test_taking_part_changes_nothing_on_the_device(device: ClientSettings) -> None:
    def kept() -> tuple[object, ...]:
        with Personalizer(device.bundle, home=device.home) as personalizer:
            return personalizer.examples, personalizer.state.to_bytes()

    before = kept()
    answer(device, an_instruction(device))
    assert kept() == before


def test_an_encrypted_home_takes_part_with_its_key_and_its_log_says_so(
    tiny_labelled_bundle: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    pytest.importorskip("cryptography")
    home, key_file = tmp_path / "home", tmp_path / "home.key"
    keys = FileKeyStore(key_file)
    with Personalizer(tiny_labelled_bundle, home=home, key=keys) as personalizer:
        personalizer.teach("circle", rng.normal(size=(3, 1, 4, 4)).astype(np.float32))
    consent = "0f8fad5b-d9cb-469f-a165-70867728950e"
    device = ClientSettings(
        client_id="ann", bundle=str(tiny_labelled_bundle), home=str(home),
        key_file=str(key_file), consent_id=consent,
    )  # fmt: skip
    reply = messages.decode_reply(answer(device, an_instruction(device)).content)
    assert isinstance(reply, ModelUpdate)
    with Personalizer(tiny_labelled_bundle, home=home, key=keys) as personalizer:
        last = personalizer.audit_log.records()[-1].entry
    assert last == UpdateSent(
        bundle_digest=open_bundle(device.bundle).digest,
        num_examples=3, clipping_norm=0.5, consent_id=consent,
    )  # fmt: skip
    without = ClientSettings(client_id="ann", bundle=device.bundle, home=device.home)
    reply = messages.decode_reply(answer(without, an_instruction(device)).content)
    assert reply == "wrong_key"


def test_every_failure_is_a_code(device: ClientSettings, tmp_path: Path) -> None:
    empty = ClientSettings(client_id="ann", bundle=device.bundle, home=str(tmp_path / "new"))
    other = an_instruction(device, bundle_digest="0" * 64)
    nan = an_instruction(device, shared={"prototypes": np.full((4, 8), np.nan, np.float32)})
    lost = ClientSettings(client_id="ann", bundle=str(tmp_path / "lost"), home=device.home)
    for settings, content, code in (
        (empty, an_instruction(device), "nothing_taught"),
        (device, other, "bad_update"),
        (device, nan, "bad_update"),
        (device, RecordDict(), "bad_update"),
        (lost, an_instruction(device), "bad_bundle"),
    ):
        reply = answer(settings, content)
        assert not reply.has_error()
        assert messages.decode_reply(reply.content) == code


def shapes_of(device: ClientSettings) -> dict[str, tuple[int, ...]]:
    bundle = open_bundle(device.bundle)
    shared = shared_tensors(bundle, Engine(bundle).initial_state())
    return {name: value.shape for name, value in shared.items()}


@pytest.mark.parametrize("code", [UpdateCode(bits=8), UpdateCode(bits=16, keep=0.5)])
def test_a_coded_update_is_smaller_and_what_it_lacks_comes_later(
    device: ClientSettings, code: UpdateCode
) -> None:
    whole = messages.decode_reply(answer(device, an_instruction(device)).content)
    content = answer(device, an_instruction(device, code=code)).content
    coded = messages.decode_reply(content, shapes_of(device))
    assert isinstance(whole, ModelUpdate)
    assert isinstance(coded, ModelUpdate)
    lacks = whole.delta["prototypes"] - coded.delta["prototypes"]
    assert 0 < np.abs(lacks).max() < 0.5
    with pytest.raises(BadUpdateError):  # it was not asked for
        messages.decode_reply(content)
    later = messages.decode_reply(answer(device, an_instruction(device, clipping_norm=9.0)).content)
    fresh = messages.decode_reply(answer(device, an_instruction(device, clipping_norm=9.0)).content)
    assert isinstance(later, ModelUpdate)
    assert isinstance(fresh, ModelUpdate)
    carried = later.delta["prototypes"] - fresh.delta["prototypes"]
    np.testing.assert_allclose(carried[:2], lacks[:2], atol=1e-5)
    np.testing.assert_array_equal(carried[2:], 0)


def test_a_device_for_masked_rounds_gives_its_update_to_no_other(device: ClientSettings) -> None:
    careful = replace(device, roster="roster")
    reply = messages.decode_reply(answer(careful, an_instruction(device)).content)
    assert reply == "unprotected_round"


NOISE = DeviceNoise(steps_in_norm=1 << 14, sigma=1 << 16)


def test_a_device_adds_the_noise_before_its_update_leaves(device: ClientSettings) -> None:
    replies = [
        messages.decode_reply(answer(device, an_instruction(device, noise=NOISE)).content)
        for _ in range(2)
    ]
    first, second = replies
    assert isinstance(first, ModelUpdate)
    assert isinstance(second, ModelUpdate)
    assert not np.array_equal(first.delta["prototypes"], second.delta["prototypes"])
    assert joint_norm(first.delta) > 2 * 0.5  # noise of four times the bound in each number
    assert np.abs(first.delta["prototypes"][2:]).min() > 0  # in every number, also unused ones


def test_a_devices_own_budget_is_a_hard_stop(device: ClientSettings) -> None:
    careful = replace(device, local_epsilon=4.0)
    assert messages.decode_reply(answer(careful, an_instruction(device)).content) == "weak_noise"
    asked = an_instruction(device, noise=NOISE)
    replies = [messages.decode_reply(answer(careful, asked).content) for _ in range(6)]
    spent = sum(isinstance(reply, ModelUpdate) for reply in replies)
    assert 1 <= spent < 6
    assert set(replies[spent:]) == {"budget_exhausted"}
    with Personalizer(device.bundle, home=device.home) as personalizer:
        logged = [
            record.entry
            for record in personalizer.audit_log.records()
            if isinstance(record.entry, EpsilonSpent)
        ]
        personalizer.erase()
    assert len(logged) == spent
    assert logged[-1].total_epsilon == pytest.approx(sum(entry.epsilon for entry in logged))
    assert logged[-1].total_epsilon <= 4.0
    # what left is known elsewhere: erasing what was taught gives no budget back
    assert messages.decode_reply(answer(careful, asked).content) == "budget_exhausted"


@pytest.mark.parametrize("error", [RuntimeError(SECRET), EdgeError(SECRET)])
def test_the_text_of_an_error_never_leaves_the_device(
    device: ClientSettings,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(client_app, "round_start", fail)
    reply = answer(device, an_instruction(device))
    assert SECRET not in str(reply)
    assert messages.decode_reply(reply.content) in {"internal", "edge"}
    if isinstance(error, RuntimeError):  # its text may quote user data; that of ours may not
        assert SECRET not in caplog.text
        assert "RuntimeError" in caplog.text


def test_the_client_imports_neither_torch_nor_the_exporter() -> None:
    code = (
        "import sys, federated.client_app;"
        "print(*sorted({'torch', 'onnx', 'export', 'onnxscript', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == ""
