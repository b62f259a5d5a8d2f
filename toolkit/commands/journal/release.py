"""sealpress journal request, sealpress journal release"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import rich_click as click

from compliance.disk import put
from compliance.journal.release import MAX_FILE, Request, kinds, requested
from compliance.journal.release import release as release_records
from compliance.state.salts import Salts
from toolkit.box import Box
from toolkit.box_keys import auditors
from toolkit.cli import output, with_settings
from toolkit.commands.copies import auditor_key, opened, with_copy
from toolkit.reading import on_box

__all__ = ["release", "request"]


@click.command()
@click.argument("records", nargs=-1, required=True, metavar="RECORD...")
@auditor_key
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="A new file for it.")
@with_copy
@with_settings
def request(
    records: tuple[str, ...],
    source: str,
    out: Path,
    directory: Path | None,
    key: str | None,
    settings: str | None,
    as_json: bool,
) -> None:
    """Ask a box to release records, such as shard-000/17: on the auditor's copy of the journal, with the auditor's key.

    The file holds nothing of what is in the records; `sealpress journal release` on the box answers it.

    Example: sealpress journal request shard-000/17 --journal copy --auditor-key auditor.key --out request.json
    """
    _check_new(out)
    with opened(source, directory, key, (), settings) as reading:
        asked = requested(reading.walk, records)
    put(out, asked.packed())
    value = {"request": str(out), "journal": asked.journal, "auditor": asked.auditor, "records": len(asked.records)}
    output(value, as_json, f"Asked for {len(asked.records)} records. Bring {out} to the box.")


@click.command()
@click.argument("asked", nargs=-1, required=True, metavar="REQUEST | RECORD...")
@click.option(
    "--auditor-key",
    "source",
    metavar="SOURCE",
    help="Where the auditor's key is at the box: name records instead of a request. A file, env:NAME or command:...",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="A new file for what is released.")
@click.option("--dry-run", is_flag=True, help="Only show what would be released.")
@with_settings
def release(
    asked: tuple[str, ...], source: str | None, out: Path | None, dry_run: bool, settings: str | None, as_json: bool
) -> None:
    """Let an auditor read single records away from this box: those of the file REQUEST, or each RECORD by name.

    The journal tells of each record that is released. It cannot be taken back: an erasure later names it, no more.

    Example: sealpress journal release request.json --out release.json
    """
    if source is None and len(asked) > 1:
        raise click.UsageError("give one request, or --auditor-key with the names of records")
    if source is None and not Path(asked[0]).is_file():
        raise click.UsageError(f"there is no request at {asked[0]}")
    if out is None and not dry_run:
        raise click.UsageError("give --out, or --dry-run")
    if out is not None:
        _check_new(out)
    box = Box.open(settings)
    if source is None:
        with Path(asked[0]).open("rb") as file:
            wanted = Request.parsed(file.read(MAX_FILE + 1))
    else:
        with on_box(box, source) as reading:
            wanted = requested(reading.walk, asked)
    with closing(box.journal), closing(Salts(box.salts_path)) as salts:
        found = kinds(box.journal_folder, wanted)
        records = [
            {"record": one.record, "kind": found[one.record], "erased": salts.salt(one.row) is None}
            for one in wanted.records
        ]
        if out is not None and not dry_run:
            put(out, release_records(box.journal, salts, wanted, auditors(box.folder), box.settings.box.tenant))
    lines = [f"{'Would be released' if dry_run else 'Released'} to {wanted.auditor}:"]
    lines += [f"  {one['record']}, {one['kind']}{', erased' if one['erased'] else ''}" for one in records]
    value = {"auditor": wanted.auditor, "records": records, "dry_run": dry_run}
    output(value, as_json, "\n".join(lines))


def _check_new(out: Path) -> None:
    if out.exists() or not out.parent.is_dir():
        raise click.UsageError(f"{out} exists already, or its folder does not")
