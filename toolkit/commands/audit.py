"""sealpress audit"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import rich_click as click

from compliance.crypto import Opener
from compliance.journal.reader import Record, read
from compliance.keys import from_text, read_key
from compliance.report.errors import ReportExists
from compliance.report.evidence import collect
from compliance.state.salts import Salts
from compliance.verify.journal import genesis, verify_journal
from toolkit.cli import output, with_settings
from toolkit.disk import put
from toolkit.extras import needs
from toolkit.settings import found_settings, read_settings

__all__ = ["audit"]

_REPORT = "report.html"


@click.group()
def audit() -> None:
    """Report on what was served, for an auditor."""


@audit.command()
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder for report.html; it is made if it is not there.",
)
@click.option(
    "--auditor-key",
    type=click.Path(path_type=Path),
    help="The auditor's private key, to have every number recounted from the opened records.",
)
@with_settings
def report(out: Path, auditor_key: Path | None, settings: str | None, as_json: bool) -> None:
    """Verify the journal, then write one page that shows what was served and how to check it.

    Without the auditor's key it shows the signed counters only.

    Example: sealpress audit report --out report --auditor-key /media/safe/auditor.key
    """
    with needs("report"):
        from compliance.report.page import About, render
    path = found_settings(settings)
    box = read_settings(path)
    target = out / _REPORT
    if target.exists():
        raise ReportExists("report_exists", f"{target} exists already")
    public = from_text(box.journal.signer)
    folder = path.parent / "journal"
    opener = None if auditor_key is None else Opener(read_key(auditor_key, "auditor-private"))
    verified = verify_journal(folder, public)
    journal = genesis(folder, public)
    records = None if opener is None else _records(path.parent, journal, opener)
    evidence = collect(journal, verified, records)
    about = About(
        box=box.box.name,
        settings=f"{path.parent.name}/{path.name}",
        signer=box.journal.signer,
        version=version("sealpress"),
        made=time.time_ns(),
        exposed=_exposed(path.parent, auditor_key),
    )
    put(target, render(evidence, about).encode())
    value = {
        "report": str(target),
        "recounted": evidence.recount is not None,
        "records": evidence.records,
        "allowed": evidence.allowed,
        "refused": evidence.refused,
        "unfinished": evidence.unfinished,
        "unsealed": evidence.unsealed,
        "erased": None if evidence.recount is None else evidence.recount.erased,
        "witnessed": False,
    }
    how = "Recounted with the auditor's key" if evidence.recount else "Signed counters only, without the auditor's key"
    text = f"{how}: {evidence.allowed} calls allowed, {evidence.refused} refused.\nThe report is {target}"
    output(value, as_json, text)


def _records(box: Path, journal: str, opener: Opener) -> Iterator[Record]:
    salts = Salts(box / "state" / "salts.sqlite")
    try:
        yield from read(box / "journal", journal, opener, salts)
    finally:
        salts.close()


def _exposed(box: Path, auditor_key: Path | None) -> tuple[str, ...]:
    """Where the auditor's private key lies with the box: where init left it, or where it was given from inside."""
    found = {box.with_name(f"{box.name}-auditor") / "auditor.key", *box.glob("*/auditor.key")}
    if auditor_key is not None and auditor_key.resolve().is_relative_to(box):
        found.add(auditor_key.resolve())
    return tuple(os.path.relpath(key, box.parent) for key in sorted(found) if key.is_file())
