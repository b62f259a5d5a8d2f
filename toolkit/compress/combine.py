"""Recipes of two parts: what makes layers smaller, then what makes their numbers smaller."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from msgspec import Struct

from toolkit.compress.budget import Budget
from toolkit.compress.recipe import Recipe
from toolkit.compress.results import Trial

__all__ = ["Candidate", "Thinning", "combinations", "halved"]

STEP = 6  # of a hundred, below which halving stops
MOST = 48  # percent that a thinning takes away; halved three times it is STEP
SPARE = 0.5  # of what may be lost in all, that is left for what goes before


class Candidate(Struct, frozen=True, kw_only=True):
    """A recipe to try. `rougher` names those that are gentler: where one of them misses the fidelity, so will this."""

    name: str
    recipe: Recipe
    rougher: tuple[str, ...] = ()


class Thinning(Struct, frozen=True, kw_only=True):
    """A step that comes before another recipe: a `kind` with an option `keep`, and a `name` for short."""

    name: str
    kind: str

    def before(self, base: Trial, percent: int) -> Candidate:
        """The recipe of a trial, with this before it that takes away so many percent. Its order is checked like that of
        any recipe: raises RecipeError "recipe_chain".
        """
        first: dict[str, Any] = {"kind": self.kind, "keep": (100 - percent) / 100}
        return Candidate(name=f"{self.name}-{100 - percent}-{base.name}", recipe=Recipe.of((first, *base.recipe)))


def combinations(thinnings: Sequence[Thinning], budget: Budget, tried: Sequence[Trial]) -> Iterator[Candidate]:
    """Each thinning before the smallest and before the fastest of the trials that lose no more than half of what may
    be lost, halved to what leaves least and is faithful. `tried` grows as candidates are tried; a thinning that a model
    has nothing for is not tried again."""
    useless: set[str] = set()
    for base in _bases(budget, tried):
        for thinning in thinnings:
            if thinning.name in useless:
                continue
            for candidate in halved(partial(thinning.before, base), budget, tried, MOST):
                yield candidate
                if any(trial.name == candidate.name and trial.result is None for trial in tried):
                    useless.add(thinning.name)


def halved(
    family: Callable[[int], Candidate], budget: Budget, tried: Sequence[Trial], roughest: int = 100
) -> Iterator[Candidate]:
    """Of a family of recipes by roughness from 0 to `roughest`, those on the way to the roughest that is faithful. It
    ends with one that could not be made, or was not tried."""
    rough, gentle = roughest, 0
    while rough - gentle > STEP:
        middle = (rough + gentle) // 2
        yield (candidate := family(middle))
        found = next((trial for trial in tried if trial.name == candidate.name), None)
        if found is None or found.result is None:
            return
        if found.result.fidelity.score.low >= budget.fidelity:
            gentle = middle
        else:
            rough = middle


def _bases(budget: Budget, tried: Sequence[Trial]) -> list[Trial]:
    least = 1 - (1 - budget.fidelity) * (1 - SPARE)
    made = [(trial, trial.result) for trial in tried if trial.result is not None]
    spare = [(trial, result) for trial, result in made if result.fidelity.score.low >= least]
    if not spare:
        return []
    smallest, _ = min(spare, key=lambda pair: pair[1].size_bytes)
    fastest, _ = min(spare, key=lambda pair: pair[1].latency_ms / pair[1].latency_before_ms)
    return [smallest] if fastest is smallest else [smallest, fastest]
