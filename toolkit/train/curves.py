"""The curves of a training: its loss and its rate, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from xml.etree.ElementTree import SubElement, tostring

from compliance.report.svg import line, picture, text

__all__ = ["curves"]

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 300, 64, 24, 20, 40
_TICKS = 4
_POINTS = 600  # more would not be seen
LOSS, RATE = "#3a6ea5", "#b0b0b0"


def curves(steps: Sequence[tuple[int, float, float]]) -> str:
    """A picture (SVG) of steps, each with its number, loss and rate: the loss from zero up, the rate as a share of its
    largest behind it. Of many steps, the mean of each stretch is drawn."""
    svg = picture(_WIDTH, _HEIGHT, f"Loss and rate over {len(steps)} steps")
    points = [point for point in _thinned(steps) if isfinite(point[1])]
    most = max((loss for _, loss, _ in points), default=0.0) or 1.0
    quickest = max((rate for _, _, rate in points), default=0.0) or 1.0
    last = max((number for number, _, _ in points), default=1.0)

    def across(number: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * number / last

    def up(share: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * share

    for tick in range(_TICKS + 1):
        share = tick / _TICKS
        line(svg, _LEFT, up(share), _WIDTH - _RIGHT, up(share))
        text(svg, _LEFT - 6, up(share) + 4, f"{most * share:.3g}", anchor="end")
        text(svg, across(last * share), _HEIGHT - _BOTTOM + 16, f"{last * share:.0f}")
    text(svg, (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, f"steps; upwards: loss; grey: rate, at most {quickest:.3g}")
    for colour, drawn in (
        (RATE, [(across(number), up(rate / quickest)) for number, _, rate in points]),
        (LOSS, [(across(number), up(loss / most)) for number, loss, _ in points]),
    ):
        place = " ".join(f"{x:.2f},{y:.2f}" for x, y in drawn)
        SubElement(svg, "polyline", {"points": place, "fill": "none", "stroke": colour, "stroke-width": "1.5"})
    svg.set("xmlns", "http://www.w3.org/2000/svg")
    return tostring(svg, encoding="unicode") + "\n"


def _thinned(steps: Sequence[tuple[int, float, float]]) -> list[tuple[float, float, float]]:
    size = -(-len(steps) // _POINTS) or 1
    stretches = [steps[start : start + size] for start in range(0, len(steps), size)]
    return [
        (
            sum(number for number, _, _ in one) / len(one),
            sum(loss for _, loss, _ in one) / len(one),
            sum(rate for _, _, rate in one) / len(one),
        )
        for one in stretches
    ]
