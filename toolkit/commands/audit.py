"""sealpress audit"""

from __future__ import annotations

import os
import time
from importlib.metadata import version
from pathlib import Path

import rich_click as click

from compliance.disk import put
from compliance.keys import Kind, from_text, kind_of, read_key
from compliance.report.errors import ReportExists
from compliance.report.evidence import Evidence, collect
from compliance.verify.journal import Verified, verify_journal
from toolkit.box import Box, exposed
from toolkit.cli import output, with_settings
from toolkit.commands.evidence import evidence, verifier, verify
from toolkit.commands.receipt import head_file, read_text
from toolkit.extras import needs
from toolkit.reading import on_box
from toolkit.settings import found_settings, read_settings

__all__ = ["audit"]

_REPORT = "report.html"


@click.group()
def audit() -> None:
    """Report on what was served, for an auditor."""


audit.add_command(evidence)
audit.add_command(verify)
audit.add_command(verifier)


@audit.command()
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder for report.html; it is made if it is not there.",
)
@click.option(
    "--auditor-key",
    "source",
    metavar="SOURCE",
    help="The auditor's private key, to have every number recounted: a file, env:NAME, or command:PROGRAM ARGUMENT ...",
)
@click.option("--head", type=head_file, help="A head that was kept outside the box: up to it nothing may be missing.")
@click.option("--witness", type=head_file, help="The public key of a witness who co-signs the heads.")
@with_settings
def report(
    out: Path, source: str | None, head: Path | None, witness: Path | None, settings: str | None, as_json: bool
) -> None:
    """Verify the journal, then write one page that shows what was served and how to check it.

    Without the auditor's key it shows the signed counters only. With it the journal tells that it was read.

    Example: sealpress audit report --out report --auditor-key /media/safe/auditor.key
    """
    with needs("report"):
        from compliance.report.page import About, render
    path = found_settings(settings)
    box = read_settings(path)
    target = out / _REPORT
    if target.exists():
        raise ReportExists("report_exists", f"{target} exists already")
    verified = verify_journal(
        path.parent / "journal",
        from_text(box.journal.root),
        head=None if head is None else read_text(head),
        witness=None if witness is None else read_key(witness, "witness-verifying"),
    )
    evidence = collect(verified, None) if source is None else _recounted(path, source, verified)
    about = About(
        box=box.box.name,
        settings=f"{path.parent.name}/{path.name}",
        root=box.journal.root,
        version=version("sealpress"),
        made=time.time_ns(),
        exposed=_exposed(path.parent, source),
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
        "erased": None if evidence.recount is None else evidence.recount.erased.records,
        "witnessed": evidence.given or evidence.witnessed is not None,
    }
    how = "Recounted with the auditor's key" if evidence.recount else "Signed counters only, without the auditor's key"
    text = f"{how}: {evidence.allowed} calls allowed, {evidence.refused} refused.\nThe report is {target}"
    output(value, as_json, text)


def _recounted(settings: Path, source: str, verified: Verified) -> Evidence:
    """The evidence with every record opened. It is on record that they were, before anybody sees what they gave."""
    with on_box(Box(settings), source, verified) as reading:
        evidence = collect(verified, (located.opened(reading.source) for located in reading.walk))
        reading.tell("read", {"report": evidence.digest})
        return evidence


def _exposed(box: Path, source: str | None) -> tuple[tuple[Kind, str], ...]:
    """The private keys that lie with the box, or were given from inside it, and where."""
    found = set(exposed(box))
    if source is not None and not source.startswith(("env:", "command:")):
        given = Path(source.removeprefix("file:")).resolve()
        if given.is_relative_to(box) and given.is_file():
            found.add(given)
    kinds = ((kind_of(path), os.path.relpath(path, box.parent)) for path in sorted(found))
    return tuple((kind, path) for kind, path in kinds if kind is not None)
