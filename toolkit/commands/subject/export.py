"""sealpress subject export"""

from __future__ import annotations

from pathlib import Path

import msgspec
import rich_click as click

from compliance.disk import staged
from compliance.journal.export import export as exported
from toolkit.box import Box
from toolkit.box_keys import day_keys
from toolkit.cli import output, with_settings
from toolkit.commands.copies import auditor_key
from toolkit.commands.duty import answered, asked_for, linked
from toolkit.reading import on_box

__all__ = ["export"]


@click.command()
@click.argument("identifier", metavar="ID")
@auditor_key
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="A new file for it.")
@click.option("--tenant", help="Whose subject it is.  [default: the tenant of the settings]")
@linked
@with_settings
def export(
    identifier: str,
    source: str,
    out: Path,
    tenant: str | None,
    request: str | None,
    settings: str | None,
    as_json: bool,
) -> None:
    """Write all that was recorded of the person ID to a file, in clear, each record with its proof (GDPR Art. 15).

    The file is for that person; it holds their consents, too, with the receipts by which the journal tells of them.
    Each `proof` in it can be checked by anybody with `sealpress journal verify-proof`, and each `key` opens the record
    that the proof shows. The journal tells of the export, without naming the person.

    Example: sealpress subject export patient-7 --auditor-key /media/safe/auditor.key --out patient-7.json
    """
    if out.exists() or not out.parent.is_dir():
        raise click.UsageError(f"{out} exists already, or its folder does not")
    box = Box.open(settings)
    duty = asked_for(box, request, ("access", "portability"))
    count = unproved = 0
    with on_box(box, source) as reading, staged(out) as file:
        rows = reading.rows_of(identifier, tenant)
        keyring = day_keys(box.folder, box.settings).keyring()
        file.write(f'{{"format":1,"journal":"{box.journal.id}","records":['.encode())
        for one in exported(box.journal_folder, reading.walk, reading.source, rows, keyring):
            file.write(b"," if count else b"")
            file.write(msgspec.json.encode(one))
            count += 1
            unproved += one.proof is None
        consents = box.consents.of(reading.source, tenant or box.settings.box.tenant, identifier)
        file.write(b'],"consents":' + msgspec.json.encode(consents) + b"}\n")
        others = sum(not located.chain for located in reading.walk)
        reading.tell("exported", {"records": count, "consents": len(consents)})
        answered(box, duty, f"exported {count} records and {len(consents)} consents")
    lines = [f"Wrote {count} records and {len(consents)} consents to {out}."]
    if unproved:
        lines.append(f"{unproved} of them have no proof yet, since no signed head covers them: export again later.")
    if others:
        lines.append(f"{others} records of the journal were not looked at: sealed to other auditors only.")
    value = {
        "export": str(out),
        "records": count,
        "consents": len(consents),
        "unproved": unproved,
        "other_auditor": others,
    }
    output(value, as_json, "\n".join(lines))
