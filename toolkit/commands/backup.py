"""sealpress backup, sealpress restore"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import msgspec
import rich_click as click

from compliance.crypto import Opener
from compliance.keys import secret
from compliance.verify.statements import day_of
from toolkit.backup import BackedUp, Restored
from toolkit.backup import back_up as write_backup
from toolkit.backup import restore as restore_box
from toolkit.box import Box
from toolkit.cli import output, with_settings
from toolkit.commands.progress import progress

__all__ = ["backup", "restore"]

MAX_SALTS_DAYS = 31


@click.command()
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="A new file for it.")
@click.option(
    "--salts-days",
    type=click.IntRange(1, MAX_SALTS_DAYS),
    help="Take the salts along, for an auditor to restore within so many days.  [default: leave them out]",
)
@click.option("--dry-run", is_flag=True, help="Show what would go into the backup, and write nothing.")
@with_settings
def backup(out: Path, salts_days: int | None, dry_run: bool, settings: str | None, as_json: bool) -> None:
    """Copy the box into one file while it is in use: settings, rules, public keys, the journal, API keys.

    No private key goes in, and no bundle. Without the salts nobody can read the records of a restored box. With them an
    erasure does not reach into the file before it expires: then the journal tells of the copy, and so does each
    erasure. Keep the file apart from the auditor's key.

    Example: sealpress backup --out /media/safe/box.tar --salts-days 14
    """
    if out.exists() or not out.parent.is_dir():
        raise click.UsageError(f"{out} exists already, or its folder does not")
    box = Box.open(settings)
    total = sum(log.lstat().st_size for log in box.journal_folder.iterdir())
    with closing(box.journal), progress("copy the box", total) as bar:
        found = write_backup(box, out, salts_days, bar, dry_run=dry_run)
    value = {"file": str(out), "written": not dry_run, **msgspec.to_builtins(found)}
    output(value, as_json, _backup_text(out, found, dry_run))


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--auditor-key",
    "source",
    metavar="SOURCE",
    help="The auditor's private key, to restore the salts: a file, env:NAME, or command:PROGRAM ARGUMENT ...",
)
@click.option("--without-salts", is_flag=True, help="Restore a journal that holds, but that nobody can read.")
@click.option("--dry-run", is_flag=True, help="Check all of it, as far as restoring it would, and leave nothing.")
@with_settings
def restore(
    file: Path,
    folder: Path,
    source: str | None,
    without_salts: bool,
    dry_run: bool,
    settings: str | None,
    as_json: bool,
) -> None:
    """Make a box in the new folder DIR from a backup. The journal is verified first, and nothing is overwritten.

    Compare the fingerprint of the root with the one you know: the settings in the backup say which it is.

    Example: sealpress restore /media/safe/box.tar my-box --auditor-key /media/auditor/auditor.key
    """
    if without_salts == (source is not None):
        raise click.UsageError("give --auditor-key SOURCE, or --without-salts")
    folder = folder.absolute()
    if folder.exists() or not folder.parent.is_dir():
        raise click.UsageError(f"{folder} exists already, or the folder above it does not")
    opener = None if source is None else Opener(secret(source, "auditor-private"))
    with progress("restore the box", 2 * file.stat().st_size) as bar:
        found = restore_box(file, folder, opener, bar, dry_run=dry_run)
    value = {"box": str(folder), "restored": not dry_run, **msgspec.to_builtins(found)}
    output(value, as_json, _restore_text(folder, found, dry_run))


def _backup_text(out: Path, found: BackedUp, dry_run: bool) -> str:
    size = sum(found.members.values())
    lines = [f"{'Would write' if dry_run else 'Wrote'} {out}: {len(found.members)} files, {size} bytes."]
    if found.sha256 is not None:
        lines.append(f"SHA-256: {found.sha256}")
    lines += [f"Left out, since it lies elsewhere or is none of this box: {name}" for name in found.left_out]
    if found.expires is None:
        lines += [
            "",
            "The salts are not in it. If the disk dies, the restored journal still proves all that it proved, but no",
            "record in it can be read again, by anybody. --salts-days takes the salts along.",
        ]
    else:
        lines += [
            "",
            f"The salts are in it, for an auditor to restore until {day_of(found.expires)}. An erasure does not reach",
            "them: destroy the file when it has expired.",
        ]
    return "\n".join(lines)


def _restore_text(folder: Path, found: Restored, dry_run: bool) -> str:
    day = day_of(found.made)
    lines = [
        f"{'The backup holds; it would become' if dry_run else 'Restored'} the box {folder}, as it was on {day}.",
        f"Journal: {found.journal}, {found.records} records, verified",
        f"Root:    {found.root}",
        f"File:    {found.sha256}",
        "",
        "What was recorded after the backup is not here. Heads and receipts that were handed out later, and a witness",
        "who has seen more, show this journal as rolled back, which is true. Keep what is left of the old box.",
    ]
    if found.salts:
        lines.append("Erasures made after the backup must be made again: their salts came back with it.")
    else:
        lines.append("No record that was sealed before can be read again, by anybody.")
    lines.append(
        "No override stands, and no declaration is in force: those that were imported lie in state/declarations."
    )
    if found.bundle_key is None:
        lines.append("The key that signs bundles is not here: bring it to where the settings say.")
    else:
        lines.append("Bundles are signed with a new key from now on; those that were signed before stay trusted.")
        if not found.trusted:
            lines.append(f'Add this line to `signers` under [trust] in sealpress.toml: "{found.bundle_key}",')
    lines += ["", f"Next: cd {folder}, then `sealpress keys renew --root KEY`: nothing can be signed before."]
    return "\n".join(lines)
