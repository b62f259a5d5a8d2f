"""Make the contents of a report from evidence. The same evidence and the same inputs give the same contents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import UNSET
from msgspec.structs import replace

from compliance.controls.answered import results
from compliance.controls.answers import Answer, Signed, standing
from compliance.controls.catalogue import Control as Asked
from compliance.controls.catalogue import Lang, Text, catalogue, wordings
from compliance.controls.leaves import ranges
from compliance.controls.over_all import spanned
from compliance.controls.per_call import known
from compliance.controls.result import KINDS, Finding, Kind, Result
from compliance.evidence.model import Evidence, Told
from compliance.keys import fingerprint, from_text
from compliance.report.audit.changes import kept, since
from compliance.report.audit.contents import Contents, Control, Event, Fix, Inputs
from compliance.report.audit.duties import duties
from compliance.report.audit.figures import Figure, Row, Table, figure
from compliance.report.audit.models import models
from compliance.report.audit.processing import processing
from compliance.report.audit.quota import quota
from compliance.report.audit.record import Recorded, answered, asked_of
from compliance.report.audit.retained import Retained
from compliance.report.audit.served import Served, tables
from compliance.report.wording import plain

__all__ = ["kept", "made"]

_SETTLED: Mapping[str, Kind] = {"met": "pass", "not_met": "fail", "not_applicable": "not_applicable"}
_TIMELINE = ("loaded", "unloaded", "policy_changed", "policy_refused")
_ACTS = {
    "erased": ("erased",),
    "retained": ("retained",),
    "held": ("held",),
    "consents": ("consent_given",),
    "withdrawals": ("consent_withdrawn",),
    "exports": ("exported",),
    "reads": ("read", "released"),
}
_MOST_EVENTS = 200


def made(evidence: Evidence, inputs: Inputs) -> Contents:
    """Raises ControlError: answer_forged, where an answer does not hold."""
    evidence = replace(evidence, witnessed=inputs.witnessed)
    beside = known(evidence)
    found, recorded, retained = Served(), Recorded(beside), Retained(beside)
    for one in evidence.calls:
        for part in (found, recorded, retained):
            part.take(one)
    asked = catalogue().of(inputs.profile)
    answers = standing(inputs.answers, evidence.box.journal)
    controls = tuple(
        _control(one, result, answers, inputs.lang) for one, result in zip(asked, results(evidence, asked), strict=True)
    )
    controls = tuple(sorted(controls, key=lambda one: KINDS.index(one.kind)))
    events = _timeline(evidence)
    more = [one.record for one in events[_MOST_EVENTS:]]
    contents = Contents(
        inputs=inputs,
        box=evidence.box.declared.get("name", ""),
        tenant=evidence.box.declared.get("tenant", ""),
        journal=evidence.box.journal,
        root=fingerprint(from_text(evidence.box.root)),
        evidence=evidence.digest,
        since=evidence.period.since,
        until=evidence.period.until,
        records=Figure(id="records", value=sum(one.records for one in evidence.spans), leaves=spanned(evidence)),
        counts=tuple(_count(kind, controls) for kind in KINDS),
        fixes=tuple(_fix(one, inputs.lang) for one in controls if one.kind == "fail"),
        calls=(*found.pair("calls", "all"), figure("calls.unfinished", found.unfinished)),
        days=found.table("days", ordered=True),
        served=tables(found, ("purposes", "rules", "actions", "models", "policies", "overrides")),
        timeline=events[:_MOST_EVENTS],
        controls=controls,
        models=models(evidence, found),
        personal=tables(found, ("data",)),
        processing=processing(evidence),
        acts=tuple(
            figure(f"acts.{name}", [one.record for one in evidence.notes if one.kind in kinds])
            for name, kinds in _ACTS.items()
        ),
        licences=(*tables(found, ("licences", "grants")), *(table for table in (quota(evidence),) if table.rows)),
        incidents=tuple(table for table in (found.failures(), _unread(evidence)) if table.rows),
        heads=_heads(evidence),
        changed=(),
        duties=duties(evidence, inputs.made, inputs.lang) or UNSET,
        retention=retained.told(inputs.lang) or UNSET,
        record=recorded.told(evidence, answers, inputs.lang),
        role=asked_of("gdpr-processor", answers, inputs.lang),
        more_events=figure("timeline.more", more) if more else UNSET,
    )
    return contents if inputs.previous is None else since(contents, inputs.previous)


def _control(asked: Asked, result: Result, answers: Mapping[str, tuple[Answer, Signed]], lang: Lang) -> Control:
    found, kind = result.found, result.found.kind
    answer = answers.get(asked.id) if asked.check is None else None
    if answer is not None:
        kind = _SETTLED[answer[0].says]
    numbers = found.of > 0
    return Control(
        id=asked.id,
        law=catalogue().sources[asked.source].name.said(lang),
        at=asked.at,
        applies=asked.applies,
        read=asked.read,
        requires=asked.requires.said(lang),
        kind=kind,
        said=_said(asked, found, lang),
        n=Figure(id=f"{asked.id}.n", value=found.n, leaves=found.leaves) if numbers else None,
        of=Figure(id=f"{asked.id}.of", value=found.of, leaves=found.out_of) if numbers else None,
        question=None if asked.question is None else asked.question.said(lang),
        answered=None if answer is None else answered(*answer),
        crosswalk=asked.crosswalk,
        unread=asked.crosswalk.unread() or UNSET,
    )


def _said(asked: Asked, found: Finding, lang: Lang) -> str:
    if asked.check is None:
        return ""
    words = wordings()[asked.check]
    by: Mapping[Kind, Text] = {
        "pass": words.holds,
        "fail": words.fails,
        "needs_person": words.fails,
        "not_applicable": words.none,
        "not_measured": words.none,
    }
    return by[found.kind].said(lang).format(n=f"{found.n:,}", of=f"{found.of:,}", days=asked.days)


def _count(kind: Kind, controls: Iterable[Control]) -> Figure:
    """How many controls came out so. It stands on the leaves that each of them shows beside its own numbers."""
    return Figure(id=f"counts.{kind}", value=sum(one.kind == kind for one in controls))


def _fix(control: Control, lang: Lang) -> Fix:
    asked = catalogue().control(control.id)
    if asked.check is None:
        what, do = "" if control.answered is None else control.answered.text, control.question or ""
    else:
        what = control.said
        do = wordings()[asked.check].fix.said(lang).format(n="", of="", days=asked.days)
    return Fix(control=control.id, what=what, do=do, starts=control.applies)


def _timeline(evidence: Evidence) -> tuple[Event, ...]:
    notes = sorted((one for one in evidence.notes if one.kind in _TIMELINE), key=lambda one: (one.at, one.record))
    return tuple(Event(at=one.at, record=one.record, kind=one.kind, about=_about(one)) for one in notes)


def _about(one: Told) -> str:
    manifest = one.data.get("manifest")
    if isinstance(manifest, dict):
        return plain(f"{manifest.get('name', '')} {manifest.get('version', '')} {manifest.get('digest', '')}", 200)
    return plain(str(one.data.get("policy", one.data.get("model", one.data.get("code", "")))), 200)


def _unread(evidence: Evidence) -> Table:
    rows = tuple(
        Row(name=one.why, figures=(Figure(id=f"unread.{one.why}", value=one.records, leaves=spanned(evidence)),))
        for one in evidence.unread
    )
    return Table(id="unread", title="unread", column="unread_column", heads=("records",), rows=rows)


def _heads(evidence: Evidence) -> Table:
    rows = []
    for span in evidence.spans:
        leaves = ranges([f"{span.shard}/{span.last.size - 1}"]) if span.last.size else ()
        figures = (Figure(id=f"head.{span.shard}", value=span.last.size, leaves=leaves),)
        rows.append(Row(name=span.shard, figures=figures, note=span.last.root))
    return Table(id="heads", title="heads", column="heads_column", heads=("records",), rows=tuple(rows))
