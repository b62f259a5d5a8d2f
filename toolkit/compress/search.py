"""Look for the smallest model that keeps to a budget, and keep all that was tried on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import inf, isnan
from time import monotonic
from typing import Protocol

from msgspec import Struct

from toolkit.compress.budget import Budget
from toolkit.compress.combine import Candidate, Thinning, combinations, halved
from toolkit.compress.engine import Followed
from toolkit.compress.errors import CompressionError
from toolkit.compress.recipe import Recipe
from toolkit.compress.results import Result, Trial
from toolkit.compress.step import Step
from toolkit.compress.trials import Trials
from toolkit.train.errors import TrainingError

__all__ = ["Bench", "Ladder", "Limits", "front", "keeping", "nearest", "search"]


class Ladder(Struct, frozen=True):
    """Recipes in the order in which they are tried, gentle ones first. Then the way between the ends of `between`, a
    family of recipes by roughness from 0 to 100, is halved until the roughest that keeps the fidelity is found; then
    come `thinnings` before the best of those (see toolkit.compress.combine)."""

    candidates: tuple[Candidate, ...]
    between: Callable[[int], Candidate] | None = None
    thinnings: tuple[Thinning, ...] = ()


class Limits(Struct, frozen=True, kw_only=True):
    """How many trials are made, and after how many minutes no other is begun. A search that is limited by trials alone
    tries the same recipes in the same order each time."""

    trials: int
    minutes: float | None = None


class Bench(Protocol):
    """What makes and measures a model: toolkit.compress.engine.Press."""

    def follow(self, recipe: Recipe) -> Followed: ...

    def result(self, model: bytes, steps: Sequence[Step]) -> Result: ...


def search(
    bench: Bench,
    ladder: Ladder,
    budget: Budget,
    limits: Limits,
    trials: Trials,
    progress: Callable[[str], None],
) -> list[Trial]:
    """Try the recipes of a ladder; what was tried before is not tried again.

    Raises Failed, and CompressionError for a run that cannot be gone on with; a step that fails ends its trial only.
    """
    started = monotonic()
    tried: list[Trial] = []
    for candidate in _order(ladder, budget, tried):
        late = limits.minutes is not None and monotonic() - started > 60 * limits.minutes
        if len(tried) == limits.trials or (late and tried):
            break
        if _too_rough(candidate, budget, tried):
            continue
        trial = trials.known(candidate.recipe)
        if trial is None:
            number = len(trials.kept) + 1
            progress(f"trial {len(tried) + 1} of at most {limits.trials}: {candidate.name}")
            trial, model = _tried(bench, candidate, number, budget)
            trials.keep(trial, model)
        tried.append(trial)
    return tried


def keeping(trials: Sequence[Trial], budget: Budget) -> list[Trial]:
    """Those that keep to the budget, the smallest first; among files of the same size the more faithful."""
    kept = [trial for trial in trials if trial.result is not None and not budget.missed(trial.result)]
    return sorted(kept, key=lambda trial: _place(trial.result))


def nearest(trials: Sequence[Trial], budget: Budget) -> Trial | None:
    """The one that misses least of the budget, in shares of what was asked for; None where nothing was made."""
    made = [trial for trial in trials if trial.result is not None]
    return min(made, key=lambda trial: _excess(trial.result, budget), default=None)


def front(trials: Sequence[Trial]) -> list[Trial]:
    """Those that no other is better than in size, fidelity and latency at once (Pareto)."""
    made = [(trial, _figures(trial.result)) for trial in trials if trial.result is not None]
    return [
        trial
        for trial, own in made
        if not any(all(a <= b for a, b in zip(other, own, strict=True)) and other != own for _, other in made)
    ]


def _order(
    ladder: Ladder,
    budget: Budget,
    tried: Sequence[Trial],
) -> Iterator[Candidate]:
    yield from ladder.candidates
    if ladder.between is not None:
        yield from halved(ladder.between, budget, tried)
    yield from combinations(ladder.thinnings, budget, tried)


def _too_rough(candidate: Candidate, budget: Budget, tried: Sequence[Trial]) -> bool:
    gentler = [trial.result for trial in tried if trial.name in candidate.rougher]
    return any(result is not None and not result.fidelity.score.low >= budget.fidelity for result in gentler)


def _tried(bench: Bench, candidate: Candidate, number: int, budget: Budget) -> tuple[Trial, bytes | None]:
    started = monotonic()
    made: Followed | None = None
    result: Result | None = None
    missed: tuple[str, ...] = ()
    try:
        made = bench.follow(candidate.recipe)
        result = bench.result(made.model, candidate.recipe.steps)
        missed = budget.missed(result)
    except (CompressionError, TrainingError) as error:
        made, missed = None, (str(error),)
    trial = Trial(
        number=number,
        name=candidate.name,
        recipe=candidate.recipe.plain(),
        steps=() if made is None else made.reports,
        digest="" if made is None else made.digest,
        result=result,
        missed=missed,
        seconds=round(monotonic() - started, 2),
    )
    return trial, None if made is None else made.model


def _place(result: Result | None) -> tuple[float, float]:
    assert result is not None  # noqa: S101 - only those with a result are sorted
    return result.size_bytes, -result.fidelity.score.low


def _figures(result: Result | None) -> tuple[float, float, float]:
    assert result is not None  # noqa: S101 - only those with a result are compared
    return result.size_bytes, -result.fidelity.score.low, result.latency_ms / result.latency_before_ms


def _excess(result: Result | None, budget: Budget) -> float:
    size, negative, share = _figures(result)
    if isnan(negative):
        return inf
    lost = max(0.0, budget.fidelity + negative) / max(1 - budget.fidelity, 0.001)
    heavy = 0.0 if budget.size is None else max(0.0, size / 1e6 / budget.size - 1)
    slow = 0.0 if budget.latency is None else max(0.0, share / budget.latency - 1)
    return lost + heavy + slow
