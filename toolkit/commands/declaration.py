"""sealpress declaration"""

from __future__ import annotations

import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import rich_click as click

from compliance.crypto import Signer
from compliance.disk import put
from compliance.keys import fingerprint, read_key, write_key
from compliance.state.declarations import MAX_FILE, Declaration, DeclarationError, Signed, declared, new_id, read
from toolkit.box import Box
from toolkit.cli import output, with_settings

__all__ = ["declaration"]

_DAY = click.DateTime(["%Y-%m-%d"])
_SAID = ("domicile", "users", "revenue", "commercial")


@click.group()
def declaration() -> None:
    """What who runs a box says of itself, since licences ask: domicile, monthly users, revenue, commerce; signed."""


@declaration.command()
@click.argument("path", type=click.Path(path_type=Path))
@with_settings
def key(path: Path, settings: str | None, as_json: bool) -> None:
    """Make the key of who declares at PATH, and its public half beside it, with .pub behind the name.

    The box takes the public half: sealpress trust add KEYFILE --scope declarations. Keep the other one off the box.

    Example: sealpress declaration key legal.key
    """
    signer, public = Signer.generate(), path.with_name(f"{path.name}.pub")
    write_key(path, "declaration-signing", signer.private_bytes())
    write_key(public, "declaration-verifying", signer.public)
    value = {"key": str(path), "public": str(public), "fingerprint": fingerprint(signer.public)}
    output(value, as_json, f"{path}\n{public}\nFingerprint: {value['fingerprint']}")


@declaration.command()
@click.option(
    "--key", "key_file", required=True, type=click.Path(path_type=Path), help="The private key of who declares."
)
@click.option("--by", required=True, help="Who declares: the name of the firm or hospital.")
@click.option(
    "--box", "box_id", required=True, help="For which box: `sealpress declaration show` tells its identity there."
)
@click.option("--domicile", help="The country of domicile or principal place of business, as ISO 3166-1: DE, GB.")
@click.option("--users", type=int, help="Monthly users of all products and services, affiliates included.")
@click.option("--revenue", type=int, help="Yearly revenue in US dollars, affiliates included.")
@click.option("--commercial/--no-commercial", default=None, help="Whether models are used for commerce.")
@click.option("--starts", type=_DAY, help="The first day, in UTC.  [default: now]")
@click.option(
    "--ends", required=True, type=_DAY, help="The first day on which it counts no more, in UTC; within 366 days."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file to write.")
@click.option("--dry-run", is_flag=True, help="Print what would be signed, and write nothing.")
@with_settings
def sign(
    key_file: Path,
    by: str,
    box_id: str,
    domicile: str | None,
    users: int | None,
    revenue: int | None,
    commercial: bool | None,
    starts: datetime | None,
    ends: datetime,
    out: Path,
    dry_run: bool,
    settings: str | None,
    as_json: bool,
) -> None:
    """Sign a declaration for a box. Needs no box: it is done where the key is, by who may speak for the firm.

    Example: sealpress declaration sign --key legal.key --by "St. Mary" --box 3f2a9c41d5e6b7083f2a9c41d5e6b708
    --domicile DE --users 4000 --revenue 90000000 --ends 2027-06-01 --out st-mary.declaration
    """
    now = time.time_ns()
    terms = Declaration(
        id=new_id(),
        box=box_id,
        by=by,
        made=now,
        starts=now if starts is None else _at(starts),
        ends=_at(ends),
        domicile=domicile,
        users=users,
        revenue=revenue,
        commercial=commercial,
    )
    signed = declared(terms, Signer(read_key(key_file, "declaration-signing")))
    if not dry_run:
        if out.exists():
            raise DeclarationError("declaration_exists", f"{out} exists already")
        put(out, signed.file)
    done = "Nothing was written" if dry_run else f"Written: {out}"
    output({**_told(signed), "out": None if dry_run else str(out)}, as_json, f"{_line(signed)}\n{done}.")


@declaration.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Check it, and take nothing in.")
@with_settings
def import_(file: Path, dry_run: bool, settings: str | None, as_json: bool) -> None:
    """Put a declaration in force on this box, in the place of the one before, from the next call on; it is on record.

    Example: sealpress declaration import st-mary.declaration
    """
    signed = read(_bytes_of(file))
    box = Box.open(settings)
    with closing(box.journal) as journal:
        box.declarations.must_take(signed, journal.now(), box.trusted("declarations"))
        if not dry_run:
            # on record before it counts
            journal.record("declaration_imported", _told(signed), box.settings.box.tenant)
            box.declarations.take(signed)
    said = "It could be imported" if dry_run else "In force"
    output({**_told(signed), "imported": not dry_run}, as_json, f"{_line(signed)}\n{said}.")


@declaration.command()
@with_settings
def show(settings: str | None, as_json: bool) -> None:
    """Show the identity of this box, for which declarations are signed, the one in force, and whether it counts.

    Example: sealpress declaration show --json
    """
    box = Box.open(settings)
    with closing(box.journal) as journal:
        found = box.declarations.now()
        said = box.declarations.standing(journal.now(), box.trusted("declarations"))
    state = "none" if said is None else said.state
    value = {"box": journal.id, "state": state, "declaration": None if found is None else _told(found)}
    line = "No declaration was imported here." if found is None else f"{state:8} {_line(found)}"
    output(value, as_json, f"Box: {journal.id}\n{line}")


def _bytes_of(file: Path) -> bytes:
    """What is in a file, and one byte more than may be, so that it is refused. Raises DeclarationError."""
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_FILE + 1)
    except OSError as error:
        raise DeclarationError("declaration_malformed", f"{file} cannot be read: {error.strerror}") from None


def _at(day: datetime) -> int:
    return int(day.replace(tzinfo=UTC).timestamp()) * 10**9


def _told(signed: Signed) -> dict[str, Any]:
    terms = signed.terms
    return {name: getattr(terms, name) for name in terms.__struct_fields__} | {"key": signed.key}


def _line(signed: Signed) -> str:
    terms = signed.terms
    said = ", ".join(f"{name} {value}" for name in _SAID if (value := getattr(terms, name)) is not None)
    return f"{terms.id}  {terms.by}: {said}, before {datetime.fromtimestamp(terms.ends // 10**9, UTC).date()}"
