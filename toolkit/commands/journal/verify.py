"""sealpress journal verify, prove, verify-proof"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import rich_click as click

from compliance.disk import put
from compliance.journal.errors import NotReadable
from compliance.journal.proof import prove as proof_of
from compliance.keys import read_key
from compliance.verify.journal import NotVerified, Verified, keyring, verify_journal
from compliance.verify.leaf import Broken, shard_name
from compliance.verify.note import notes
from compliance.verify.statements import record_parsed
from toolkit.cli import output, with_settings
from toolkit.commands.copies import root_given, with_copy
from toolkit.commands.progress import progress
from toolkit.commands.receipt import described, head_file, proved_text, read_text, verified
from toolkit.settings import found_settings

__all__ = ["prove", "verify", "verify_proof"]


@click.command()
@click.option("--head", type=head_file, help="A head that was kept outside the box: up to it nothing may be missing.")
@click.option("--revocations", type=head_file, help="Revocations of the root that the box may not have.")
@click.option("--witness", type=head_file, help="The public key of a witness who co-signs the heads.")
@with_copy
@with_settings
@click.pass_context
def verify(
    context: click.Context,
    head: Path | None,
    revocations: Path | None,
    witness: Path | None,
    directory: Path | None,
    key: str | None,
    settings: str | None,
    as_json: bool,
) -> None:
    """Check that no record was altered, dropped, swapped or added. Needs no private key.

    That everything was rolled back together only a head from outside the box can tell, or a witness.

    Example: sealpress journal verify --head /media/safe/box.head
    """
    folder = _folder(directory, settings)
    try:
        with _bar(folder) as bar:
            found = verify_journal(
                folder,
                root_given(key, settings),
                head=None if head is None else read_text(head),
                revocations=() if revocations is None else _notes(revocations),
                witness=None if witness is None else read_key(witness, "witness-verifying"),
                progress=bar,
            )
    except NotVerified as error:
        failures = [{"place": place, "code": code} for place, code in error.failures]
        lines = "\n".join(f"  {place}: {code}: {error.hints[code]}" for place, code in error.failures)
        output({"ok": False, "records": error.records, "failures": failures}, as_json, f"NOT VERIFIED\n{lines}")
        context.exit(1)
    output(_value(found), as_json, _text(found))


@click.command()
@click.argument("record")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Where the proof goes; must not exist.")
@click.option("--head", type=head_file, help="Prove under this head of the shard, or joint head.  [default: the last]")
@with_copy
@with_settings
def prove(
    record: str,
    out: Path,
    head: Path | None,
    directory: Path | None,
    key: str | None,
    settings: str | None,
    as_json: bool,
) -> None:
    """Prove that RECORD, such as shard-000/17, stands in the journal, and show it sealed as it is and no other.

    Example: sealpress journal prove shard-000/17 --out proof.json
    """
    try:
        shard, sequence = record_parsed(record)
    except ValueError:
        raise NotReadable("record_unknown", f"{record!r} names no record") from None
    if out.exists():
        raise click.UsageError(f"{out} exists already: nothing is overwritten")
    folder = _folder(directory, settings)
    with _bar(folder, shard) as bar:
        ring = keyring(folder, root_given(key, settings))
        proof = proof_of(folder, ring, shard, sequence, None if head is None else read_text(head), progress=bar)
    put(out, proof)
    output({"proof": str(out), "record": record}, as_json, f"Wrote {out}, which proves {record}.")


@click.command("verify-proof")
@click.argument("file", type=head_file)
@click.option("--head", required=True, type=head_file, help="The head you hold, to which the proof must lead.")
@with_copy
@with_settings
def verify_proof(
    file: Path, head: Path, directory: Path | None, key: str | None, settings: str | None, as_json: bool
) -> None:
    """Check the proof in FILE against a head that you hold. Needs no journal.

    Example: sealpress journal verify-proof proof.json --head box.head --key ed25519:...
    """
    found = verified(file, head, directory, key, settings)
    output(described(found, head), as_json, proved_text(found, head))


def _folder(directory: Path | None, settings: str | None) -> Path:
    return directory or found_settings(settings).parent / "journal"


def _notes(path: Path) -> list[str]:
    try:
        return [note for note, _ in notes(path.resolve(), "truncated", "malformed")]
    except Broken as broken:
        raise click.UsageError(f"{path} is no file of notes: {broken.code}") from None


def _bar(folder: Path, shard: int | None = None) -> AbstractContextManager[Callable[[int], None]]:
    """How far the logs were read."""
    pattern = "shard-*.log" if shard is None else f"{shard_name(shard)}.log"
    total = sum(log.lstat().st_size for log in folder.glob(pattern))
    return progress("read the journal", total)


def _value(found: Verified) -> dict[str, Any]:
    seen = None if found.witnessed is None else dict(zip(("records", "at"), found.witnessed, strict=True))
    return {
        "ok": True,
        "journal": found.id,
        "records": found.records,
        "failures": [],
        "allowed": found.allowed,
        "refused": found.refused,
        "closed": found.closed,
        "unfinished": found.unfinished,
        "unsealed": found.unsealed,
        "gaps": found.gaps,
        "heads": {name: {"size": head.size, "at": head.at} for name, head in found.heads.items()},
        "auditors": sorted(found.auditors),
        "head": found.given,
        "witness": seen,
        "witnessed": found.given or seen is not None,
    }


def _text(found: Verified) -> str:
    lines = [
        f"Verified {found.records:,} records: {found.allowed:,} calls allowed, {found.refused:,} refused, "
        f"{found.unfinished:,} without an outcome.",
        f"{found.unsealed:,} records stand behind the last signed head.",
    ]
    if found.gaps:
        lines.append(f"{found.gaps:,} times the journal was found torn after a crash and went on.")
    lines += [f"Sealed to the auditor with the key {fingerprint}." for fingerprint in sorted(found.auditors)]
    if found.given:
        lines.append("The head you gave holds: up to it nothing was changed or removed.")
    if found.witnessed is not None:
        count, seconds = found.witnessed
        seen = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
        lines.append(f"The witness saw {count:,} of the records, at {seen}.")
    if not found.given and found.witnessed is None:
        lines.append("Unwitnessed: no head from outside this box was compared.")
    return "\n".join(lines)
