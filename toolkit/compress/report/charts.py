"""Pictures of what was tried or compared, and where the bytes lie."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from typing import NamedTuple
from xml.etree.ElementTree import SubElement, tostring

from compliance.report.svg import line, picture, rect, text
from compliance.report.wording import plain
from toolkit.compress.budget import Budget
from toolkit.compress.comparison import Comparison
from toolkit.compress.results import Result, Trial

__all__ = ["bar", "compared", "tried"]

KEPT, MISSED, LIMIT = "#3a6ea5", "#b3261e", "#6b6b6b"
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 300, 56, 24, 16, 40
_TICKS = 4
_TOLD = 200  # characters of what is told of a mark


class Mark(NamedTuple):
    """A model in a picture: MB, the lower bound of its fidelity, the number beside the mark, and what is told of it."""

    size: float
    low: float
    number: int
    told: str
    missed: bool = False
    ringed: bool = False


def tried(before: Result, trials: Sequence[Trial], budget: Budget, chosen: int | None) -> str:
    """Size against fidelity, a mark with its number for each trial: round where it keeps to the budget, a square where
    it misses it, with a ring around the chosen one. Dashed lines are the limits."""
    made = [(trial, trial.result) for trial in trials if trial.result is not None]
    marks = []
    for trial, result in made:
        ratio = result.latency_ms / result.latency_before_ms
        marks.append(
            Mark(
                size=result.size_bytes / 1e6,
                low=result.fidelity.score.low,
                number=trial.number,
                told=f"{trial.number} {trial.name}: {ratio:.2f} of the latency of FP32",
                missed=bool(trial.missed),
                ringed=trial.number == chosen,
            )
        )
    told = f"Size and fidelity of {len(made)} models that were tried"
    return _plane(told, "fidelity", marks, budget.fidelity, budget.size)


def compared(found: Comparison) -> str:
    """Size against agreement with the first bundle, a mark with its number for each; a ring is around the first."""
    marks = [
        Mark(
            size=one.size_bytes / 1e6,
            low=1.0 if one.agreement is None else one.agreement.low,
            number=number,
            told=f"{number} {one.bundle}: {one.latency_ms:.2f} ms",
            ringed=one.agreement is None,
        )
        for number, one in enumerate(found.bundles, start=1)
    ]
    return _plane(f"Size and agreement of {len(marks)} bundles", "agreement with the first", marks)


def _plane(
    told: str, upwards: str, marks: Sequence[Mark], fidelity: float | None = None, size: float | None = None
) -> str:
    lows = [max(mark.low, 0.0) for mark in marks if not isnan(mark.low)]
    widest = max([*(mark.size for mark in marks), size or 0.0, 1e-6]) * 1.08
    lowest = min([*lows, fidelity or 1.0, 0.999])
    floor = max(0.0, lowest - (1 - lowest) * 0.15)
    svg = picture(_WIDTH, _HEIGHT, told)

    def across(size: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * size / widest

    def up(low: float) -> float:
        low = floor if isnan(low) else low
        return _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * (min(max(low, floor), 1.0) - floor) / (1 - floor)

    for tick in range(_TICKS + 1):
        along, low = widest * tick / _TICKS, floor + (1 - floor) * tick / _TICKS
        line(svg, _LEFT, up(low), _WIDTH - _RIGHT, up(low))
        text(svg, _LEFT - 6, up(low) + 4, f"{low:.3f}", anchor="end")
        text(svg, across(along), _HEIGHT - _BOTTOM + 16, f"{along:.3g}")
    text(svg, (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, f"MB of model.onnx; upwards: {upwards}, lower bound")
    if fidelity is not None:
        line(svg, _LEFT, up(fidelity), _WIDTH - _RIGHT, up(fidelity), LIMIT)
    if size is not None:
        line(svg, across(size), _TOP, across(size), _HEIGHT - _BOTTOM, LIMIT)
    for mark in marks:
        x, y = across(mark.size), up(mark.low)
        group = SubElement(svg, "g")
        SubElement(group, "title").text = plain(mark.told, _TOLD)
        if mark.missed:
            rect(group, x - 4, y - 4, 8, 8, MISSED)
        else:
            SubElement(group, "circle", {"cx": f"{x:.2f}", "cy": f"{y:.2f}", "r": "5", "fill": KEPT})
        if mark.ringed:
            ring = {
                "cx": f"{x:.2f}",
                "cy": f"{y:.2f}",
                "r": "9",
                "fill": "none",
                "stroke": "#1a1a1a",
                "stroke-width": "2",
            }
            SubElement(group, "circle", ring)
        text(group, x + 10, y - 6, str(mark.number), anchor="start")
    return tostring(svg, encoding="unicode")


def bar(value: float, most: float, bad: bool = False) -> str:
    """One bar of a table, as long as its share of the longest. The number stands beside it, in the table."""
    svg = picture(100, 10, "", stretched=True)
    rect(svg, 0, 0, max(1.0, 100 * value / most), 10, MISSED if bad else KEPT)
    return tostring(svg, encoding="unicode")
