"""The report as one page of HTML that needs nothing else: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import cache
from importlib.resources import files

import msgspec
from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from compliance.controls.catalogue import Lang
from compliance.report import charts, wording
from compliance.report.audit.contents import Contents
from compliance.report.audit.figures import Figure, Table
from compliance.report.audit.words import words
from compliance.report.recount import Day

__all__ = ["META", "render"]

META = "sealpress-report"
_FILTERS = ("grouped", "moment", "plain")
# so that nothing depends on colour alone
_MARKS = {"fail": "✕", "needs_person": "●", "not_measured": "○", "pass": "✓", "not_applicable": "–"}  # noqa: RUF001 - a mark that is seen


def render(contents: Contents, ending: str = "html") -> str:
    """The page. The same contents give the same text. `ending` is that of the file that it becomes."""
    figures = list(dict.fromkeys(contents.figures()))
    places = {one: place for place, one in enumerate(figures)}
    return _template().render(
        by_id={one.id: one for one in contents.controls},
        chart=_chart(contents.days, contents.inputs.lang),
        ending=ending,
        fig=lambda one: _figure(one, places[one]),
        figures=figures,
        inputs=msgspec.json.encode(contents.inputs).decode(),
        lang="zh-CN" if contents.inputs.lang == "zh" else "en",
        marks=_MARKS,
        report=contents,
        swatch=lambda refused: Markup(charts.swatch(refused)),  # noqa: S704 - made as an XML tree
        today=datetime.fromtimestamp(contents.inputs.made // 10**9, UTC).date(),
        w=words(contents.inputs.lang),
    )


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(lambda name: files("compliance.report.audit").joinpath(name).read_text("utf-8")),
    )
    environment.filters.update({name: getattr(wording, name) for name in _FILTERS})
    environment.filters["value"] = _value
    return environment.get_template("report.html.jinja")


def _figure(one: Figure, place: int) -> Markup:
    """A number that leads to its leaves. It is marked with its place among the figures, since an id is a caller's."""
    return Markup('<a class="fig" href="#n{0}"><data data-n="{0}" value="{1}">{2}</data></a>').format(
        place, repr(one.value), _value(one.value)
    )


def _value(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def _chart(days: Table, lang: Lang) -> Markup | str:
    found = [
        Day(day=date.fromisoformat(row.name), allowed=int(row.figures[0].value), refused=int(row.figures[1].value))
        for row in days.rows
        if row.name
    ]
    said = words(lang)
    spoken = charts.Words(*(said[f"chart_{name}"] for name in charts.Words._fields)) if lang != "en" else None
    return Markup(charts.calls_over_time(found, spoken)) if found else ""  # noqa: S704 - made as an XML tree
