"""sealpress audit evidence, verify"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import rich_click as click

from compliance.disk import put, refuse_unwritable
from compliance.evidence.alone import alone
from compliance.evidence.errors import EvidenceError
from compliance.evidence.make import Papers, make
from compliance.evidence.period import Bounds, bounds
from compliance.keys import from_text, read_key
from compliance.timestamps import TIMESTAMPS, kept_in, roots_of
from compliance.verify.evidence import verify_evidence
from compliance.verify.journal import verify_journal
from compliance.verify.spoken import said, value_of
from toolkit.box import Box
from toolkit.cli import output, with_settings
from toolkit.commands.copies import auditor_key, root_given
from toolkit.commands.journal.selection import Time
from toolkit.commands.progress import progress
from toolkit.commands.receipt import head_file, read_text
from toolkit.commands.reports import recounts
from toolkit.proof import MAX_FILE, NAME
from toolkit.reading import BoxReading, on_box
from toolkit.settings import Settings

__all__ = ["evidence", "evidence_of", "verifier", "verify"]


_since = partial(click.option, "--from", "since", type=Time(end=False), metavar="TIME")
_until = partial(click.option, "--to", "until", type=Time(end=True), metavar="TIME")


@click.command()
@_since(help="The first date or time, in UTC.  [default: that of the journal]")
@_until(help="Until this time, or the end of this date.  [default: now]")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file; must not exist.")
@click.option(
    "--head", "heads", type=head_file, multiple=True, help="A head that the auditor holds: proofs lead to it."
)
@click.option("--dry-run", is_flag=True, help="Say what would be in it; nothing is opened, written or put on record.")
@auditor_key
@with_settings
def evidence(
    since: int | None,
    until: int | None,
    out: Path,
    heads: tuple[Path, ...],
    dry_run: bool,
    source: str,
    settings: str | None,
    as_json: bool,
) -> None:
    """Write evidence of a period for a stranger to check: every record with its metadata opened, never a payload.

    The period is rounded out to signed heads. That it was made is on record in the journal.

    Example: sealpress audit evidence --from 2026-11-01 --to 2026-11-30 --out evidence.zip --auditor-key auditor.key
    """
    if out.exists():
        raise EvidenceError("evidence_exists", f"{out} exists already")
    refuse_unwritable(out)
    box = Box.open(settings)
    if dry_run:
        verify_journal(box.journal_folder, from_text(box.settings.journal.root))
        found = bounds(box.journal_folder, since, until)
        output({"dry_run": True, **_planned(found)}, as_json, f"It would hold {_text(found)}.")
        return
    texts = [read_text(head) for head in heads]
    with on_box(box, source) as reading:
        reading.tell("read", {"evidence": {"since": since, "until": until}})
        found = bounds(box.journal_folder, since, until)
        made = evidence_of(out, box, reading, found, texts)
    digest = _digest(out)
    value = {"evidence": str(out), "sha256": digest, **_planned(found), "counts": made}
    output(value, as_json, f"{out} holds {_text(found)}.\nIts SHA-256 is {digest}")


@click.command()
@click.argument("file", type=head_file)
@click.option("--key", metavar="KEY", help="The root's key or its fingerprint, from outside.  [default: the settings']")
@click.option("--head", type=head_file, help="A head that you hold from before, from outside the evidence.")
@click.option("--witness", type=head_file, help="The public key of a witness who co-signs the heads.")
@click.option("--tsa-root", type=head_file, help="Certificates (PEM) of authorities for time that you trust.")
@click.option("--nonce", help="A text that nobody could foresee: it chooses the records of a sample.")
@_since(help="The period that you asked for: its first date or time.")
@_until(help="Until this time, or the end of this date.")
@click.option(
    "--report",
    "reports",
    type=head_file,
    multiple=True,
    help="A report on this evidence: every number is counted again.",
)
@with_settings
def verify(
    file: Path,
    key: str | None,
    head: Path | None,
    witness: Path | None,
    tsa_root: Path | None,
    nonce: str | None,
    since: int | None,
    until: int | None,
    reports: tuple[Path, ...],
    settings: str | None,
    as_json: bool,
) -> None:
    """Check evidence with public keys only, and count every number in it again. Needs neither box nor journal.

    Example: sealpress audit verify evidence.zip --key FINGERPRINT --head kept.head --nonce "seven blue cups"
    """
    if (since is None) != (until is None):
        raise click.UsageError("--from and --to go together")
    with progress("read the leaves", file.stat().st_size) as bar:
        found = verify_evidence(
            file,
            root_given(key, settings),
            head=None if head is None else read_text(head),
            nonce=nonce,
            witness=None if witness is None else read_key(witness, "witness-verifying"),
            tsa_roots=None if tsa_root is None else roots_of([tsa_root]),
            period=None if since is None or until is None else (since, until),
            progress=bar,
        )
    counted = recounts(reports, file, found)
    value = {"ok": True, "sha256": _digest(file), **value_of(found), "reports": counted}
    output(value, as_json, "\n".join([said(found), *(f"{path}: every number holds." for path in counted)]))


@click.command()
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file; must not exist.")
@with_settings
def verifier(out: Path, settings: str | None, as_json: bool) -> None:
    """Write the verifier as one file, for an auditor who installs nothing but Python and `cryptography`.

    Its SHA-256 is the same wherever the same version of sealpress writes it.

    Example: sealpress audit verifier --out audit.pyz
    """
    if out.exists():
        raise EvidenceError("evidence_exists", f"{out} exists already")
    content = alone()
    put(out, content)
    digest = hashlib.sha256(content).hexdigest()
    text = (
        f"{out} has {len(content):,} bytes: python {out.name} evidence.zip --key FINGERPRINT\nIts SHA-256 is {digest}"
    )
    output({"verifier": str(out), "bytes": len(content), "sha256": digest}, as_json, text)


def evidence_of(out: Path, box: Box, reading: BoxReading, found: Bounds, heads: list[str]) -> dict[str, dict[str, int]]:
    """Write the evidence of a period beside what lies on the box. Returns its counts, by group and name."""
    proof = box.folder / NAME
    papers = Papers(
        policies=box.policies_folder,
        grants=tuple(kept.signed for kept in box.meter.all()),
        proof=proof.read_bytes() if proof.is_file() and proof.stat().st_size <= MAX_FILE else None,
        box=_declared(box.settings),
        overrides=box.overrides.signed(),
        declarations=box.declarations.all(),
        timestamps=kept_in(box.folder / TIMESTAMPS),
    )
    with progress("open the records", found.records) as bar:
        made = make(out, box.journal_folder, found, reading.walk.anew(), reading.source, papers, heads, bar)
    return {group: dict(counts) for group, counts in made.counts.items()}


def _declared(settings: Settings) -> dict[str, str]:
    """What the settings say of the box, and of how it protects what it records (GDPR Art. 30(1)(g)); no path or key."""
    days = settings.journal.retain_days
    said = {
        "name": settings.box.name,
        "tenant": settings.box.tenant,
        "region": settings.box.region,
        "durability": settings.journal.durability,
        "retain_days": None if days is None else str(days),
        "tls": _yes(settings.serve.tls is not None),
        "tokens": _yes(settings.serve.jwt is not None),
        "witness": _yes(settings.witness is not None),
    }
    return {name: value for name, value in said.items() if value is not None}


def _yes(said: bool) -> str:
    return "yes" if said else "no"


def _planned(found: Bounds) -> dict[str, Any]:
    return {"since": found.since, "until": found.until, "records": found.records, "log_bytes": found.log_bytes}


def _text(found: Bounds) -> str:
    since, until = (datetime.fromtimestamp(at // 10**9, UTC).isoformat(" ", "seconds") for at in found[:2])
    return f"{found.records:,} records ({found.log_bytes / 1e6:,.1f} MB), from {since} to {until}"


def _digest(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
