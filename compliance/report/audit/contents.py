"""All that a report says, as values, in the order in which a reader needs it. Every format is made from these."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from compliance.controls.answers import Signed
from compliance.controls.catalogue import Crosswalk, Lang, Profile
from compliance.controls.result import Kind
from compliance.report.audit.duties import Reported
from compliance.report.audit.figures import Figure, Table
from compliance.report.audit.processing import Processing
from compliance.report.audit.record import Answered, Asked, Record
from compliance.report.audit.retained import Disagreement

__all__ = ["Changed", "Contents", "Control", "Event", "Fix", "Inputs", "Model", "Parent", "Previous", "Quality"]


class Previous(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the report before this one said: its time (ns), the kind of each control, its main numbers, and which models
    and policies it named, by their digests. Those of before it had a table of policies say none of the last two."""

    made: int
    kinds: dict[str, Kind]
    values: dict[str, int | float]
    models: dict[str, str] | UnsetType = UNSET
    policies: tuple[str, ...] | UnsetType = UNSET


class Inputs(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a report is made of beside the evidence. Whoever counts again takes it from the report itself.

    `made` is in ns since 1970, `answers` are as their persons signed them, `witnessed` says whether a head from outside
    was compared then.
    """

    profile: Profile
    lang: Lang
    made: Annotated[int, Meta(ge=0, le=2**62)]
    version: str
    witnessed: bool
    answers: tuple[Signed, ...] = ()
    previous: Previous | None = None


class Fix(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`what` is the case, `do` the remedy with the exact setting, `starts` when the duty applies."""

    control: str
    what: str
    do: str
    starts: date | None


class Control(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A control and its result. `said` is the sentence of the check with its numbers, which are also in `n` and `of`.

    `read` is the day on which the paragraph was read; without it the wording was not checked. `unread` are the items of
    the crosswalk that were not read in a text of their framework, left out where all were.
    """

    id: str
    law: str
    at: str
    applies: date | None
    read: date | None
    requires: str
    kind: Kind
    said: str
    n: Figure | None
    of: Figure | None
    question: str | None
    answered: Answered | None
    crosswalk: Crosswalk
    unread: tuple[str, ...] | UnsetType = UNSET


class Event(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A change of what served: a model made ready or let go, a policy put in force or refused. `at` is in ns."""

    at: int
    record: str
    kind: str
    about: str


class Parent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    digest: str
    licence: str
    relation: str


class Quality(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How near a model is to its original on a slice of what it was measured on: the number of items, the mean, and the
    bounds of its two-sided 90 % bootstrap interval."""

    slice: str
    items: Figure
    mean: Figure
    low: Figure
    high: Figure


class Model(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model that answered. Without papers it has no chain. `measured` are bytes, ms and fidelity before and after;
    `quality` is left out where the papers have no slices."""

    name: str
    version: str
    digest: str
    licence: str
    papers: bool
    parents: tuple[Parent, ...]
    steps: tuple[str, ...]
    machine: str
    answered: Figure
    measured: tuple[Figure, ...]
    quality: tuple[Quality, ...] | UnsetType = UNSET


class Changed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What differs from the report before: a control by its kind, or a number."""

    about: str
    before: str
    now: str


class Contents(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A report, format 1. `evidence` is the SHA-256 of the evidence; the period is in ns since 1970. `duties` and
    `retention` are left out where there are none, `more_events` where the time line has all. `role` is
    who runs the box for whom, as a person answered or is asked. Reports of before have neither that nor a `record`."""

    format: Literal[1] = 1
    inputs: Inputs
    box: str
    tenant: str
    journal: str
    root: str
    evidence: str
    since: int
    until: int
    records: Figure
    counts: tuple[Figure, ...]
    fixes: tuple[Fix, ...]
    calls: tuple[Figure, ...]
    days: Table
    served: tuple[Table, ...]
    timeline: tuple[Event, ...]
    controls: tuple[Control, ...]
    models: tuple[Model, ...]
    personal: tuple[Table, ...]
    processing: tuple[Processing, ...]
    acts: tuple[Figure, ...]
    licences: tuple[Table, ...]
    incidents: tuple[Table, ...]
    heads: Table
    changed: tuple[Changed, ...]
    duties: tuple[Reported, ...] | UnsetType = UNSET
    retention: tuple[Disagreement, ...] | UnsetType = UNSET
    record: Record | UnsetType = UNSET
    more_events: Figure | UnsetType = UNSET
    role: Asked | UnsetType = UNSET

    def figures(self) -> tuple[Figure, ...]:
        """Every number of the report, in its order. An id may come twice, with the same number."""
        tables = (self.days, *self.served, *self.personal, *self.licences, *self.incidents, self.heads)
        return (
            self.records,
            *self.counts,
            *self.calls,
            *(one for table in tables for row in table.rows for one in row.figures),
            *(one for control in self.controls for one in (control.n, control.of) if one is not None),
            *(one for model in self.models for one in (model.answered, *model.measured)),
            *(one.observed for one in self.processing),
            *(different.calls for one in self.processing for different in one.differences),
            *self.acts,
            *(one.told for one in self.duties or ()),
            *(one for model in self.models for part in model.quality or () for one in _of_slice(part)),
            *(one for found in self.retention or () for one in _of_laws(found)),
            *(
                one
                for table in (self.record.tables if self.record else ())
                for row in table.rows
                for one in row.figures
            ),
            *((self.more_events,) if self.more_events else ()),
        )


def _of_slice(part: Quality) -> tuple[Figure, ...]:
    return part.items, part.mean, part.low, part.high


def _of_laws(found: Disagreement) -> tuple[Figure, ...]:
    return found.least.days, found.most.days, found.calls, found.shortest, found.longest
