"""The page: HTML that needs nothing else, no script, no font, no picture from elsewhere."""

from __future__ import annotations

from collections import Counter
from importlib.resources import files

import msgspec
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from compliance.report.wording import plain
from toolkit.compress.budget import Budget
from toolkit.compress.comparison import Comparison
from toolkit.compress.report import charts
from toolkit.compress.results import Result, Run, Trial

__all__ = ["render", "render_comparison"]

_MOST_TENSORS = 12
_MOST_LAYERS = 40


def render(run: Run) -> str:
    """The page. The same run gives the same text. Raises BudgetError for a budget that cannot be read."""
    budget = Budget.parse(run.budget) if run.budget else Budget()
    shown = next((trial for trial in run.trials if trial.number == (run.chosen or run.nearest)), None)
    stored: Counter[str] = Counter()
    for size in run.sizes:
        stored[size.stored] += size.size_bytes
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            run=run,
            shown=shown,
            result=None if shown is None else shown.result,
            headline=_headline(run, shown),
            picture=Markup(charts.tried(run.before, run.trials, budget, run.chosen)),  # noqa: S704 - an XML tree
            stored=stored.most_common(),
            tensors=run.sizes[:_MOST_TENSORS],
            more_tensors=len(run.sizes[_MOST_TENSORS:]),
            layers=sorted(run.layers, key=lambda layer: layer.decibels)[:_MOST_LAYERS],
            recipe="" if shown is None else _toml(shown),
        )
    )


def render_comparison(found: Comparison) -> str:
    """The page of bundles side by side. The same comparison gives the same text."""
    return (
        _environment()
        .get_template("comparison.html.jinja")
        .render(
            found=found,
            picture=Markup(charts.compared(found)),  # noqa: S704 - an XML tree
            slowest=max(one.latency_ms for one in found.bundles),
            largest=max(one.size_bytes for one in found.bundles),
            metrics=sorted({name for one in found.bundles for name in one.task}),
        )
    )


def _environment() -> Environment:
    parts = FunctionLoader(lambda name: files("toolkit.compress.report").joinpath(name).read_text("utf-8"))
    environment = Environment(
        loader=parts, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        plain=plain,
        mb=lambda size: f"{size / 1e6:.2f} MB",
        four=lambda value: f"{value:.4f}",
        ms=lambda value: f"{value:.2f} ms",
        span=lambda one: f"{one.mean:.4f} ({one.low:.4f} to {one.high:.4f})",
    )
    environment.globals.update(bar=lambda value, most, bad=False: Markup(charts.bar(value, most, bad)))  # noqa: S704 - an XML tree
    return environment


def _headline(run: Run, shown: Trial | None) -> str:
    if shown is None or shown.result is None:
        return "Nothing was handed out: none of the recipes that were tried gave a model."
    what = _gained(run.before, shown.result)
    if run.chosen is None:
        why = "; ".join(shown.missed) or "it missed the budget when it was measured again"
        return f"Nothing was handed out. The nearest, {shown.name}, is {what}: {why}."
    return f"{shown.name}: {what}."


def _gained(before: Result, after: Result) -> str:
    times = before.size_bytes / after.size_bytes
    speed = after.latency_before_ms / after.latency_ms
    return (
        f"{times:.2f} times smaller ({after.size_bytes / 1e6:.1f} MB instead of {before.size_bytes / 1e6:.1f}), "
        f"{speed:.2f} times as fast, fidelity {after.fidelity.score.low:.4f} or more"
    )


def _toml(trial: Trial) -> str:
    """The recipe as a file would have it."""
    tables = []
    for step in trial.recipe:
        lines = [f"{key} = {msgspec.json.encode(value).decode()}" for key, value in step.items()]
        tables.append("\n".join(("[[step]]", *lines)))
    return "\n\n".join(tables)
