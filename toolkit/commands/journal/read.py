"""sealpress journal read, sealpress journal query"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice, product
from pathlib import Path
from typing import Any

import msgspec
import rich_click as click

from compliance.journal.reader import Record
from compliance.journal.records import Closed, Opened
from compliance.report.wording import plain
from toolkit.cli import output, with_settings
from toolkit.commands.copies import auditor_key, opened, with_copy
from toolkit.commands.journal.selection import Filters, Selection, unread_text, with_filters
from toolkit.reading import BoxReading, Reading

__all__ = ["query", "read"]

_BY = ("model", "rule", "decision", "purpose", "action", "day")
_releases = click.option(
    "--releases",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What the box released of the copy, a file from `sealpress journal release`; may be repeated.",
)


@click.command()
@auditor_key
@with_filters
@click.option("--limit", type=click.IntRange(min=1), help="No more records than this.")
@_releases
@with_copy
@with_settings
def read(limit: int | None, as_json: bool, **asked: Any) -> None:
    """Open the records with an auditor's key, on the box or, of a copy, what the box released.

    A call that fits is shown with what belongs to it. On the box the journal tells of each read, before it is shown.

    Example: sealpress journal read --auditor-key /media/safe/auditor.key --from 2026-11-01 --decision refused
    """
    with _selected(**asked) as (reading, selection):
        # counted first, since the journal tells how many are shown, and nothing is shown that it does not tell of
        count = sum(record.unread is None for record in islice(selection, limit))
        reading.tell("read", {**selection.asked, "opened": count})
        shown = islice(selection, limit)
        if as_json:
            _print_json(shown, selection)
        else:
            for record in shown:
                click.echo(_line(record))
            for line in unread_text(selection.unread):
                click.echo(line)


@click.command()
@auditor_key
@click.option(
    "--by", multiple=True, type=click.Choice(_BY), default=["decision"], help="What calls are counted by; repeatable."
)
@with_filters
@_releases
@with_copy
@with_settings
def query(by: Sequence[str], as_json: bool, **asked: Any) -> None:
    """Count the calls that an auditor's key opens, by day, model, rule ... A call counts for each rule against it.

    On the box the journal tells of each query, before it is shown.

    Example: sealpress journal query --auditor-key /media/safe/auditor.key --by day --by rule --decision refused
    """
    by = list(dict.fromkeys(by))
    counts: Counter[tuple[str, ...]] = Counter()
    with _selected(**asked) as (reading, selection):
        count = 0
        for record in selection:
            count += record.unread is None
            if isinstance(record.metadata, Opened):
                counts.update(product(*(_names(record.metadata, one) for one in by)))
        reading.tell("read", {**selection.asked, "by": by, "opened": count})
    groups = [{**dict(zip(by, names, strict=True)), "calls": calls} for names, calls in sorted(counts.items())]
    rows = [(*by, "calls"), *((*map(plain, names), f"{calls:,}") for names, calls in sorted(counts.items()))]
    text = "\n".join([*_table(rows), *unread_text(selection.unread)])
    output({"by": by, "groups": groups, "unread": selection.unread}, as_json, text)


@contextmanager
def _selected(
    *,
    source: str,
    filters: Filters,
    subject: str | None,
    releases: tuple[Path, ...],
    directory: Path | None,
    key: str | None,
    settings: str | None,
) -> Iterator[tuple[Reading, Selection]]:
    with opened(source, directory, key, releases, settings) as reading:
        rows = None
        if subject is not None:
            if not isinstance(reading, BoxReading):
                raise click.UsageError("--subject: only the box knows which records are about a person")
            rows = reading.rows_of(subject)
        yield reading, Selection(reading, filters, rows)


def _print_json(records: Iterator[Record], selection: Selection) -> None:
    """The one JSON value, printed record by record: a journal may be larger than the memory."""
    before = '{"records":['
    for record in records:
        click.echo(before + msgspec.json.encode(record).decode(), nl=False)
        before = ","
    end = "]" if before == "," else f"{before}]"
    click.echo(f'{end},"unread":{msgspec.json.encode(selection.unread).decode()}}}')


def _names(opened: Opened, by: str) -> Sequence[str]:
    """What a call counts under."""
    call = opened.call
    match by:
        case "model":
            return [f"{opened.model.get('name', '')} ({call.model[:16]})"]
        case "rule":
            return [finding.rule for finding in opened.against] or [""]
        case "decision":
            return ["allowed" if opened.allowed else "refused"]
        case "purpose":
            return [call.purpose or ""]
        case "action":
            return [call.action]
    return [_time(call.at)[:10]]


def _line(record: Record) -> str:
    match record.metadata:
        case Opened(call=call, allowed=allowed, against=against):
            answer = "allowed" if allowed else "refused by " + ", ".join(finding.rule for finding in against)
            if call.sanitised is not None:
                answer = f"{call.sanitised.kind} ({', '.join(sorted(call.sanitised.data))}), {answer}"
            model = f"{plain(record.metadata.model.get('name', ''))} ({call.model[:16]})"
            what = f"{call.action} on {model} for {plain(call.purpose or 'no purpose')}: {answer}"
            return f"{record.record}  {_time(call.at)}  {what}"
        case Closed(at=at, outcome=outcome):
            return f"{record.record}  {_time(at)}    {'done' if outcome.ok else f'failed: {outcome.code}'}"
        case None:
            return f"{record.record}  {'erased' if record.unread == 'erased' else 'sealed to other auditors'}"
        case note:
            return f"{record.record}  {_time(note.at)}    noted: {plain(note.kind)}"


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _time(at: int) -> str:
    return datetime.fromtimestamp(at // 10**9, UTC).isoformat(timespec="seconds")
