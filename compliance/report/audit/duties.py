"""Incidents and requests of persons as the leaves tell them, with the time that the law gives for each."""

from __future__ import annotations

from datetime import date
from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from compliance.controls.catalogue import Lang
from compliance.duties.deadlines import INCIDENTS
from compliance.duties.kept import Duty, clocks
from compliance.evidence.model import Evidence, Told
from compliance.report.audit.figures import Figure, figure
from compliance.verify.errors import NotVerified

__all__ = ["Clock", "Reported", "duties"]

_KINDS = (
    "incident_opened", "incident_updated", "incident_closed",
    "request_received", "request_extended", "request_answered",
)  # fmt: skip
State = Literal["running", "over", "in_time", "late", "at_once"]


class Clock(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A deadline: `due` in ns, None where the law says at once. How it stands when the report is made is `state`, a key
    of words.toml; `left_h` are the hours left then. `read` is the day on which its words were read in a text of the
    law, left out where they were not checked."""

    source: str
    at: str
    requires: str
    due: int | None
    state: State
    left_h: int | None
    read: date | UnsetType = UNSET


class Reported(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An incident or a request as it was told last; `told` are its leaves, times are in ns."""

    id: str
    incident: bool
    kind: str
    since: int
    ended: int | None
    affected: int | None
    text: str
    reason: str | None
    told: Figure
    clocks: tuple[Clock, ...]


def duties(evidence: Evidence, made: int, lang: Lang) -> tuple[Reported, ...]:
    """Every one of the period, and those from before it, the oldest first. Raises NotVerified: evidence_metadata."""
    found: dict[str, tuple[Duty, list[str]]] = {}
    for note in sorted(evidence.told(*_KINDS), key=lambda one: one.at):
        duty = _read(note)
        found[duty.id] = duty, [*found.get(duty.id, (duty, []))[1], note.record]
    return tuple(
        _reported(duty, records, made, lang)
        for duty, records in sorted(found.values(), key=lambda one: (one[0].since, one[0].id))
    )


def _read(note: Told) -> Duty:
    try:
        return msgspec.convert(note.data, Duty)
    except msgspec.ValidationError:
        raise NotVerified.at(note.record, "evidence_metadata") from None


def _reported(duty: Duty, records: list[str], made: int, lang: Lang) -> Reported:
    return Reported(
        id=duty.id,
        incident=duty.kind in INCIDENTS,
        kind=duty.kind,
        since=duty.since,
        ended=duty.ended,
        affected=duty.affected,
        text=duty.text,
        reason=duty.reason,
        told=figure(f"duty.{duty.id}", records),
        clocks=tuple(
            Clock(
                source=one.source,
                at=one.at,
                requires=one.requires.said(lang),
                due=end,
                state=_state(end, duty.ended, made),
                left_h=(end - made) // (3600 * 10**9)
                if end is not None and duty.ended is None and end > made
                else None,
                read=one.read or UNSET,
            )
            for one, end in clocks(duty)
        ),
    )


def _state(end: int | None, ended: int | None, made: int) -> State:
    if end is None:
        return "at_once"
    if ended is not None:
        return "in_time" if ended <= end else "late"
    return "running" if made <= end else "over"
