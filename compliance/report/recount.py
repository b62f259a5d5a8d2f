"""Count the calls again from the opened records, and compare with what was signed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import date
from typing import Any

from msgspec import Struct

from compliance.journal.reader import Kind, Record, Unread
from compliance.journal.records import Closed, Noted, Opened
from compliance.journal.shard import OTHERS, UNREAD
from compliance.report.errors import ReportError
from compliance.report.papers import Papers, papers

__all__ = ["Day", "Missing", "Model", "Policy", "Recount", "Recounting", "Shard", "Tally", "ranked"]

_DAY = 86_400 * 10**9
_EPOCH = date(1970, 1, 1).toordinal()
_LAST_DAY = date.max.toordinal() - _EPOCH
_ANSWERS = ("infer", "scan", "measure")
_DONE = {"redact": "masked", "pseudonymise": "pseudonyms"}


class Shard(Struct, frozen=True, kw_only=True):
    """The last signed head of one shard. `root` is in base64, as it stands in the file of heads; `at` in ns.

    `allowed` and `refused` count calls, `rules` refusals by rule.
    """

    name: str
    size: int
    root: str
    at: int
    allowed: int
    refused: int
    rules: dict[str, int]


class Tally(Struct, frozen=True, kw_only=True):
    """Calls that have something in common."""

    name: str
    allowed: int
    refused: int


class Day(Struct, frozen=True, kw_only=True):
    """The calls of one day in UTC."""

    day: date
    allowed: int
    refused: int


class Model(Struct, frozen=True, kw_only=True):
    """A model that was asked for. `answered` counts the allowed calls that ran it, unlike one that pressed it."""

    digest: str
    name: str
    allowed: int
    refused: int
    answered: int
    papers: Papers | None


class Policy(Struct, frozen=True, kw_only=True):
    """A policy that decided, from the first to the last of its calls (times in ns)."""

    digest: str
    calls: int
    first: int
    last: int


class Missing(Struct, frozen=True, kw_only=True):
    """Records that cannot be read, and how many calls are among them."""

    records: int
    allowed: int
    refused: int

    @property
    def calls(self) -> int:
        return self.allowed + self.refused


class Recount(Struct, frozen=True, kw_only=True):
    """Every number that needs the auditor's key. Tallies and models come with the most calls first.

    `erased` and `elsewhere` count what cannot be read, since it was erased, or is sealed to other auditors only;
    `misdated` the calls whose time is none of a day, or lies after the head that covers them: they are in every tally
    but that of the days. `overrides` are calls under an override, by its name and who opened it; `sanitised` those from
    whose input personal data was taken, by its category and how. `unread` calls were read, but their outcome cannot be.
    """

    days: tuple[Day, ...]
    actions: tuple[Tally, ...]
    purposes: tuple[Tally, ...]
    models: tuple[Model, ...]
    data: tuple[Tally, ...]
    overrides: tuple[Tally, ...]
    sanitised: tuple[Tally, ...]
    rules: dict[str, int]
    policies: tuple[Policy, ...]
    done: int
    failed: dict[str, int]
    unfinished: int
    unread: int
    erased: Missing
    elsewhere: Missing
    misdated: int


class Recounting:
    """One pass over the opened records, of which it keeps counts only."""

    def __init__(self, shards: tuple[Shard, ...]) -> None:
        self.shards = {shard.name: shard for shard in shards}
        self.by_shard = _Calls()
        self.missing: Counter[tuple[Unread, Kind]] = Counter()
        self.missing_by_shard: Counter[tuple[str, Kind]] = Counter()
        self.rules: dict[str, Counter[str]] = {shard.name: Counter() for shard in shards}
        self.days: dict[int, list[int]] = {}
        self.misdated = 0
        self.actions, self.purposes, self.models, self.data = _Calls(), _Calls(), _Calls(), _Calls()
        self.overrides, self.sanitised = _Calls(), _Calls()
        self.names: dict[str, str] = {}
        self.answered: Counter[str] = Counter()
        self.papers: dict[str, Papers] = {}
        self.policies: dict[str, Policy] = {}
        self.open: set[str] = set()
        # a call may be closed by another process than opened it, so its outcome may be met first
        self.early: dict[str, Record] = {}
        self.unread = 0
        self.done = 0
        self.failed: Counter[str] = Counter()

    def over(self, records: Iterable[Record]) -> Recount:
        """The numbers of all records under the heads. Raises ReportError when they are not those that were signed."""
        for record in records:
            self._take(record)
        for shard in self.shards.values():
            self._compare(shard)
        return Recount(
            days=tuple(_day(day, *counts) for day, counts in sorted(self.days.items())),
            actions=self.actions.tallies(),
            purposes=self.purposes.tallies(),
            models=tuple(self._model(tally) for tally in self.models.tallies()),
            data=self.data.tallies(),
            overrides=self.overrides.tallies(),
            sanitised=self.sanitised.tallies(),
            rules=ranked(sum(self.rules.values(), Counter())),
            policies=tuple(sorted(self.policies.values(), key=lambda policy: (policy.first, policy.digest))),
            done=self.done,
            failed=ranked(self.failed),
            unfinished=len(self.open),
            unread=self.unread,
            erased=self._missing("erased"),
            elsewhere=self._missing("other_auditor"),
            misdated=self.misdated,
        )

    def _take(self, record: Record) -> None:
        name, _, sequence = record.record.rpartition("/")
        shard = self.shards.get(name)
        counts = shard is not None and int(sequence) < shard.size
        if counts and record.unread is not None:
            self.missing[record.unread, record.kind] += 1
            self.missing_by_shard[name, record.kind] += 1
        match record.metadata:
            case Opened() as opened if counts and shard is not None:
                self._opened(record.record, opened, shard)
            case Noted(kind="loaded", data=data) if counts:
                self._loaded(data)
        if record.kind == "closed":
            # an outcome behind the head still belongs to a call under it
            self._closed(record)

    def _opened(self, record: str, opened: Opened, shard: Shard) -> None:
        call, allowed = opened.call, opened.allowed
        self.by_shard.add(shard.name, allowed)
        self.actions.add(call.action, allowed)
        self.purposes.add(call.purpose or "", allowed)
        self.models.add(call.model, allowed)
        self.names[call.model] = opened.model.get("name", "")
        # a scan looks at the input of another call, with which it is counted
        found = () if call.action == "scan" else (*call.data, *(f"{one}, by a model" for one in call.detected))
        for category in found:
            self.data.add(category, allowed)
        if call.override is not None:
            self.overrides.add(f"{call.override.name} ({', '.join(sorted(call.override.approvers))})", allowed)
        if call.sanitised is not None:
            for category in call.sanitised.data:
                self.sanitised.add(f"{category} ({_DONE[call.sanitised.kind]})", allowed)
        if 0 <= call.at <= shard.at and call.at // _DAY <= _LAST_DAY:
            self.days.setdefault(call.at // _DAY, [0, 0])[0 if allowed else 1] += 1
        else:
            self.misdated += 1
        self.policies[opened.policy] = _decided(self.policies.get(opened.policy), opened.policy, call.at)
        if not allowed:
            self.rules[shard.name].update(finding.rule for finding in opened.against)
            return
        if call.action in _ANSWERS:
            self.answered[call.model] += 1
        early = self.early.pop(record, None)
        self.open.add(record)
        if early is not None:
            self._closed(early)

    def _closed(self, record: Record) -> None:
        of = record.of or ""
        if of not in self.open:
            if of.rpartition("/")[0] > record.record.rpartition("/")[0]:
                self.early[of] = record
            return
        self.open.discard(of)
        match record.metadata:
            case Closed(outcome=outcome) if outcome.ok:
                self.done += 1
            case Closed(outcome=outcome):
                self.failed[outcome.code or ""] += 1
            case _:
                self.unread += 1

    def _loaded(self, data: dict[str, Any]) -> None:
        found = papers(data)
        if found is not None:
            self.papers[found.manifest.digest] = found

    def _model(self, tally: Tally) -> Model:
        return Model(
            digest=tally.name,
            name=self.names[tally.name],
            allowed=tally.allowed,
            refused=tally.refused,
            answered=self.answered[tally.name],
            papers=self.papers.get(tally.name),
        )

    def _missing(self, why: Unread) -> Missing:
        return Missing(
            records=sum(count for (reason, _), count in self.missing.items() if reason == why),
            allowed=self.missing[why, "allowed"],
            refused=self.missing[why, "refused"],
        )

    def _compare(self, shard: Shard) -> None:
        """Raises ReportError where the records do not give what the head of the shard counts.

        Of a record that cannot be read the kind is public still, but not by what rule it was refused. Of refusals that
        a head counts without their rules, only the records know them.
        """
        seen = self.rules[shard.name]
        allowed, refused = self.by_shard.allowed[shard.name], self.by_shard.refused[shard.name]
        missing = self.missing_by_shard[shard.name, "allowed"], self.missing_by_shard[shard.name, "refused"]
        if (shard.allowed, shard.refused) != (allowed + missing[0], refused + missing[1]):
            raise ReportError(
                "report_counters",
                f"{shard.name}: signed are {shard.allowed} calls allowed and {shard.refused} refused, recounted "
                f"{allowed} and {refused}, and {missing[0]} and {missing[1]} that cannot be read",
            )
        unread = shard.rules.get(UNREAD, 0) + shard.rules.get(OTHERS, 0)
        for rule in sorted({*shard.rules, *seen} - {UNREAD, OTHERS}):
            counted = shard.rules.get(rule, 0)
            if not counted - missing[1] <= seen[rule] <= counted + unread:
                raise ReportError(
                    "report_counters",
                    f"{shard.name}: signed are {counted} refusals by {rule[:80]!r}, recounted {seen[rule]}",
                )


def ranked(counts: Counter[str]) -> dict[str, int]:
    """The most first; the order of equals is that of their names, so that the same journal gives the same page."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


class _Calls:
    """Allowed and refused calls by some text."""

    def __init__(self) -> None:
        self.allowed: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def add(self, name: str, allowed: bool) -> None:
        (self.allowed if allowed else self.refused)[name] += 1

    def tallies(self) -> tuple[Tally, ...]:
        names = ranked(self.allowed + self.refused)
        return tuple(Tally(name=name, allowed=self.allowed[name], refused=self.refused[name]) for name in names)


def _decided(policy: Policy | None, digest: str, at: int) -> Policy:
    if policy is None:
        return Policy(digest=digest, calls=1, first=at, last=at)
    return Policy(digest=digest, calls=policy.calls + 1, first=min(policy.first, at), last=max(policy.last, at))


def _day(day: int, allowed: int, refused: int) -> Day:
    return Day(day=date.fromordinal(_EPOCH + day), allowed=allowed, refused=refused)
