"""Budgets, and the search for the smallest model that keeps to one: on a bench whose figures are set."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.errors import Fault
from toolkit.compress.budget import FLOOR, Budget
from toolkit.compress.engine import Followed
from toolkit.compress.errors import BudgetError, CompressionError
from toolkit.compress.recipe import Recipe
from toolkit.compress.results import Fidelity, Interval, Result, Trial
from toolkit.compress.search import Candidate, Ladder, Limits, front, keeping, nearest, search
from toolkit.compress.step import Step
from toolkit.compress.trials import Trials


def result(size: int, low: float, share: float) -> Result:
    score = Interval(mean=low, low=low, high=low)
    found = Fidelity(measure="cosine", score=score, slices=(), worst=(), worst_scores=())
    return Result(size_bytes=size, transport_bytes=size, fidelity=found, latency_ms=share, latency_before_ms=1.0)


class Bench:
    """Gives each recipe the figures that were set for it, by the size of its blocks."""

    def __init__(self, figures: dict[int, tuple[int, float, float]]) -> None:
        self.figures = figures
        self.followed: list[int] = []

    def follow(self, recipe: Recipe) -> Followed:
        least = recipe.plain()[0]["least"]
        self.followed.append(least)
        if least not in self.figures:
            raise CompressionError("step_failed", "it cannot be done")
        model = str(least).encode()
        return Followed(model=model, digest=hashlib.sha256(model).hexdigest(), reports=())

    def result(self, model: bytes, steps: Sequence[Step]) -> Result:
        size, low, share = self.figures[int(model)]
        return result(size * 1_000_000, low, share)


def candidate(number: int, *rougher: str) -> Candidate:
    recipe = Recipe.of([{"kind": "table-bits", "least": number}])
    return Candidate(name=f"r{number}", recipe=recipe, rougher=rougher)


def run(
    bench: Bench, ladder: Ladder, budget: Budget, folder: Path, limit: int = 20, resume: bool = False
) -> list[Trial]:
    trials = Trials(folder / "a.run", {"of": "this"}, resume=resume)
    return search(bench, ladder, budget, Limits(trials=limit), trials, lambda _: None)


def test_a_budget_is_read_in_any_order() -> None:
    assert Budget.parse("size<=20MB, fidelity>=0.99, latency<=0.4x") == Budget(size=20, fidelity=0.99, latency=0.4)
    assert Budget.parse("latency <= 1x,size<=1.5 MB") == Budget(size=1.5, fidelity=FLOOR, latency=1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "size<20MB",
        "size<=20",
        "size<=-1MB",
        "fidelity>=1.1",
        "speed>=2x",
        "size<=1MB, size<=2MB",
        "size<=1MB,",
        "," * 2000,
    ],
)
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(BudgetError) as caught:
        Budget.parse(text)
    assert caught.value.code == "budget_text"


@given(st.text(max_size=60))
def test_any_text_is_a_budget_or_refused(text: str) -> None:
    with suppress(BudgetError):
        assert Budget.parse(text).fidelity <= 1


def test_what_is_missed_is_said() -> None:
    budget = Budget(size=20, fidelity=0.99, latency=0.5)
    assert budget.missed(result(20_000_000, 0.99, 0.5)) == ()
    assert [text.split()[1] for text in budget.missed(result(20_000_001, 0.9899, 0.51))] == [
        "has",
        "fidelity",
        "latency",
    ]
    assert budget.missed(result(1, float("nan"), 0.1))


def test_the_smallest_that_keeps_to_the_budget_comes_first(tmp_path: Path) -> None:
    bench = Bench({1: (30, 0.999, 0.5), 2: (20, 0.995, 0.4), 3: (10, 0.98, 0.3)})
    tried = run(
        bench,
        Ladder((candidate(1), candidate(2), candidate(3), candidate(4))),
        budget := Budget(fidelity=0.99),
        tmp_path,
    )
    assert [trial.name for trial in keeping(tried, budget)] == ["r2", "r1"]
    assert [trial.name for trial in front(tried)] == ["r1", "r2", "r3"]
    assert tried[3].result is None
    assert tried[3].missed == ("it cannot be done",)
    assert (tmp_path / "a.run" / "trials" / "002-r2" / "model.onnx").read_bytes() == b"2"
    assert not (tmp_path / "a.run" / "trials" / "004-r4" / "model.onnx").exists()


def test_what_is_rougher_than_one_that_missed_is_not_tried(tmp_path: Path) -> None:
    bench = Bench({1: (30, 0.98, 1.0), 2: (20, 0.9, 1.0)})
    tried = run(bench, Ladder((candidate(1), candidate(2, "r1"))), Budget(fidelity=0.99), tmp_path)
    assert [trial.name for trial in tried] == ["r1"]


def test_the_way_between_is_halved_to_the_roughest_that_is_faithful(tmp_path: Path) -> None:
    bench = Bench({number: (100 - number, 1 - number / 1000, 1.0) for number in range(101)})
    tried = run(bench, Ladder((), candidate), Budget(fidelity=0.96), tmp_path)
    assert [trial.name for trial in tried] == ["r50", "r25", "r37", "r43"]
    assert keeping(tried, Budget(fidelity=0.96))[0].name == "r37"


def test_the_number_of_trials_is_limited(tmp_path: Path) -> None:
    bench = Bench({1: (1, 1.0, 1.0), 2: (1, 1.0, 1.0)})
    assert len(run(bench, Ladder((candidate(1), candidate(2))), Budget(), tmp_path, limit=1)) == 1


def test_the_nearest_misses_least() -> None:
    def trial(number: int, measured: Result | None) -> Trial:
        return Trial(
            number=number, name=f"t{number}", recipe=(), steps=(), digest="", result=measured, missed=(), seconds=0
        )

    budget = Budget(size=20, fidelity=0.99)
    trials = [trial(1, result(40_000_000, 0.999, 1)), trial(2, result(21_000_000, 0.99, 1)), trial(3, None)]
    assert nearest(trials, budget) is trials[1]
    assert nearest([trials[2]], budget) is None
    unsound = trial(4, result(1, float("nan"), 1))
    assert nearest([unsound, trials[0]], budget) is trials[0]


def test_a_run_is_gone_on_with(tmp_path: Path) -> None:
    bench, budget = Bench({1: (30, 1.0, 1.0), 2: (20, 1.0, 1.0)}), Budget()
    first = run(bench, Ladder((candidate(1),)), budget, tmp_path)
    again = run(bench, Ladder((candidate(1), candidate(2))), budget, tmp_path, resume=True)
    assert bench.followed == [1, 2]
    assert again[0] == first[0]
    assert [trial.number for trial in again] == [1, 2]


def refusal(call: Any) -> str:
    with pytest.raises(Fault) as caught:
        call()
    return caught.value.code


def test_a_run_that_cannot_be_gone_on_with_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "a.run"
    kept = run(Bench({1: (30, 1.0, 1.0)}), Ladder((candidate(1),)), Budget(), tmp_path)
    assert refusal(lambda: Trials(folder, {"of": "this"}, resume=False)) == "run_exists"
    assert refusal(lambda: Trials(folder, {"of": "that"}, resume=True)) == "run_differs"
    model = folder / "trials" / "001-r1" / "model.onnx"
    model.write_bytes(b"another")
    assert refusal(lambda: Trials(folder, {"of": "this"}, resume=True).model(kept[0])) == "run_malformed"
    model.with_name("trial.json").write_text("{")
    assert refusal(lambda: Trials(folder, {"of": "this"}, resume=True)) == "run_malformed"
