"""sealpress grant"""

from __future__ import annotations

import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import rich_click as click
from msgspec import UNSET

from compliance.crypto import Sealer, Signer
from compliance.disk import put
from compliance.keys import fingerprint, read_key, write_key
from compliance.sealed.granted import made_key
from compliance.state.grants.errors import GrantError
from compliance.state.grants.meter import Kept
from compliance.state.grants.odrl import odrl
from compliance.state.grants.revocation import is_revocation, read_revocation
from compliance.state.grants.tariff import MAX_FILE as MAX_TARIFF
from compliance.state.grants.tariff import charged, read_tariff
from compliance.state.grants.terms import Signed, Tariffed, Terms, issued, new_id, read
from compliance.state.signed_file import MAX_FILE
from toolkit.box import Box
from toolkit.cli import output, with_settings
from toolkit.commands.revocation import end_by, revoke
from toolkit.commands.statement import merge, read_file, statement

__all__ = ["grant"]

_DAY = click.DateTime(["%Y-%m-%d"])


@click.group()
def grant() -> None:
    """Usage grants: so many calls, tokens or CPU-seconds of a model, signed by an issuer, counted on one box."""


@grant.command()
@click.argument("path", type=click.Path(path_type=Path))
@with_settings
def key(path: Path, settings: str | None, as_json: bool) -> None:
    """Make the key of an issuer at PATH, and its public half beside it, with .pub behind the name.

    Boxes take the public half: sealpress trust add KEYFILE --scope grants. Keep the other one with the issuer.

    Example: sealpress grant key issuer.key
    """
    signer, public = Signer.generate(), path.with_name(f"{path.name}.pub")
    write_key(path, "grant-signing", signer.private_bytes())
    write_key(public, "grant-verifying", signer.public)
    value = {"key": str(path), "public": str(public), "fingerprint": fingerprint(signer.public)}
    output(value, as_json, f"{path}\n{public}\nFingerprint: {value['fingerprint']}")


@grant.command()
@click.option(
    "--key", "key_file", required=True, type=click.Path(path_type=Path), help="The private key of the issuer."
)
@click.option("--issuer", required=True, help="Who issues it.")
@click.option("--holder", required=True, help="Who may use it.")
@click.option("--box", "box_id", required=True, help="On which box: `sealpress grant show` tells its identity there.")
@click.option(
    "--model", "models", required=True, multiple=True, help="NAME, NAME@VERSION, or sha256:DIGEST; * ends one."
)
@click.option("--calls", type=int, help="How many calls.  [default: no limit]")
@click.option("--tokens", type=int, help="How many tokens.  [default: no limit]")
@click.option("--cpu-seconds", type=int, help="How many seconds of processors.  [default: no limit]")
@click.option("--tariff", type=click.Path(path_type=Path), help="The tariff that the use is charged by; needs --band.")
@click.option("--band", help="Which band of the tariff.")
@click.option(
    "--sealing-key",
    type=click.Path(path_type=Path),
    help="The public key of the holder's box (`sealpress keys sealing show`): bundles can then be sealed to the grant.",
)
@click.option("--starts", type=_DAY, help="The first day, in UTC.  [default: now]")
@click.option("--ends", required=True, type=_DAY, help="The first day on which it counts no more, in UTC.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file to write.")
@click.option("--dry-run", is_flag=True, help="Print the terms, and write nothing.")
@with_settings
def issue(
    key_file: Path,
    issuer: str,
    holder: str,
    box_id: str,
    models: tuple[str, ...],
    calls: int | None,
    tokens: int | None,
    cpu_seconds: int | None,
    tariff: Path | None,
    band: str | None,
    sealing_key: Path | None,
    starts: datetime | None,
    ends: datetime,
    out: Path,
    dry_run: bool,
    settings: str | None,
    as_json: bool,
) -> None:
    """Sign a usage grant for the holder of a box. Needs no box: it is done where the issuer's key is.

    Example: sealpress grant issue --key issuer.key --issuer "Model Works" --holder "St. Mary" --box
    3f2a9c41d5e6b7083f2a9c41d5e6b708 --model "minilm*" --calls 100000 --ends 2027-01-01 --out st-mary.grant
    """
    id_ = new_id()
    terms = Terms(
        id=id_,
        issuer=issuer,
        holder=holder,
        box=box_id,
        models=models,
        starts=time.time_ns() if starts is None else _at(starts),
        ends=_at(ends),
        calls=calls,
        tokens=tokens,
        cpu_s=cpu_seconds,
        tariff=_tariffed(tariff, band),
        sealing=UNSET
        if sealing_key is None
        else made_key(id_, box_id, Sealer(read_key(sealing_key, "sealing-public"))),
    )
    signed = issued(terms, Signer(read_key(key_file, "grant-signing")))
    if not dry_run:
        if out.exists():
            raise GrantError("usage_grant_exists", f"{out} exists already")
        put(out, signed.file)
    done = "Nothing was written" if dry_run else f"Written: {out}"
    output({**_terms(signed), "out": None if dry_run else str(out)}, as_json, f"{_line(signed)}\n{done}.")


@grant.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Check it, and take nothing in.")
@with_settings
def import_(file: Path, dry_run: bool, settings: str | None, as_json: bool) -> None:
    """Take in a usage grant that an issuer made for this box, or the revocation of one that lies here. It counts from
    the next call on.

    Example: sealpress grant import st-mary.grant
    """
    content = read_file(file, MAX_FILE, "usage_grant_malformed")
    if is_revocation(content):
        end_by(read_revocation(content), settings, as_json, dry_run=dry_run)
        return
    signed = read(content)
    box = Box.open(settings)
    with closing(box.journal) as journal, closing(box.meter) as meter:
        meter.must_take(signed, journal.now(), box.trusted("grants"))
        if not dry_run:
            # on record, and under a head, before it counts: what was once imported cannot be new a second time
            journal.counted(
                "usage_grant_imported", _terms(signed), box.settings.box.tenant, signed.terms.id, _ONE_IMPORT
            )
            journal.checkpoint()
            meter.take(signed, journal.now())
    said = "It could be imported" if dry_run else "Imported"
    output({**_terms(signed), "imported": not dry_run}, as_json, f"{_line(signed)}\n{said}.")


@grant.command()
@click.argument("id", required=False)
@click.option("--odrl", "as_odrl", is_flag=True, help="Print the grant ID as an agreement in ODRL.")
@with_settings
def show(id: str | None, as_odrl: bool, settings: str | None, as_json: bool) -> None:
    """Show the identity of this box, for which an issuer makes grants, its grants, and what is left of each.

    Example: sealpress grant show --json, and for one of them sealpress grant show ID --odrl
    """
    if as_odrl and id is None:
        raise click.UsageError("--odrl is for one grant, which ID names")
    box = Box.open(settings)
    with closing(box.journal) as journal, closing(box.meter) as meter:
        found, at = (meter.all() if id is None else [meter.one(id)]), journal.now()
    if as_odrl:
        output(made := odrl(found[0].signed), True, str(made))
        return
    value = {"box": journal.id, "grants": [_kept(one, at) for one in found]}
    lines = [f"Box: {journal.id}", *(f"{one.state(at):8} {_line(one.signed)}{_left(one)}" for one in found)]
    output(value, as_json, "\n".join(lines if found else [*lines, "No usage grant was imported here."]))


grant.add_command(revoke)
grant.add_command(statement)
grant.add_command(merge)

_ONE_IMPORT = {"imported": 1}


def _tariffed(file: Path | None, band: str | None) -> Tariffed | None:
    """The band of a tariff that use is charged by. Raises GrantError: usage_grant_tariff."""
    if (file is None) is not (band is None):
        raise click.UsageError("--tariff and --band go together")
    if file is None or band is None:
        return None
    tariff, digest = read_tariff(read_file(file, MAX_TARIFF, "usage_grant_tariff"))
    agreed = Tariffed(name=tariff.name, digest=digest, band=band)
    charged(tariff, agreed, {})  # there is such a band
    return agreed


def _at(day: datetime) -> int:
    return int(day.replace(tzinfo=UTC).timestamp()) * 10**9


def _terms(signed: Signed) -> dict[str, Any]:
    terms = signed.terms
    told = {name: getattr(terms, name) for name in terms.__struct_fields__ if name != "sealing"}
    sealing = None if terms.sealing is UNSET else fingerprint(terms.sealing.public)
    return told | {"sealing": sealing, "key": signed.key}


def _kept(one: Kept, at: int) -> dict[str, Any]:
    used = {"used": one.used, "held": one.held, "revoked": one.revoked, "state": one.state(at)}
    return _terms(one.signed) | {"imported": one.imported, **used}


def _line(signed: Signed) -> str:
    terms = signed.terms
    amounts = ((terms.calls, "calls"), (terms.tokens, "tokens"), (terms.cpu_s, "CPU-seconds"))
    limits = ", ".join(f"{amount:,} {unit}" for amount, unit in amounts if amount is not None) or "no limit"
    models, ends = ", ".join(terms.models), datetime.fromtimestamp(terms.ends // 10**9, UTC).date()
    return f"{terms.id}  {terms.issuer} to {terms.holder}: {models}, {limits}, before {ends}"


def _left(one: Kept) -> str:
    used = one.used
    held = f", {one.held} held" if one.held else ""
    return f"; used {used.calls:,} calls, {used.tokens:,} tokens, {used.cpu_us / 1e6:,.1f} CPU-seconds{held}"
