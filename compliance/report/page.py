"""The report as one page of HTML that needs nothing else: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from importlib.resources import files
from operator import attrgetter
from pathlib import PurePosixPath

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from msgspec import Struct

from compliance.keys import Kind, fingerprint, from_text
from compliance.report import charts, wording
from compliance.report.evidence import Evidence
from compliance.report.fixes import fix_first
from compliance.report.recount import Recount, Tally

__all__ = ["About", "render"]

# a caller may name any purpose, so that a table may have no end: what comes later is summed up in one row
_MOST_ROWS = 12
_MOST_MODELS = 8
_FILTERS = ("counted", "grouped", "megabytes", "moment", "number", "plain", "step")


class About(Struct, frozen=True, kw_only=True):
    """What the page says beside the evidence.

    `settings` is the path that the reader gives to the commands, `root` the public key of the journal's root as
    settings write it, `made` the time of making in ns, `exposed` the private keys that were found with the box.
    """

    box: str
    settings: str
    root: str
    version: str
    made: int
    exposed: tuple[tuple[Kind, str], ...] = ()


class Row(Struct, frozen=True):
    """A row of a table of calls. A quiet one is named by us, not by a caller."""

    name: str
    allowed: int
    refused: int
    quiet: bool = False


class Table(Struct, frozen=True):
    """Calls by something. Its cells are for a reader, so names are not yet made plain here."""

    title: str
    column: str
    rows: list[Row]


def render(evidence: Evidence, about: About) -> str:
    """The page. The same evidence and the same `about` give the same text."""
    recount = evidence.recount
    template = files("compliance.report").joinpath("report.html.jinja").read_text("utf-8")
    answered = () if recount is None else sorted(recount.models, key=attrgetter("answered"), reverse=True)
    models = [model for model in answered if model.answered]
    rules = evidence.rules if recount is None else recount.rules
    return (
        _environment()
        .from_string(template)
        .render(
            about=about,
            evidence=evidence,
            heads=_heads(evidence, about),
            fingerprint=fingerprint(from_text(about.root)),
            fixes=fix_first(evidence, about.exposed),
            models=models[:_MOST_MODELS],
            more_models=len(models[_MOST_MODELS:]),
            period=_period(evidence),
            policies=() if recount is None else recount.policies[-_MOST_ROWS:],
            recount=recount,
            rules=list(rules.items())[:_MOST_ROWS],
            more_rules=len(list(rules)[_MOST_ROWS:]),
            settings=shlex.quote(about.settings),
            tables=[] if recount is None else _tables(recount),
        )
    )


def _environment() -> Environment:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update({name: getattr(wording, name) for name in _FILTERS})
    environment.globals.update(
        bar=lambda count, most: Markup(charts.bar(count, most)),  # noqa: S704 - made as an XML tree
        calls_over_time=lambda days: Markup(charts.calls_over_time(days)),  # noqa: S704 - made as an XML tree
        per=charts.per,
        swatch=lambda refused: Markup(charts.swatch(refused)),  # noqa: S704 - made as an XML tree
    )
    return environment


def _period(evidence: Evidence) -> str:
    """The days of the calls; without the auditor's key they are sealed, and only the time of the heads is known."""
    if evidence.recount is not None and evidence.recount.days:
        return wording.period(evidence.recount.days[0].day, evidence.recount.days[-1].day)
    if evidence.shards:
        return f"up to {wording.moment(max(shard.at for shard in evidence.shards))}"
    return "no call yet"


def _heads(evidence: Evidence, about: About) -> str:
    """The path of the first file of heads, as `about.settings` is given."""
    if not evidence.shards:
        return ""
    return shlex.quote(str(PurePosixPath(about.settings).parent / "journal" / f"{evidence.shards[0].name}.heads"))


def _tables(recount: Recount) -> list[Table]:
    models = [Tally(name=f"{m.name} ({m.digest[:12]})", allowed=m.allowed, refused=m.refused) for m in recount.models]
    found = [
        # first, since it has to be seen
        Table("Calls under an override that two persons opened", "Override", _rows(recount.overrides, "no name")),
        Table("Calls by purpose", "Purpose", _rows(recount.purposes, "none stated")),
        Table("Calls by model", "Model", _rows(models, "no name")),
        Table("Calls by action", "Action", _rows(recount.actions, "none")),
        Table("Calls with personal data, by kind", "Found", _rows(recount.data, "no name")),
        Table("Calls from which personal data was taken out first", "Taken out", _rows(recount.sanitised, "no name")),
    ]
    return [table for table in found if table.rows]


def _rows(tallies: Sequence[Tally], unnamed: str) -> list[Row]:
    rows = [Row(tally.name or unnamed, tally.allowed, tally.refused, not tally.name) for tally in tallies[:_MOST_ROWS]]
    rest = tallies[_MOST_ROWS:]
    if rest:
        name = f"{wording.number(len(rest))} more"
        rows.append(Row(name, sum(t.allowed for t in rest), sum(t.refused for t in rest), True))
    return rows
