"""What the record of processing (GDPR Art. 30) holds beside its purposes: for whom, to whom, where, how long, how safe.

Declared is what the settings said when the evidence was made, and nothing proves it. Observed are counts over the calls
that were allowed to run a model for somebody, each with its leaves. What neither tells is a question to a named person,
one control of the catalogue each, and stands here with the answer, or without one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

from compliance.controls.answers import Answer, Signed
from compliance.controls.catalogue import Lang, catalogue
from compliance.controls.per_call import Known
from compliance.evidence.model import Evidence, OpenedCall
from compliance.keys import fingerprint, from_text
from compliance.report.audit.figures import Row, Table, figure

__all__ = ["Answered", "Asked", "Record", "Recorded", "answered", "asked_of"]

# the questions that a record asks, in the order of the article
_QUESTIONS = (
    "gdpr-record-who", "gdpr-record-persons", "gdpr-record-recipients", "gdpr-record-transfers",
    "gdpr-record-measures", "gdpr-record-processor",
)  # fmt: skip
_MOST_ROWS = 40


class Answered(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person said, and with the key of which fingerprint they signed it."""

    says: str
    text: str
    name: str
    role: str
    at: int
    key: str


class Asked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A question that no leaf answers, with the id of the control under which a person does."""

    control: str
    at: str
    question: str
    answered: Answered | None


class Record(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`declared` is what the settings say, by name; the tables are what was observed."""

    declared: dict[str, str]
    tables: tuple[Table, ...]
    asked: tuple[Asked, ...]


class Recorded:
    """The calls by tenant, recipient, transfer, days kept, and by the measures that protected them."""

    def __init__(self, beside: Known) -> None:
        self._beside = beside
        self._groups: dict[str, dict[str, list[str]]] = {}
        self._held: dict[str, tuple[list[str], list[str]]] = {name: ([], []) for name in _MEASURES}

    def take(self, one: OpenedCall) -> None:
        for name, measure in _MEASURES.items():
            held = measure(one)
            if held is not None:
                shown, every = self._held[name]
                every.append(one.record)
                if held:
                    shown.append(one.record)
        if not one.allowed or one.call.action != "infer":
            return
        call, purpose = one.call, self._beside.purpose(one)
        self._add("tenants", call.tenant, one)
        for recipient in () if purpose is None else purpose.recipients:
            self._add("recipients", recipient, one)
        if call.region and call.host and call.region != call.host:
            self._add("transfers", f"{call.region} → {call.host}", one)
        self._add("kept", f"{call.retain_days:>6}", one)

    def told(self, evidence: Evidence, answers: Mapping[str, tuple[Answer, Signed]], lang: Lang) -> Record:
        """The record, with a person's answers by the control that they are about."""
        return Record(
            declared=dict(sorted(evidence.box.declared.items())),
            tables=(*(self._table(name) for name in ("tenants", "recipients", "transfers", "kept")), self._measures()),
            asked=tuple(asked_of(id_, answers, lang) for id_ in _QUESTIONS),
        )

    def _add(self, group: str, name: str, one: OpenedCall) -> None:
        self._groups.setdefault(group, {}).setdefault(name, []).append(one.record)

    def _table(self, group: str) -> Table:
        """By name; after 40 rows the rest is one."""
        found = sorted(self._groups.get(group, {}).items())
        rest = [record for _, records in found[_MOST_ROWS:] for record in records]
        rows = [(name.strip(), records) for name, records in found[:_MOST_ROWS]] + ([("…", rest)] if rest else [])
        return Table(
            id=f"record_{group}",
            title=f"record_{group}",
            column=f"record_{group}_column",
            heads=("calls",),
            rows=tuple(Row(name=name, figures=(figure(f"record.{group}.{name}", records),)) for name, records in rows),
        )

    def _measures(self) -> Table:
        rows = tuple(
            Row(
                name=name,
                figures=(figure(f"record.measure.{name}.shown", shown), figure(f"record.measure.{name}.of", every)),
            )
            for name, (shown, every) in self._held.items()
        )
        return Table(
            id="record_measures",
            title="record_measures",
            column="record_measures_column",
            heads=("record_shown", "record_of"),
            rows=rows,
        )


def asked_of(control: str, answers: Mapping[str, tuple[Answer, Signed]], lang: Lang) -> Asked:
    """The question of a control with the answer that stands, if there is one."""
    one = catalogue().control(control)
    return Asked(
        control=one.id,
        at=one.at,
        question="" if one.question is None else one.question.said(lang),
        answered=answered(*answers[one.id]) if one.id in answers else None,
    )


def answered(answer: Answer, one: Signed) -> Answered:
    return Answered(
        says=answer.says,
        text=answer.text,
        name=answer.name,
        role=answer.role,
        at=answer.at,
        key=fingerprint(from_text(one.key)),
    )


def _if(asked: bool, held: bool) -> bool | None:
    return held if asked else None


# whether a measure protected a call, None where it is not about it (GDPR Art. 32(1))
_MEASURES: Mapping[str, Callable[[OpenedCall], bool | None]] = {
    "measure_asked": lambda one: bool(one.rules or one.against),
    "measure_sealed": lambda one: one.call.sealed,
    "measure_signed": lambda one: _if(one.allowed, one.call.signer is not None),
    "measure_pseudonym": lambda one: _if(one.allowed and one.call.subject is not None, True),
    "measure_taken_out": lambda one: _if(
        one.allowed and bool(one.call.data | one.call.detected | _taken_out(one)), bool(_taken_out(one))
    ),
    "measure_override": lambda one: _if(
        one.allowed and one.call.override is not None,
        one.call.override is not None and len(one.call.override.approvers) > 1,
    ),
}


def _taken_out(one: OpenedCall) -> frozenset[str]:
    return frozenset() if one.call.sanitised is None else one.call.sanitised.data
