"""Budgets, and the search for the smallest model that keeps to one: on a bench whose figures are set."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.errors import Fault
from policies.gate import Grant
from tests.unit.toolkit.compress.conftest import Gated
from toolkit.compress.budget import FLOOR, Budget
from toolkit.compress.combine import Candidate, Thinning
from toolkit.compress.data import Data, gathered
from toolkit.compress.engine import Followed, Press
from toolkit.compress.errors import BudgetError, CompressionError, RecipeError
from toolkit.compress.measure import evaluation_texts
from toolkit.compress.recipe import Recipe
from toolkit.compress.results import Fidelity, Interval, Result, Trial
from toolkit.compress.search import Ladder, Limits, front, keeping, nearest, search
from toolkit.compress.sources import huggingface
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


class Thinned(Bench):
    """As Bench; what prunes before that takes its share of the size and costs some fidelity, twice as much in ranks."""

    def follow(self, recipe: Recipe) -> Followed:
        *before, last = recipe.plain()
        keep = [step["keep"] for step in before]
        size, low, share = self.figures[last["least"]]
        if before and size == 0:
            raise CompressionError("step_failed", "it has no neurons")
        cost = sum(
            (1 - kept) * (0.2 if step["kind"] == "factorise" else 0.1) for kept, step in zip(keep, before, strict=True)
        )
        made = [size * 1_000_000 * (keep[0] if keep else 1), low - cost, share]
        model = repr(made).encode()
        return Followed(model=model, digest=hashlib.sha256(model).hexdigest(), reports=())

    def result(self, model: bytes, steps: Sequence[Step]) -> Result:
        size, low, share = json.loads(model)
        return result(int(size), low, share)


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


NEURONS, RANKS = Thinning(name="neurons", kind="prune-neurons"), Thinning(name="ranks", kind="factorise")


def test_what_makes_layers_smaller_comes_before_the_best_of_what_makes_numbers_smaller(tmp_path: Path) -> None:
    bench = Thinned({1: (30, 0.999, 0.4), 2: (20, 0.995, 0.9), 3: (10, 0.96, 1.0), 4: (12, 0.94, 0.3)})
    budget = Budget(fidelity=0.95)
    tried = run(bench, Ladder(tuple(map(candidate, (1, 2, 3, 4))), None, (NEURONS, RANKS)), budget, tmp_path, limit=40)
    # r3 leaves too little to lose and r4 is not faithful: before r2, the smallest, and r1, the fastest, it is halved
    assert [trial.name for trial in tried[4:]] == [
        *("neurons-76-r2", "neurons-64-r2", "neurons-58-r2"),
        *("ranks-76-r2", "ranks-88-r2", "ranks-82-r2"),
        *("neurons-76-r1", "neurons-64-r1", "neurons-58-r1"),
        *("ranks-76-r1", "ranks-64-r1", "ranks-70-r1"),
    ]
    assert [step["kind"] for step in tried[4].recipe] == ["prune-neurons", "table-bits"]
    assert [trial.name for trial in keeping(tried, budget)][:2] == ["r3", "neurons-58-r2"]


def test_a_real_model_is_pruned_and_then_quantised(gated: Gated, tiny: Path, tmp_path: Path) -> None:
    texts = evaluation_texts()
    data = Data(calibrate=gathered(texts[:12], "text"), evaluate=gathered(texts[12:20], "text"))
    source = huggingface.read(tiny)
    base = Candidate(name="w8", recipe=Recipe.of([{"kind": "weight-bits"}]))
    ladder, told = Ladder((base,), None, (NEURONS,)), list[str]()

    def work(grant: Grant) -> list[Trial]:
        press = Press(source, grant, "policy", data, told.append)
        kept = Trials(tmp_path / "a.run", {}, resume=False)
        return search(press, ladder, Budget(fidelity=0.5), Limits(trials=2), kept, told.append)

    alone, both = gated(source.digest, work)
    assert both.name == "neurons-76-w8"
    assert [step.kind for step in both.steps] == ["prune-neurons", "weight-bits"]
    assert both.result.size_bytes < alone.result.size_bytes
    assert 0.5 < both.result.fidelity.score.low < alone.result.fidelity.score.low
    assert [line for line in told if line.startswith("trial")] == [
        "trial 1 of at most 2: w8",
        "trial 2 of at most 2: neurons-76-w8",
    ]


def test_what_a_model_has_nothing_for_is_not_tried_twice(tmp_path: Path) -> None:
    bench = Thinned({1: (0, 0.999, 1.0), 2: (0, 0.998, 0.5)})
    ladder = Ladder((candidate(1), candidate(2)), None, (NEURONS,))
    assert [trial.name for trial in run(bench, ladder, Budget(), tmp_path)] == ["r1", "r2", "neurons-76-r1"]


def test_nothing_comes_before_what_leaves_too_little_to_lose(tmp_path: Path) -> None:
    ladder = Ladder((candidate(1),), None, (NEURONS,))
    assert len(run(Thinned({1: (9, 0.96, 1.0)}), ladder, Budget(fidelity=0.95), tmp_path)) == 1


def test_a_thinning_behind_what_quantises_is_refused() -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.of([{"kind": "table-bits"}, {"kind": "prune-neurons"}])
    assert caught.value.code == "recipe_chain"
    assert (
        str(caught.value) == "step[1] prune-neurons takes float or fused, what comes to it from table-bits is quantised"
    )


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
