"""Charts are well-formed, carry the numbers they are made from, and stay readable at the ends of their range."""

from __future__ import annotations

import re
from datetime import date, timedelta
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from compliance.report import charts
from compliance.report.audit.words import words
from compliance.report.recount import Day

START = date(2026, 10, 1)


def days(*counts: tuple[int, int], every: int = 1) -> list[Day]:
    pairs = enumerate(counts)
    return [Day(day=START + timedelta(days=i * every), allowed=a, refused=r) for i, (a, r) in pairs]


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)  # noqa: S314 - made by the code under test


def bars(svg: ElementTree.Element) -> list[list[float]]:
    """The heights in each bar, allowed before refused."""
    return [[float(rect.attrib["height"]) for rect in group.iter("rect")] for group in svg.iter("g")]


def test_a_day_without_calls_leaves_its_place_empty() -> None:
    svg = parsed(charts.calls_over_time(days((4, 0), (0, 2), every=2)))
    assert [len(bar) for bar in bars(svg)] == [1, 0, 1]
    titles = [title.text for title in svg.iter("title")]
    assert titles == [
        "Calls per day: 4 allowed, 2 refused",
        "1 October 2026: 4 allowed, 0 refused",
        "2 October 2026: 0 allowed, 0 refused",
        "3 October 2026: 0 allowed, 2 refused",
    ]


def test_heights_are_in_proportion_and_the_smallest_is_still_seen() -> None:
    (first, second) = bars(parsed(charts.calls_over_time(days((1000, 1), (500, 0)))))
    assert first[0] == pytest.approx(2 * second[0], abs=0.02)
    assert first[1] == 1.5


def test_bars_and_labels_stay_inside() -> None:
    for count in (1, 2, 7, 31, 62, 63, 5000):
        svg = parsed(charts.calls_over_time(days(*[(9, 1)] * count)))
        left, top, width, height = map(float, svg.attrib["viewBox"].split())
        for rect in svg.findall("g/rect"):
            x, y = float(rect.attrib["x"]), float(rect.attrib["y"])
            assert left <= x <= x + float(rect.attrib["width"]) <= width
            assert top <= y <= y + float(rect.attrib["height"]) <= height
        assert 1 <= sum("Oct" in (text.text or "") or "Nov" in (text.text or "") for text in svg.iter("text")) <= 6
        assert len(bars(svg)) <= 62


@pytest.mark.parametrize(
    ("span", "text"),
    [(1, "per day"), (62, "per day"), (63, "per 7 days"), (435, "per 28 days"), (20_000, "per 364 days")],
)
def test_many_days_share_a_bar(span: int, text: str) -> None:
    ends = [Day(day=START, allowed=1, refused=0), Day(day=START + timedelta(days=span - 1), allowed=2, refused=3)]
    ends = ends[:1] if span == 1 else ends
    assert charts.per(ends) == text
    svg = parsed(charts.calls_over_time(ends))
    assert f"{sum(day.allowed for day in ends)} allowed" in next(svg.iter("title")).text  # type: ignore[operator]  # it has one
    assert len(bars(svg)) <= 62


def test_the_axis_has_round_numbers() -> None:
    for tall in (1, 4, 5, 7, 63, 999, 12_345):
        svg = parsed(charts.calls_over_time(days((tall, 0))))
        ticks = [int(t.text.replace(",", "")) for t in svg.iter("text") if t.text and t.attrib["text-anchor"] == "end"]
        assert ticks[0] == 0
        assert 2 <= len(ticks) <= 5
        assert len({b - a for a, b in pairwise(ticks)}) == 1
        assert str(ticks[1]).rstrip("0") in {"1", "2", "5"}


def test_what_is_refused_is_told_by_more_than_colour() -> None:
    svg = parsed(charts.calls_over_time(days((1, 1))))
    fills = [rect.attrib["fill"] for rect in svg.findall("g/rect")]
    assert fills == [charts.ALLOWED, "url(#hatch)"]
    assert svg.find("defs/pattern[@id='hatch']/line") is not None
    assert [text.text for text in svg.findall("text")][:2] == ["allowed", "refused"]
    assert parsed(charts.swatch(True)).find("line") is not None
    assert parsed(charts.swatch(False)).find("line") is None


def test_fonts_are_attributes_of_the_svg() -> None:
    svg = parsed(charts.calls_over_time(days((1, 1))))
    assert svg.attrib["font-size"] == "11"
    assert "sans-serif" in svg.attrib["font-family"]


def test_a_bar_is_as_long_as_its_share() -> None:
    def width(count: int) -> float:
        rect = parsed(charts.bar(count, 200)).find("rect")
        assert rect is not None
        return float(rect.attrib["width"])

    assert [width(200), width(50), width(1)] == [100.0, 25.0, 1.0]


def test_a_chart_speaks_another_language_throughout() -> None:
    said = words("zh")
    spoken = charts.Words(*(said[f"chart_{name}"] for name in charts.Words._fields))
    for every in (1, 2):
        svg = charts.calls_over_time(days(*[(9, 1)] * 63, every=every), spoken)
        shown = "".join(ElementTree.fromstring(svg).itertext())  # noqa: S314 - made by the code under test
        assert not re.search(r"[A-Za-z]", shown), shown[:200]
    (title, first) = [title.text or "" for title in parsed(charts.calls_over_time(days((4, 2)), spoken)).iter("title")]
    assert title.startswith("每日调用")
    assert first.startswith("2026年10月1日")
    assert all("放行 4" in one and "拒绝 2" in one for one in (title, first))
