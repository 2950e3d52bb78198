from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from edge_sdk import Engine, Personalizer, open_bundle
from edge_sdk.audit_entries import JudgementSent
from edge_sdk.errors import BadUpdateError
from edge_sdk.judgement import ACCURACY_STEPS, Judgement, judge
from federated import client_app, messages
from federated.evaluation.over_flower import judge_over_flower
from federated.evaluation.records import (
    EVALUATION,
    JUDGEMENT,
    decode_evaluation,
    decode_judgement,
    encode_evaluation,
    encode_judgement,
)
from federated.evaluation.run import EvaluationTask
from federated.grid_messages import pull, push
from federated.local_round import round_start, shared_tensors
from federated.messages import Instruction
from federated.settings import ClientSettings, encode_client_settings
from tests.unit.federated.test_server_app import DIGEST, NODES, UNDECODABLE, FakeGrid

if TYPE_CHECKING:
    from pathlib import Path

    from federated.evaluation.run import Answer

FOUND = Judgement(current=500, candidate=700)
SECRET = "the user's own word"  # noqa: S105


@pytest.fixture(autouse=True)
def flower_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


@pytest.fixture
def device(tiny_labelled_bundle: Path, tmp_path: Path, rng: np.random.Generator) -> ClientSettings:
    with Personalizer(tiny_labelled_bundle, home=tmp_path / "home") as personalizer:
        for label in ("circle", "square", SECRET):
            personalizer.teach(label, rng.normal(size=(3, 1, 4, 4)).astype(np.float32))
    return ClientSettings(
        client_id="ann", bundle=str(tiny_labelled_bundle), home=str(tmp_path / "home")
    )


def asked(device: ClientSettings, **changes: Any) -> RecordDict:
    bundle = open_bundle(device.bundle)
    shared = shared_tensors(bundle, Engine(bundle).initial_state())
    fields = {
        "server_round": 3, "bundle_digest": bundle.digest, "clipping_norm": 1.0, "steps": None,
        "shared": {name: value + np.float32(0.5) for name, value in shared.items()}, **changes,
    }  # fmt: skip
    return encode_evaluation(Instruction(**fields), 4)


def answer(device: ClientSettings, content: RecordDict) -> RecordDict:
    context = Context(
        run_id=1, node_id=1, node_config=encode_client_settings(device), state=RecordDict(),
        run_config={},
    )  # fmt: skip
    reply = client_app.app(message=Message(content, 1, "evaluate"), context=context)
    assert not reply.has_error()
    return reply.content


def test_a_device_answers_with_two_integers_and_its_log_says_so(device: ClientSettings) -> None:
    content = answer(device, asked(device))
    assert {name: set(record) for name, record in content.items()} == {
        JUDGEMENT: {"current", "candidate"}
    }
    bundle = open_bundle(device.bundle)
    engine = Engine(bundle)
    initial = engine.initial_state()
    candidate = round_start(bundle, initial, decode_evaluation(asked(device))[0].shared)
    with Personalizer(bundle, home=device.home) as personalizer:
        features, slots = personalizer.support()
        last = personalizer.audit_log.records()[-1].entry
    want = judge(engine, initial, candidate, features, slots, folds=4)
    assert decode_judgement(content) == want
    assert last == JudgementSent(bundle_digest=bundle.digest, num_examples=9, consent_id=None)
    assert SECRET not in str(content)


def test_every_failure_of_a_device_is_a_code(device: ClientSettings, tmp_path: Path) -> None:
    empty = ClientSettings(client_id="ann", bundle=device.bundle, home=str(tmp_path / "new"))
    without = asked(device)
    del without[EVALUATION]
    folds = asked(device)
    folds[EVALUATION] = ConfigRecord({"folds": 1})
    for settings, content, code in (
        (empty, asked(device), "nothing_taught"),
        (device, asked(device, bundle_digest="0" * 64), "bad_update"),
        (device, asked(device, shared={}), "bad_update"),
        (device, without, "bad_update"),
        (device, folds, "invalid_option"),
        (device, RecordDict(), "bad_update"),
    ):
        assert decode_judgement(answer(settings, content)) == code


def test_a_judgement_survives_the_wire() -> None:
    assert decode_judgement(encode_judgement(FOUND)) == FOUND
    assert decode_judgement(messages.encode_failure("nothing_taught")) == "nothing_taught"


@pytest.mark.parametrize(
    "record",
    [
        {"current": 1},
        {"current": 1, "candidate": 1.0},
        {"current": 1, "candidate": True},
        {"current": -1, "candidate": 0},
        {"current": 0, "candidate": ACCURACY_STEPS + 1},
        {"current": 0, "candidate": [3]},
    ],
)
def test_a_hostile_answer_is_refused(record: dict[str, Any]) -> None:
    with pytest.raises(BadUpdateError, match="malformed record"):
        decode_judgement(RecordDict({JUDGEMENT: ConfigRecord(record)}))
    with pytest.raises(BadUpdateError):
        decode_judgement(RecordDict())


def gather(grid: FakeGrid, deadline_s: float = 30.0) -> dict[str, Answer]:
    task = EvaluationTask(
        cohort=tuple(sorted(NODES)), candidate={"w": np.ones(2, np.float32)},
        bundle_digest=DIGEST, steps=2, folds=5,
    )  # fmt: skip
    answers = judge_over_flower(
        task,
        NODES,
        lambda out: push(grid, out),  # type: ignore[arg-type]
        lambda pending: pull(grid, pending),  # type: ignore[arg-type]
        server_round=7,
        deadline_s=deadline_s,
        poll_s=0.001,
    )
    return {found.client_id: found for found in answers}


def test_answers_are_gathered_under_their_own_clients() -> None:
    grid = FakeGrid(lambda _: encode_judgement(FOUND))
    grid.slow = {22: 3}
    found = gather(grid)
    assert {client: a.judgement for client, a in found.items()} == dict.fromkeys(NODES, FOUND)
    message = next(iter(grid.sent.values()))
    assert message.metadata.message_type == "evaluate"
    instruction, folds = decode_evaluation(message.content)
    assert (instruction.server_round, instruction.steps, folds) == (7, 2, 5)


def test_wrong_answers_are_told_apart_and_none_is_fatal() -> None:
    answers: dict[int, Any] = {
        11: Error(code=2, reason="<class 'ValueError'>:<'secret'>"),
        22: UNDECODABLE,
        33: messages.encode_failure("nothing_taught"),
    }
    found = gather(FakeGrid(lambda msg: answers[msg.metadata.dst_node_id]))
    assert {client: (a.judgement, a.failure) for client, a in found.items()} == {
        "ann": (None, "crashed"),
        "bob": (None, "malformed"),
        "cat": (None, "nothing_taught"),
    }


def test_it_closes_at_its_deadline() -> None:
    grid = FakeGrid(lambda msg: encode_judgement(FOUND) if msg.metadata.dst_node_id != 22 else None)
    assert sorted(gather(grid, deadline_s=0.1)) == ["ann", "cat"]
