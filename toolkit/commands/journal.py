"""sealpress journal"""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import rich_click as click

from compliance.crypto import Opener
from compliance.journal.reader import Record, read
from compliance.journal.records import Closed, Opened
from compliance.keys import from_text, read_key
from compliance.state.salts import Salts
from compliance.verify.journal import NotVerified, genesis, verify_journal
from toolkit.cli import output, with_settings
from toolkit.settings import found_settings, read_settings

__all__ = ["journal"]


@click.group()
def journal() -> None:
    """Check and read the record of every call."""


@journal.command()
@with_settings
@click.pass_context
def verify(context: click.Context, settings: str | None, as_json: bool) -> None:
    """Check that no record was altered, dropped, swapped or added. Needs no private key.

    Example: sealpress journal verify --json
    """
    path = found_settings(settings)
    signer = from_text(read_settings(path).journal.signer)
    try:
        found = verify_journal(path.parent / "journal", signer)
    except NotVerified as error:
        failures = [{"record": failure.record, "code": failure.code} for failure in error.failures]
        lines = "\n".join(f"  {f['record']}: {f['code']}: {error.hints[f['code']]}" for f in failures)
        output({"ok": False, "records": error.records, "failures": failures}, as_json, f"NOT VERIFIED\n{lines}")
        context.exit(1)
    value: dict[str, Any] = {
        "ok": True,
        "records": found.records,
        "failures": [],
        "allowed": found.allowed,
        "refused": found.refused,
        "unfinished": found.unfinished,
        "unsealed": found.unsealed,
        "witnessed": False,
    }
    text = (
        f"Verified {found.records} records: {found.allowed} calls allowed, {found.refused} refused, "
        f"{found.unfinished} without an outcome.\n"
        f"{found.unsealed} records stand behind the last signed head.\n"
        "Unwitnessed: no head from outside this box was compared."
    )
    output(value, as_json, text)


@journal.command(name="read")
@click.option("--auditor-key", required=True, type=click.Path(path_type=Path), help="The auditor's private key.")
@with_settings
def read_records(auditor_key: Path, settings: str | None, as_json: bool) -> None:
    """Open the records with the auditor's key.

    Example: sealpress journal read --auditor-key /media/safe/auditor.key
    """
    path = found_settings(settings)
    signer = from_text(read_settings(path).journal.signer)
    opener = Opener(read_key(auditor_key, "auditor-private"))
    folder = path.parent / "journal"
    verify_journal(folder, signer)
    with closing(Salts(path.parent / "state" / "salts.sqlite")) as salts:
        records = list(read(folder, genesis(folder, signer), opener, salts))
    output({"records": msgspec.to_builtins(records)}, as_json, "\n".join(_line(record) for record in records))


def _line(record: Record) -> str:
    match record.metadata:
        case Opened(call=call, allowed=allowed, against=against):
            answer = "allowed" if allowed else "refused by " + ", ".join(finding.rule for finding in against)
            model = f"{record.metadata.model['name']} ({call.model[:16]})"
            what = f"{call.action} on {model} for {call.purpose or 'no purpose'}: {answer}"
            return f"{record.record}  {_time(call.at)}  {what}"
        case Closed(at=at, outcome=outcome):
            return f"{record.record}  {_time(at)}    {'done' if outcome.ok else 'failed: ' + str(outcome.code)}"
        case None:
            return f"{record.record}  erased"
        case note:
            return f"{record.record}  {_time(note.at)}    noted: {note.kind}"


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1e9, UTC).isoformat(timespec="seconds")
