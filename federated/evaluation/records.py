"""What crosses between Flower server and clients when a candidate is judged.

Down goes a round's instruction with the tensors of the candidate and the number of folds; up come
two bounded integers, or the code of an error, and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flwr.app import ConfigRecord, RecordDict

from edge_sdk.errors import BadUpdateError, InvalidOptionError
from edge_sdk.judgement import Judgement
from federated import messages

if TYPE_CHECKING:
    from federated.messages import Instruction

EVALUATION = "evaluation"  # ConfigRecord: how a device judges
JUDGEMENT = "judgement"  # ConfigRecord: two shares of right answers, in steps


def encode_evaluation(candidate: Instruction, folds: int) -> RecordDict:
    """Write what devices are asked; `candidate.shared` are the candidate's tensors."""
    content = messages.encode_instruction(candidate)
    content[EVALUATION] = ConfigRecord({"folds": folds})
    return content


def decode_evaluation(content: RecordDict) -> tuple[Instruction, int]:
    """Read it; raise `BadUpdateError` where it is malformed."""
    return messages.decode_instruction(content), _integer(content, EVALUATION, "folds")


def encode_judgement(judgement: Judgement) -> RecordDict:
    """Write a device's answer."""
    values = {"current": judgement.current, "candidate": judgement.candidate}
    return RecordDict({JUDGEMENT: ConfigRecord({**values})})


def decode_judgement(content: RecordDict) -> Judgement | str:
    """Read a device's answer: its judgement, or the code of its error.

    Raises:
        BadUpdateError: It is malformed, or out of bounds.
    """
    if messages.FAILURE in content:
        code = messages.decode_reply(content)
        assert isinstance(code, str)  # noqa: S101 - a failure is read first
        return code
    current, candidate = (_integer(content, JUDGEMENT, key) for key in ("current", "candidate"))
    try:
        return Judgement(current=current, candidate=candidate)
    except InvalidOptionError as error:
        msg = "malformed record: a judgement is out of its bounds"
        raise BadUpdateError(msg) from error


def _integer(content: RecordDict, key: str, name: str) -> int:
    record = content.get(key)
    value = record.get(name) if isinstance(record, ConfigRecord) else None
    if type(value) is not int:
        msg = f"malformed record: it has no integer {name!r} in {key!r}"
        raise BadUpdateError(msg)
    return value
