"""Which of the trials of a run is handed out, and why none is."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from toolkit.compress.budget import Budget
from toolkit.compress.engine import Press
from toolkit.compress.errors import CompressionError
from toolkit.compress.recipe import Recipe
from toolkit.compress.results import Result, Trial
from toolkit.compress.search import keeping
from toolkit.compress.step import Step
from toolkit.compress.trials import Trials

__all__ = ["chosen_of", "refusal", "steps_of"]


def chosen_of(
    press: Press, kept: Trials, tried: Sequence[Trial], bound: Budget, foreign: Collection[str]
) -> tuple[Trial, Result] | tuple[None, None]:
    """The best of the trials that keeps to the budget when it is measured once more: the best of many figures is
    often the luckiest one, and those of an earlier session may be of another day."""
    for trial in keeping(tried, bound):
        result = press.result(kept.model(trial), steps_of(trial, foreign))
        if not bound.missed(result):
            return trial, result
    return None, None


def refusal(tried: Sequence[Trial], shown: Trial | None, bound: Budget) -> CompressionError:
    """Why none was handed out: what the nearest misses, and after which step it was too far away."""
    if shown is None or shown.result is None:
        why = "; ".join(f"{trial.name}: {', '.join(trial.missed)}" for trial in tried[:3])
        return CompressionError("step_failed", why)
    unfaithful = not shown.result.fidelity.score.low >= bound.fidelity
    told = f"{len(tried)} recipes were tried; the nearest, {shown.name}: " if len(tried) > 1 else ""
    broke = _broke(shown, bound.fidelity) if unfaithful else ""
    missed = " and ".join(shown.missed) or "it kept to the budget once, and not when it was measured again"
    return CompressionError("not_faithful" if unfaithful else "budget_missed", f"{told}{missed}{broke}")


def steps_of(trial: Trial, foreign: Collection[str]) -> tuple[Step, ...]:
    """The steps of a trial. Raises RecipeError."""
    return Recipe.of(trial.recipe, foreign).steps


def _broke(trial: Trial, bound: float) -> str:
    """Which step it was after which the fidelity was too low."""
    lows = [(step.kind, step.fidelity) for step in trial.steps if step.fidelity is not None]
    broken = next((number for number, (_, low) in enumerate(lows) if not low >= bound), None)
    if broken is None:
        return ""
    before = f" from {lows[broken - 1][1]:.4f}" if broken else ""
    return f"; step {broken + 1} of {len(trial.steps)}, {lows[broken][0]}, brought it{before} to {lows[broken][1]:.4f}"
