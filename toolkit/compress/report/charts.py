"""Pictures of a run: what was tried, and where the bytes lie."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from xml.etree.ElementTree import SubElement, tostring

from compliance.report.svg import line, picture, rect, text
from toolkit.compress.budget import Budget
from toolkit.compress.results import Result, Trial

__all__ = ["bar", "tried"]

KEPT, MISSED, LIMIT = "#3a6ea5", "#b3261e", "#6b6b6b"
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 300, 56, 24, 16, 40
_TICKS = 4


def tried(before: Result, trials: Sequence[Trial], budget: Budget, chosen: int | None) -> str:
    """Size against fidelity, a mark with its number for each trial: round where it keeps to the budget, a square where
    it misses it, with a ring around the chosen one. Dashed lines are the limits."""
    made = [(trial, trial.result) for trial in trials if trial.result is not None]
    sizes = [result.size_bytes / 1e6 for _, result in made]
    lows = [max(low, 0.0) for _, result in made if not isnan(low := result.fidelity.score.low)]
    widest = max([*sizes, budget.size or 0.0, 1e-6]) * 1.08
    lowest = min([*lows, budget.fidelity, 0.999])
    floor = max(0.0, lowest - (1 - lowest) * 0.15)
    svg = picture(_WIDTH, _HEIGHT, f"Size and fidelity of {len(made)} models that were tried")

    def across(size: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * size / widest

    def up(low: float) -> float:
        low = floor if isnan(low) else low
        return _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * (min(max(low, floor), 1.0) - floor) / (1 - floor)

    for tick in range(_TICKS + 1):
        size, low = widest * tick / _TICKS, floor + (1 - floor) * tick / _TICKS
        line(svg, _LEFT, up(low), _WIDTH - _RIGHT, up(low))
        text(svg, _LEFT - 6, up(low) + 4, f"{low:.3f}", anchor="end")
        text(svg, across(size), _HEIGHT - _BOTTOM + 16, f"{size:.3g}")
    text(svg, (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, "MB of model.onnx; upwards: fidelity, lower bound")
    line(svg, _LEFT, up(budget.fidelity), _WIDTH - _RIGHT, up(budget.fidelity), LIMIT)
    if budget.size is not None:
        line(svg, across(budget.size), _TOP, across(budget.size), _HEIGHT - _BOTTOM, LIMIT)
    for trial, result in made:
        x, y = across(result.size_bytes / 1e6), up(result.fidelity.score.low)
        group = SubElement(svg, "g")
        ratio = result.latency_ms / result.latency_before_ms
        SubElement(group, "title").text = f"{trial.number} {trial.name}: {ratio:.2f} of the latency of FP32"
        if trial.missed:
            rect(group, x - 4, y - 4, 8, 8, MISSED)
        else:
            SubElement(group, "circle", {"cx": f"{x:.2f}", "cy": f"{y:.2f}", "r": "5", "fill": KEPT})
        if trial.number == chosen:
            ring = {
                "cx": f"{x:.2f}",
                "cy": f"{y:.2f}",
                "r": "9",
                "fill": "none",
                "stroke": "#1a1a1a",
                "stroke-width": "2",
            }
            SubElement(group, "circle", ring)
        text(group, x + 10, y - 6, str(trial.number), anchor="start")
    return tostring(svg, encoding="unicode")


def bar(value: float, most: float, bad: bool = False) -> str:
    """One bar of a table, as long as its share of the longest. The number stands beside it, in the table."""
    svg = picture(100, 10, "", stretched=True)
    rect(svg, 0, 0, max(1.0, 100 * value / most), 10, MISSED if bad else KEPT)
    return tostring(svg, encoding="unicode")
