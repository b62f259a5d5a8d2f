"""sealpress grant revoke: the end of a usage grant, on its box, or signed by its issuer"""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any

import rich_click as click

from compliance.crypto import Signer
from compliance.disk import put
from compliance.keys import read_key
from compliance.state.grants.errors import GrantError
from compliance.state.grants.revocation import Revoked, must_end, revoked
from compliance.state.grants.terms import read
from compliance.state.signed_file import MAX_FILE
from toolkit.box import Box
from toolkit.cli import output, with_settings
from toolkit.commands.statement import read_file

__all__ = ["end_by", "revoke"]

_SHOWN = (
    "format", "id", "issuer", "holder", "box", "models", "starts", "ends", "calls", "tokens", "cpu_s", "tariff",
)  # fmt: skip


@click.command()
@click.argument("grant")
@click.option("--key", type=click.Path(path_type=Path), help="The issuer's private key: GRANT is the file it issued.")
@click.option("--out", type=click.Path(path_type=Path), help="With --key: where to write the signed revocation.")
@click.option("--dry-run", is_flag=True, help="Show what would end, and end nothing.")
@with_settings
def revoke(grant: str, key: Path | None, out: Path | None, dry_run: bool, settings: str | None, as_json: bool) -> None:
    """End a usage grant for good: on this box by its id, or, with the issuer's --key, by a signed revocation that
    `sealpress grant import` takes on the box. No call is made under it from then on, and it is not taken in again.

    Example: sealpress grant revoke 3f2a9c41d5e6b7083f2a9c41d5e6b708 --dry-run, and where the issuer's key is
    sealpress grant revoke st-mary.grant --key issuer.key --out st-mary.revocation
    """
    if (key is None) is not (out is None):
        raise click.UsageError("--key and --out go together")
    if key is None or out is None:
        _end(grant, None, settings, as_json, dry_run=dry_run)
        return
    signed = read(read_file(Path(grant), MAX_FILE, "usage_grant_malformed"))
    made = revoked(signed, time.time_ns(), Signer(read_key(key, "grant-signing")))
    if not dry_run:
        if out.exists():
            raise GrantError("usage_grant_exists", f"{out} exists already")
        put(out, made.file)
    done = "Nothing was written" if dry_run else f"Written: {out}"
    value = {**_told(made), "holder": signed.terms.holder, "out": None if dry_run else str(out)}
    output(value, as_json, f"{signed.terms.id}  {signed.terms.issuer} to {signed.terms.holder} ends.\n{done}.")


def end_by(made: Revoked, settings: str | None, as_json: bool, *, dry_run: bool) -> None:
    """End a grant of this box that its issuer revoked. Raises GrantError."""
    _end(made.revocation.grant, made, settings, as_json, dry_run=dry_run)


def _end(id_: str, made: Revoked | None, settings: str | None, as_json: bool, *, dry_run: bool) -> None:
    box = Box.open(settings)
    with closing(box.journal) as journal, closing(box.meter) as meter:
        if made is not None and made.revocation.box != journal.id:
            raise GrantError("usage_revocation_foreign", f"it is for the box {made.revocation.box}")
        found = meter.one(id_)
        if made is not None:
            must_end(made, found)
        if not dry_run and found.revoked is None:
            # on record, and under a head, first: an old file of state does not bring it back
            said = {"id": id_} if made is None else {"id": id_, "file": made.file.decode()}
            journal.counted("usage_grant_revoked", said, box.settings.box.tenant, id_, {"revoked": 1})
            journal.checkpoint()
            meter.revoke(id_, journal.now())
    terms, used = found.signed.terms, found.used
    value = {name: getattr(terms, name) for name in _SHOWN} | {"key": found.signed.key, "revoked": not dry_run}
    by = "" if made is None else " by its issuer"
    line = f"{id_}  {terms.issuer} to {terms.holder}; used {used.calls:,} calls, {used.tokens:,} tokens"
    output(value, as_json, f"{line}\n{'It would be revoked' if dry_run else 'Revoked'}{by}.")


def _told(made: Revoked) -> dict[str, Any]:
    said = made.revocation
    return {"grant": said.grant, "box": said.box, "said": said.said, "key": made.key}
