"""Charts as inline SVG. What is refused is hatched as well as red, so that nothing depends on colour alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

from compliance.report.recount import Day
from compliance.report.svg import line, picture, rect, text
from compliance.report.wording import counted, day, number

__all__ = ["Words", "bar", "calls_over_time", "swatch"]

ALLOWED, REFUSED = "#3a6ea5", "#b3261e"
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 540, 180, 44, 30, 24
_MOST_BARS = 62
_BINS = (1, 7, 28, 91, 364, 3640)
_LABELS = 6
_TICKS = 4


class Words(NamedTuple):
    """What a chart says in another language than English, as templates of str.format.

    `title` takes {per}, {allowed} and {refused} as numbers, `bar` {day}, {allowed} and {refused}, `days` {n}; `day` and
    `short` take the {year}, {month} and {day} of a date, which `short` stands for below a bar.
    """

    allowed: str
    refused: str
    title: str
    bar: str
    one_day: str
    days: str
    day: str
    short: str


class _Bin(NamedTuple):
    first: date
    allowed: int
    refused: int


_ENGLISH = Words(
    allowed="allowed",
    refused="refused",
    title="Calls {per}: {allowed} allowed, {refused} refused",
    bar="{day}: {allowed} allowed, {refused} refused",
    one_day="per day",
    days="per {n} days",
    day="",
    short="",
)


def calls_over_time(days: Sequence[Day], words: Words | None = None) -> str:
    """Allowed and refused calls as stacked bars, a bar a day, or several days where there are more than 62.

    `days` are in order, and at least one; days without calls need not be among them. Without `words` it is in English.
    """
    width, bins = _binned(days)
    tall = max(b.allowed + b.refused for b in bins)
    top = _HEIGHT - _BOTTOM - _TOP
    allowed, refused = sum(b.allowed for b in bins), sum(b.refused for b in bins)
    said = words or _ENGLISH
    per_bar = said.one_day if width == 1 else said.days.format(n=width)
    svg = picture(_WIDTH, _HEIGHT, said.title.format(per=per_bar, allowed=number(allowed), refused=number(refused)))
    _hatch(svg)
    _legend(svg, said)
    for tick in _ticks(tall):
        y = _HEIGHT - _BOTTOM - top * tick / tall
        line(svg, _LEFT, y, _WIDTH, y)
        text(svg, _LEFT - 5, y + 4, number(tick), anchor="end")
    pitch = (_WIDTH - _LEFT) / max(len(bins), 7)
    gap = min(2.0, pitch / 4)
    every = -(-len(bins) // _LABELS)
    for i, each in enumerate(bins):
        x, base = _LEFT + i * pitch + gap / 2, float(_HEIGHT - _BOTTOM)
        group = SubElement(svg, "g")
        SubElement(group, "title").text = said.bar.format(
            day=_date(each.first, words), allowed=number(each.allowed), refused=number(each.refused)
        )
        for count, fill in ((each.allowed, ALLOWED), (each.refused, "url(#hatch)")):
            if count:
                # a single call among thousands must still be seen
                height = max(1.5, top * count / tall)
                base -= height
                rect(group, x, base, pitch - gap, height, fill)
        if i % every == 0:
            # kept from the edge, since a narrow page sets it larger
            middle = min(max(x + (pitch - gap) / 2, _LEFT + 14), _WIDTH - 30)
            text(
                svg, middle, _HEIGHT - 6, f"{each.first.day} {each.first:%b}" if words is None else _short(each, words)
            )
    return tostring(svg, encoding="unicode")


def per(days: Sequence[Day]) -> str:
    """What one bar stands for: per day, per 7 days."""
    return _per(_width(days))


def bar(count: int, most: int) -> str:
    """One bar of a table, as long as its share of the longest. The number stands beside it, in the table."""
    svg = picture(100, 10, "", stretched=True)
    rect(svg, 0, 0, max(1.0, 100 * count / most), 10, REFUSED)
    return tostring(svg, encoding="unicode")


def swatch(refused: bool) -> str:
    """The key to a colour, for a table that says the same in words."""
    svg = Element("svg", {"viewBox": "0 0 12 12", "width": "12", "height": "12", "aria-hidden": "true"})
    _swatch(svg, 0, 0, refused)
    return tostring(svg, encoding="unicode")


def _binned(days: Sequence[Day]) -> tuple[int, list[_Bin]]:
    """Bars of equal width from the first day to the last, and the days in each."""
    width, start = _width(days), days[0].day
    counts = [[0, 0] for _ in range((days[-1].day - start).days // width + 1)]
    for each in days:
        at = counts[(each.day - start).days // width]
        at[0] += each.allowed
        at[1] += each.refused
    return width, [_Bin(start + timedelta(days=i * width), *pair) for i, pair in enumerate(counts)]


def _width(days: Sequence[Day]) -> int:
    span = (days[-1].day - days[0].day).days + 1
    return next((width for width in _BINS if span <= width * _MOST_BARS), _BINS[-1])


def _per(width: int) -> str:
    return "per day" if width == 1 else f"per {counted(width, 'day')}"


def _ticks(tall: int) -> Iterable[int]:
    """Round numbers from zero up, at most five of them."""
    step = next(f * 10**e for e in range(20) for f in (1, 2, 5) if f * 10**e * _TICKS >= tall)
    return range(0, tall + 1, step)


def _date(value: date, words: Words | None) -> str:
    return day(value) if words is None else words.day.format(year=value.year, month=value.month, day=value.day)


def _short(each: _Bin, words: Words) -> str:
    return words.short.format(year=each.first.year, month=each.first.month, day=each.first.day)


def _legend(svg: Element, said: Words) -> None:
    for x, label, refused in ((_LEFT, said.allowed, False), (_LEFT + 90, said.refused, True)):
        _swatch(svg, x, 4, refused)
        text(svg, x + 17, 14, label, anchor="start")


def _swatch(svg: Element, x: float, y: float, refused: bool) -> None:
    rect(svg, x, y, 12, 12, REFUSED if refused else ALLOWED)
    if refused:
        for start in (0, 6):
            points = {"x1": x + start, "y1": y + 12, "x2": x + start + 6, "y2": y}
            SubElement(svg, "line", {k: f"{v:g}" for k, v in points.items()} | {"stroke": "#ffffff"})


def _hatch(svg: Element) -> None:
    size = {"width": "5", "height": "5", "patternUnits": "userSpaceOnUse", "patternTransform": "rotate(45)"}
    pattern = SubElement(SubElement(svg, "defs"), "pattern", {"id": "hatch"} | size)
    rect(pattern, 0, 0, 5, 5, REFUSED)
    SubElement(pattern, "line", {"x1": "0", "y1": "0", "x2": "0", "y2": "5", "stroke": "#ffffff"})
