from __future__ import annotations

import json
from dataclasses import fields
from typing import get_type_hints

import pytest

from edge_sdk import drift, guardrail_rule
from edge_sdk.audit_entries import (
    ENTRY_TYPES,
    Adapted,
    AuditEntry,
    Drifted,
    RolledBack,
    entry_from,
)
from edge_sdk.errors import InvalidOptionError
from tests.support.audit_entries import ENTRIES


@pytest.mark.parametrize("entry_type", ENTRY_TYPES)
def test_no_type_of_entry_has_a_field_for_free_text(entry_type: type[AuditEntry]) -> None:
    hints = get_type_hints(entry_type)
    for field in fields(entry_type):
        if "str" in str(hints[field.name]):
            bounded = field.name in entry_type.WORDS or field.name.endswith("_digest")
            assert bounded or field.name == "consent_id"


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.KIND)
@pytest.mark.parametrize("bad", ["Ann", "", b"x", [1], {"a": 1}, float("nan"), -1.5j])
def test_no_field_takes_data(entry: AuditEntry, bad: object) -> None:
    for field in fields(entry):
        values = {**entry.to_fields(), field.name: bad}
        with pytest.raises(InvalidOptionError) as caught:
            type(entry)(**values)  # type: ignore[arg-type]
        assert "Ann" not in str(caught.value)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.KIND)
def test_entries_survive_json(entry: AuditEntry) -> None:
    assert entry_from(entry.KIND, json.loads(json.dumps(entry.to_fields()))) == entry


@pytest.mark.parametrize("count", [-1, True, 1.0, 2**60])
def test_a_count_is_an_int_from_zero(count: object) -> None:
    with pytest.raises(InvalidOptionError):
        RolledBack(num_examples=count)  # type: ignore[arg-type]


def test_the_words_are_those_of_the_guardrail_and_the_drift_monitor() -> None:
    for words, enum in (
        (Adapted.WORDS["decision"], guardrail_rule.Decision),
        (Adapted.WORDS["serve"], guardrail_rule.Serve),
        (Adapted.WORDS["reason"], guardrail_rule.Reason),
        (Drifted.WORDS["signal"], drift.DriftSignal),
        (Drifted.WORDS["advice"], drift.DriftAdvice),
    ):
        assert set(words) == {member.value for member in enum}
