"""Which kernels ran, and what the processor's counters say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolkit.compress.energy import joules
from toolkit.compress.kernels import kernels


def event(operator: str, microseconds: int, *, peak: int = 0, types: tuple[str, ...] = ("float", "float")) -> object:
    args = {"op_name": operator, "mem_in_use_peak": str(peak), "input_type_shape": [{one: [1, 2]} for one in types]}
    return {"cat": "Node", "name": f"n_{operator}_kernel_time", "dur": microseconds, "args": args}


def test_times_are_added_up_by_operator_and_types() -> None:
    trace = [
        {"cat": "Session", "name": "model_run", "dur": 1000},
        *[event("MatMul", 30, peak=500)] * 4,
        *[event("MatMul", 50, types=("uint8", "int8", "float"))] * 2,
        event("Add", 30, peak=700),
        {"cat": "Node", "name": "n_fence_before", "dur": 9, "args": {"op_name": "Add"}},
    ]
    ran, memory = kernels(json.dumps(trace).encode(), 2)
    assert [(one.operator, one.inputs, one.count, one.share) for one in ran] == [
        ("MatMul", "float, float", 2, 0.48),
        ("MatMul", "uint8, int8", 1, 0.4),
        ("Add", "float, float", 0, 0.12),
    ]
    assert memory == 700


def test_a_trace_of_nothing_is_nothing() -> None:
    assert kernels(b"[]", 1) == ((), 0)


@pytest.fixture
def counters(tmp_path: Path) -> Path:
    for name, start in (("intel-rapl:0", 1_000), ("intel-rapl:1", 5_000), ("intel-rapl:0:0", 7)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(str(start))
    return tmp_path


def test_energy_is_that_of_all_packages_and_of_nothing_below_them(counters: Path) -> None:
    def work() -> None:
        (counters / "intel-rapl:0" / "energy_uj").write_text("2001000")
        (counters / "intel-rapl:0:0" / "energy_uj").write_text("900000")
        (counters / "intel-rapl:1" / "energy_uj").write_text("505000")

    assert joules(work, counters) == pytest.approx(2.5)


def test_a_counter_that_went_round_and_a_host_that_does_not_tell_give_nothing(counters: Path, tmp_path: Path) -> None:
    assert joules(lambda: (counters / "intel-rapl:0" / "energy_uj").write_text("1"), counters) is None  # type: ignore[arg-type]  # what it gives is not looked at
    ran: list[int] = []
    assert joules(lambda: ran.append(1), tmp_path / "none") is None
    (counters / "intel-rapl:1" / "energy_uj").unlink()
    assert joules(lambda: ran.append(2), counters) is None
    assert ran == [1, 2]
