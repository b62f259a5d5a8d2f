"""What was served, counted over the calls in one pass, with the leaves behind every count."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from compliance.evidence.model import Evidence, OpenedCall
from compliance.report.audit.figures import Figure, Row, Table, figure

__all__ = ["Served", "served"]

_LAST = 253_402_300_799 * 10**9
_BY_OUTCOME = ("allowed", "refused")
_MOST_ROWS = 40


class Served:
    """Records by what they have in common: a group, a name in it, and whether the call was allowed."""

    def __init__(self) -> None:
        self.groups: dict[str, dict[str, tuple[list[str], list[str]]]] = {}
        self.unfinished: list[str] = []
        self.failed: dict[str, list[str]] = {}

    def take(self, one: OpenedCall) -> None:
        self._add("calls", "all", one)
        self._add("days", day(one.call.at), one)
        self._add("purposes", one.call.purpose or "", one)
        self._add("actions", one.call.action, one)
        self._add("models", one.call.model, one)
        self._add("policies", one.policy, one)
        self._add("licences", one.model.get("licence", ""), one)
        for category in sorted(one.call.data | one.call.detected):
            self._add("data", category, one)
        if one.call.override is not None:
            self._add("overrides", one.call.override.name, one)
        if one.call.metered is not None:
            self._add("grants", one.call.metered.grant or "", one)
        for finding in one.against:
            self._add("rules", finding.rule, one)
        if one.allowed and one.ended is None:
            self.unfinished.append(one.record)
        if one.outcome is not None and not one.outcome.ok:
            self.failed.setdefault(one.outcome.code or "", []).append(one.record)

    def _add(self, group: str, name: str, one: OpenedCall) -> None:
        pair = self.groups.setdefault(group, {}).setdefault(name, ([], []))
        pair[0 if one.allowed else 1].append(one.record)

    def pair(self, group: str, name: str) -> tuple[Figure, Figure]:
        """Allowed and refused calls of one name."""
        allowed, refused = self.groups.get(group, {}).get(name, ([], []))
        return figure(f"{group}.{name}.allowed", allowed), figure(f"{group}.{name}.refused", refused)

    def table(self, group: str, *, ordered: bool = False) -> Table:
        """A table of a group, the most calls first, or by name. After 40 rows the rest is one."""
        rows = self.groups.get(group, {})
        # of equals the order is that of their names, so that the same evidence gives the same report
        names = sorted(rows) if ordered else sorted(rows, key=lambda name: (-sum(map(len, rows[name])), name))
        shown = names if ordered else names[:_MOST_ROWS]
        made = [Row(name=name, figures=self.pair(group, name)) for name in shown]
        if names[len(shown) :]:
            allowed = [record for name in names[len(shown) :] for record in rows[name][0]]
            refused = [record for name in names[len(shown) :] for record in rows[name][1]]
            more = (figure(f"{group}..allowed", allowed), figure(f"{group}..refused", refused))
            made.append(Row(name="…", figures=more))
        return Table(id=group, title=group, column=f"{group}_column", heads=_BY_OUTCOME, rows=tuple(made))

    def failures(self) -> Table:
        rows = tuple(
            Row(name=code, figures=(figure(f"failed.{code}", records),))
            for code, records in sorted(self.failed.items())
        )
        return Table(id="failed", title="failed", column="failed_column", heads=("calls",), rows=rows)


def served(evidence: Evidence) -> Served:
    found = Served()
    for one in evidence.calls:
        found.take(one)
    return found


def day(at: int) -> str:
    """The day of a time in ns (UTC), in ISO 8601; nothing for one that is on no calendar."""
    return datetime.fromtimestamp(at // 10**9, UTC).date().isoformat() if 0 <= at <= _LAST else ""


def tables(found: Served, groups: Iterable[str]) -> tuple[Table, ...]:
    return tuple(table for table in (found.table(group) for group in groups) if table.rows)
