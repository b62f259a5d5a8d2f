"""sealpress audit"""

from __future__ import annotations

import os
import time
from importlib.metadata import version
from pathlib import Path

import rich_click as click

from compliance.controls.answers import Signed
from compliance.controls.catalogue import Lang, Profile
from compliance.disk import put
from compliance.evidence.period import bounds
from compliance.keys import Kind, from_text, kind_of, read_key
from compliance.report.errors import ReportExists
from compliance.report.evidence import Evidence, collect
from compliance.verify.evidence import verify_evidence
from compliance.verify.journal import Verified, verify_journal
from toolkit.box import Box
from toolkit.box_keys import exposed
from toolkit.cli import output, with_settings
from toolkit.commands.answer import answer
from toolkit.commands.breach import breach
from toolkit.commands.copies import root_given
from toolkit.commands.evidence import evidence, evidence_of, verifier, verify
from toolkit.commands.receipt import head_file, read_text
from toolkit.commands.reports import ANSWERS, FORMS, Form, answers_in, write
from toolkit.extras import needs
from toolkit.reading import on_box
from toolkit.settings import found_settings, read_settings

__all__ = ["audit"]

_REPORT = "report.html"
_EVIDENCE = "evidence.zip"


@click.group()
def audit() -> None:
    """Report on what was served, for an auditor."""


audit.add_command(answer)
audit.add_command(breach)
audit.add_command(evidence)
audit.add_command(verify)
audit.add_command(verifier)


@audit.command()
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder for the report; it is made if it is not there.",
)
@click.option(
    "--profile",
    type=click.Choice(["gdpr", "ai-act", "pipl", "hipaa", "licence", "all"]),
    help="Answer the controls of these laws, from evidence.  [default: counters of the journal, no controls]",
)
@click.option("--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True, help="The language.")
@click.option(
    "--format",
    "forms",
    type=click.Choice(list(FORMS)),
    multiple=True,
    default=("html",),
    show_default=True,
    help="The format; may be given more than once.",
)
@click.option("--evidence", "file", type=head_file, help="Evidence to report on.  [default: made of this box]")
@click.option("--key", metavar="KEY", help="The root's key or its fingerprint, from outside.  [default: the settings']")
@click.option("--previous", type=head_file, help="An earlier report in JSON, to say what changed since.")
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
    out: Path,
    profile: Profile | None,
    lang: Lang,
    forms: tuple[Form, ...],
    file: Path | None,
    key: str | None,
    previous: Path | None,
    source: str | None,
    head: Path | None,
    witness: Path | None,
    settings: str | None,
    as_json: bool,
) -> None:
    """Write a report for an auditor: what was served, which controls hold, and how to check it.

    With --profile it answers the controls of a law from evidence, which is given, or made of this box with the
    auditor's key and kept beside the report. Without it, it verifies the journal and shows its counters on one page;
    the auditor's key has them recounted. That a key opened records is on record in the journal.

    Example: sealpress audit report --profile gdpr --out report --auditor-key /media/safe/auditor.key
    """
    if profile is None:
        if file is not None or key is not None or previous is not None or lang != "en" or forms != ("html",):
            raise click.UsageError("--lang, --format, --evidence, --key and --previous need a --profile")
        _counters(out, source, head, witness, settings, as_json)
        return
    if (file is None) == (source is None):
        raise click.UsageError("give either --evidence, or --auditor-key to make it of this box")
    answers: tuple[Signed, ...] = ()
    if file is None:
        file, box = out / _EVIDENCE, Box.open(settings)
        answers = answers_in(box.folder / ANSWERS)
        _collected(file, box, source or "", [] if head is None else [read_text(head)])
    found = verify_evidence(
        file,
        root_given(key, settings),
        head=None if head is None else read_text(head),
        witness=None if witness is None else read_key(witness, "witness-verifying"),
    )
    value = write(out, file, found, profile=profile, lang=lang, forms=forms, answers=answers, previous=previous)
    counts = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in value["controls"].items())
    output(value, as_json, "\n".join([f"Controls: {counts}.", *(f"The report is {path}" for path in value["reports"])]))


def _collected(file: Path, box: Box, source: str, heads: list[str]) -> None:
    """Evidence of all that is under signed heads. It is on record that it was made, before anybody sees it."""
    if file.exists():
        raise ReportExists("report_exists", f"{file} exists already")
    file.parent.mkdir(parents=True, exist_ok=True)
    with on_box(box, source) as reading:
        reading.tell("read", {"evidence": {"since": None, "until": None}})
        evidence_of(file, box, reading, bounds(box.journal_folder, None, None), heads)


def _counters(
    out: Path, source: str | None, head: Path | None, witness: Path | None, settings: str | None, as_json: bool
) -> None:
    """The page of the signed counters, recounted where there is the auditor's key."""
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
