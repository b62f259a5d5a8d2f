"""sealpress policy explain, sealpress policy simulate"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import rich_click as click

from compliance.report.wording import plain
from compliance.state.policies import archived
from policies.cedar import reloaded
from policies.cedar.ways import ways
from policies.facts import Sanitising
from policies.sanitising import undone
from toolkit.box import Box
from toolkit.cli import output, with_settings
from toolkit.commands.copies import auditor_key
from toolkit.commands.journal.selection import Filters, Selection, with_filters
from toolkit.commands.policy.check import at
from toolkit.reading import BoxReading, on_box
from toolkit.replay import Recorded, recorded

__all__ = ["explain", "simulate"]

_SHOWN = 20
_DONE: Mapping[Sanitising, str] = {"redact": "redacted", "pseudonymise": "pseudonymised"}


@click.command()
@click.argument("call", metavar="CALL")
@auditor_key
@with_settings
def explain(call: str, source: str, settings: str | None, as_json: bool) -> None:
    """Tell why CALL was refused, and what would have to change: the id of a call, or its record, as shard-000/17.

    It is decided again by the policy that was in force then, from the archive. The journal tells of the reading.

    Example: sealpress policy explain shard-000/17 --auditor-key /media/safe/auditor.key
    """
    with _reading(settings, source) as reading:
        reading.tell("read", {"explained": call[:80]})
        found = next((one for one in _calls(reading, Filters()) if call in (one.record, one.call.id)), None)
        if found is None:
            raise click.UsageError(f"the journal tells of no call {call[:80]!r} that this key opens")
        engine = reloaded(archived(reading.box.policies_folder, found.policy))
    decision = found.again(engine)
    refusing = [finding for finding in decision.findings if not finding.ok]
    sources = {rule.id: rule.source for rule in engine.rules}
    possible = [] if decision.allowed else ways(engine, found.model, found.asked)
    value = {
        "record": found.record,
        "call": found.call.id,
        "policy": found.policy,
        "allowed": found.allowed,
        "same": decision.allowed == found.allowed and {one.rule for one in refusing} == set(found.against),
        "findings": [{**_told(finding), "source": sources.get(finding.rule, "")} for finding in decision.findings],
        "obligations": decision.obligations,
        "ways": possible,
    }
    lines = [f"{found.record}: {'allowed' if found.allowed else 'refused'} under the policy {found.policy[:16]}"]
    for finding in refusing or decision.findings:
        lines.append(f"  {finding.rule}: {finding.reason}")
        lines += [f"    {sources[finding.rule]}"] if sources.get(finding.rule) else []
    lines += [f"  {one.kind}: {one.text}" for one in decision.obligations if one.text]
    if possible:
        lines += ["It would be allowed if", *(f"  {' and '.join(one.says for one in way)}" for way in possible)]
    elif not decision.allowed:
        lines.append("No change of three facts would allow it.")
    if not value["same"]:
        lines.append("Decided again it comes out otherwise, since the journal does not tell all that was known then.")
    output(value, as_json, "\n".join(plain(line, 400) for line in lines))


@click.command()
@click.argument("path")
@auditor_key
@with_filters
@with_settings
def simulate(
    path: str, source: str, filters: Filters, subject: str | None, settings: str | None, as_json: bool
) -> None:
    """Decide recorded calls by the policy at PATH, and show which of them would come out otherwise.

    PATH is what `sealpress policy check` takes. Nothing is put in force. The journal tells of the reading.

    Example: sealpress policy simulate new/sealpress.toml --auditor-key /media/safe/auditor.key --from 2026-11-01
    """
    engine = at(path, settings).engine()
    counts: Counter[str] = Counter()
    changed: list[dict[str, Any]] = []
    with _reading(settings, source) as reading:
        rows = None if subject is None else reading.rows_of(subject)
        reading.tell("read", {"simulated": engine.digest})
        for one in _calls(reading, filters, rows):
            decision = one.again(engine)
            counts["calls"] += 1
            counts["partial"] += not one.whole
            done = one.call.sanitised if one.allowed else None
            was = _outcome(one.allowed, None if done is None else done.kind)
            becomes = _outcome(decision.allowed, undone(decision, one.asked))
            if was != becomes:
                rules = [finding.rule for finding in decision.findings if not finding.ok]
                changed.append(
                    {
                        "record": one.record,
                        "action": one.call.action,
                        "model": one.model.name,
                        "purpose": one.call.purpose,
                        "was": was,
                        "becomes": becomes,
                        "rules": rules or list(one.against),
                    }
                )
    value = {"policy": engine.digest, "calls": counts["calls"], "partial": counts["partial"], "changed": changed}
    lines = [
        f"{one['record']}  {one['action']} on {one['model']} for {one['purpose'] or 'no purpose'}: {one['was']}, "
        f"would be {one['becomes']} ({', '.join(one['rules']) or 'no rule'})"
        for one in changed[:_SHOWN]
    ]
    lines += [f"... and {len(changed) - _SHOWN} more: see --json"] if len(changed) > _SHOWN else []
    lines.append(f"{len(changed)} of {counts['calls']} calls would come out otherwise.")
    if counts["partial"]:
        lines.append(f"Of {counts['partial']} calls the journal does not tell the purposes that the model is for.")
    output(value, as_json, "\n".join(plain(line, 400) for line in lines))


@contextmanager
def _reading(settings: str | None, source: str) -> Iterator[BoxReading]:
    with on_box(Box.open(settings), source) as reading:
        yield reading


def _calls(reading: BoxReading, filters: Filters, rows: frozenset[bytes] | None = None) -> Iterator[Recorded]:
    # models are told of apart from calls, so the calls are chosen among all records
    chosen = None
    if filters != Filters() or rows is not None:
        chosen = {record.record for record in Selection(reading, filters, rows)}
    for one in recorded(Selection(reading, Filters(), None)):
        if chosen is None or one.record in chosen:
            yield one


def _outcome(allowed: bool, kind: Sanitising | None) -> str:
    """The answer to a call, and what was done to its payload for it, or would be tried."""
    if kind is None:
        return "allowed" if allowed else "refused"
    return f"{'allowed once' if allowed else 'refused unless'} {_DONE[kind]}"


def _told(finding: Any) -> dict[str, Any]:
    return {"rule": finding.rule, "ok": finding.ok, "reason": finding.reason}
