"""Where two laws disagree on how long the records of a call are kept: both, by paragraph and days, and the calls.

A law that wants records kept for so many days at least stands against one that lets them be kept for fewer at most.
What each asks is data (compliance/duties/retention.toml); days that the law leaves open are those of the policy that
decided the call. Which of the two prevails is for a person to judge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date

from msgspec import Struct

from compliance.controls.catalogue import Lang
from compliance.controls.leaves import ranges
from compliance.controls.per_call import SENSITIVE, Known
from compliance.duties.retention import RETENTION, About, Retention, retentions
from compliance.evidence.model import OpenedCall
from compliance.report.audit.figures import Figure, figure

__all__ = ["Asks", "Disagreement", "Retained", "asked_of", "disagreeing"]


class Asks(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one law asks. `file` is where its days come from; `read` is the day on which its words were read, None where
    they were not checked; `yields` is what the text, or its reading, says of a conflict."""

    law: str
    at: str
    requires: str
    days: Figure
    file: str
    read: date | None
    yields: str | None


class Disagreement(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`least` asks for more days than `most` lets records be kept. `calls` are those that both are about, for these
    purposes; `shortest` and `longest` are the days for which they are kept."""

    id: str
    purposes: tuple[str, ...]
    least: Asks
    most: Asks
    calls: Figure
    shortest: Figure
    longest: Figure


class Asked(Struct, frozen=True):
    """A law that is about a call, with the days that it asks then and the file that they come from."""

    law: Retention
    days: int
    file: str


class Retained:
    """The calls of each pair of laws that disagree."""

    def __init__(self, beside: Known) -> None:
        self._beside = beside
        self._found: dict[tuple[str, int, str, int], _Between] = {}

    def take(self, one: OpenedCall) -> None:
        for least, most in disagreeing(one, self._beside):
            key = least.law.id, least.days, most.law.id, most.days
            between = self._found.setdefault(key, _Between(least, most))
            between.purposes.add(one.call.purpose or "")
            between.by_days.setdefault(one.call.retain_days, []).append(one.record)

    def told(self, lang: Lang) -> tuple[Disagreement, ...]:
        """All of them, in the order of the laws in their file."""
        order = {one.id: place for place, one in enumerate(retentions())}
        found = sorted(self._found.items(), key=lambda item: (order[item[0][0]], order[item[0][2]], item[0]))
        return tuple(_told(between, lang) for _, between in found)


class _Between:
    """The calls of two laws that disagree: their purposes, and their records by the days for which they are kept."""

    def __init__(self, least: Asked, most: Asked) -> None:
        self.least = least
        self.most = most
        self.purposes: set[str] = set()
        self.by_days: dict[int, list[str]] = {}


def disagreeing(one: OpenedCall, beside: Known) -> Iterator[tuple[Asked, Asked]]:
    """The pairs of laws that disagree on a call that was allowed to run a model for somebody."""
    if not one.allowed or one.call.action != "infer":
        return
    asked = list(asked_of(one, beside))
    for least in asked:
        for most in asked:
            if least.law.asks == "least" and most.law.asks == "most" and least.days > most.days:
                yield least, most


def asked_of(one: OpenedCall, beside: Known) -> Iterator[Asked]:
    """Every law that is about a call under the policy that decided it."""
    for law in retentions():
        if not _ABOUT[law.about](one, beside):
            continue
        own = None if law.filled is None else beside.number(one, *law.filled)
        if own is not None and (law.days is None or own > law.days):
            pack, name = law.filled or ("", "")
            yield Asked(law, own, f"policies/packs/{pack.replace('_', '-')}/pack.toml, {name}")
        elif law.days is not None:
            yield Asked(law, law.days, RETENTION)


def _told(found: _Between, lang: Lang) -> Disagreement:
    least, most = found.least, found.most
    id_ = f"retention.{least.law.id}.{least.days}.{most.law.id}.{most.days}"
    every = figure(f"{id_}.calls", [record for records in found.by_days.values() for record in records])
    shortest, longest = min(found.by_days), max(found.by_days)
    return Disagreement(
        id=id_,
        purposes=tuple(sorted(found.purposes)),
        least=_asks(least, f"{id_}.least", every, lang),
        most=_asks(most, f"{id_}.most", every, lang),
        calls=every,
        shortest=Figure(id=f"{id_}.shortest", value=shortest, leaves=ranges(found.by_days[shortest])),
        longest=Figure(id=f"{id_}.longest", value=longest, leaves=ranges(found.by_days[longest])),
    )


def _asks(asked: Asked, id_: str, calls: Figure, lang: Lang) -> Asks:
    law = asked.law
    return Asks(
        law=law.name.said(lang),
        at=law.at,
        requires=law.requires.said(lang),
        days=Figure(id=id_, value=asked.days, leaves=calls.leaves),
        file=asked.file,
        read=law.read,
        yields=None if law.yields is None else law.yields.said(lang),
    )


def _data(one: OpenedCall) -> frozenset[str]:
    return one.call.data | one.call.detected


_ABOUT: Mapping[About, Callable[[OpenedCall, Known], bool]] = {
    "high_risk": lambda one, beside: one.call.purpose in beside.named(one, "ai_act", "high_risk"),
    "health": lambda one, beside: "health" in _data(one) and beside.packed(one, "hipaa"),
    "generated": lambda one, beside: beside.task(one) == "generate" and beside.packed(one, "pipl"),
    "sensitive_cn": lambda one, beside: bool(_data(one) & SENSITIVE) and beside.packed(one, "pipl"),
    "personal": lambda one, _: bool(_data(one)) or one.call.subject is not None,
}
