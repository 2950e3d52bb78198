"""Small versions of benchmarks/secure: what is measured adds up, and the table is whole."""

from __future__ import annotations

import pytest

from benchmarks.secure.compression import compression
from benchmarks.secure.cost import session_cost


@pytest.mark.parametrize("share_gone", [0.0, 0.25])
def test_the_cost_of_a_session(share_gone: float) -> None:
    found = session_cost(num=8, length=300, modulus_bits=16, share_gone=share_gone, repeats=1)
    least, most = found["member_cpu_ms_range"]
    assert least <= found["member_cpu_ms"] <= most
    stages = found["member_cpu_ms_by_stage"]
    assert list(stages) == ["KEYS", "SHARES", "VECTOR", "TAGS", "REVEALED"]
    assert sum(stages.values()) == pytest.approx(found["member_cpu_ms"], abs=0.1)
    assert found["server_cpu_ms"] > 0
    assert found["member_bytes"]["sent"] > 600


def test_the_table_of_compression() -> None:
    table = compression(500, 3)
    single, cohort = table["one update"], table["mean of 3 on one grid"]
    for kind in ("normal", "heavy-tailed"):
        assert single[kind]["16 bits"]["error"]["median"] < 0.01
        assert single[kind]["8 bits"]["bytes"] < single[kind]["16 bits"]["bytes"]
        plain, rotated = (
            cohort[kind][name]["error"]["median"] for name in ("8 bits", "8 bits, rotated")
        )
        assert rotated < plain
