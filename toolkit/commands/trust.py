"""sealpress trust"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import rich_click as click

from compliance.disk import put
from compliance.keys import Kind, fingerprint, from_text, kind_of, read_key, to_text
from compliance.trust import SCOPES, Scope, Trusted, all_trusted
from toolkit.cli import output, with_settings
from toolkit.settings import SettingsError, distrusting, found_settings, read_settings, trusting

__all__ = ["trust"]

# keys that are made for one thing are trusted with nothing else
_ONLY: Mapping[Kind, Scope] = {"grant-verifying": "grants", "declaration-verifying": "declarations"}
_dry_run = click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")


@click.group()
def trust() -> None:
    """Whom this box trusts, and with what: models, proofs of policies, usage grants, declarations."""


@trust.command()
@click.argument("keyfile", type=click.Path(path_type=Path))
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    help="With what; may be given more than once.  [default: models and policies, or what the key is made for]",
)
@click.option("--name", help="Who it is, for those who read the list.")
@click.option("--expires", type=click.DateTime(["%Y-%m-%d"]), help="The first day on which it counts no more, in UTC.")
@_dry_run
@with_settings
def add(
    keyfile: Path,
    scopes: tuple[Scope, ...],
    name: str | None,
    expires: datetime | None,
    dry_run: bool,
    settings: str | None,
    as_json: bool,
) -> None:
    """Accept what is signed with the key in KEYFILE (another box's keys/bundle.pub, or an issuer's public key).

    Compare the fingerprint with the signer over another channel first. A key that is listed already gets the scopes and
    the day that are given now; one that was revoked stays revoked.

    Example: sealpress trust add ../their-bundle.pub, or sealpress trust add issuer.key.pub --expires 2027-01-01
    """
    found = kind_of(keyfile)
    kind: Kind = found if found is not None and found in _ONLY else "bundle-verifying"
    key = to_text(read_key(keyfile, kind))
    usual: tuple[Scope, ...] = (_ONLY[kind],) if kind in _ONLY else ("models", "policies")
    signer = Trusted(
        key=key, scopes=tuple(dict.fromkeys(scopes)) or usual, name=name, expires=expires and expires.date()
    )
    if kind in _ONLY and signer.scopes != usual:
        raise click.UsageError(f"a key that is made for {_ONLY[kind]} is trusted with {_ONLY[kind]} alone")
    path = found_settings(settings)
    before = next((one for one in all_trusted(read_settings(path).trust.signers) if one.key == key), None)
    if before is not None and before.revoked is not None:
        raise SettingsError("settings_signer", f"{key} was revoked, and is not taken back")
    plain = signer == Trusted(key=key, scopes=("models", "policies"))
    if before != signer:
        _put(path, trusting(path.read_text("utf-8"), key if plain else signer), dry_run)
    value = {
        "signer": key,
        "fingerprint": fingerprint(from_text(key)),
        "scopes": signer.scopes,
        "expires": signer.expires,
    }
    said = "It would be trusted" if dry_run else "Trusted"
    output(value, as_json, f"{said}: {key}\nFingerprint: {value['fingerprint']}\n{_line(signer)}")


@trust.command("list")
@with_settings
def list_(settings: str | None, as_json: bool) -> None:
    """List the signers of the settings: with what they are trusted, until when, and who was revoked.

    Example: sealpress trust list --json
    """
    found = all_trusted(read_settings(found_settings(settings)).trust.signers)
    text = "\n".join(f"{fingerprint(from_text(one.key))[:16]}  {_line(one)}" for one in found)
    output({"signers": [_told(one) for one in found]}, as_json, text or "Nobody is trusted: no model runs here.")


@trust.command()
@click.argument("signer")
@with_settings
def show(signer: str, settings: str | None, as_json: bool) -> None:
    """Show one signer, named by the key or by the fingerprint, of which the first eight digits do.

    Example: sealpress trust show 5f3c9a1e
    """
    one = _found(found_settings(settings), signer)
    output(_told(one), as_json, f"{one.key}\nFingerprint: {fingerprint(from_text(one.key))}\n{_line(one)}")


@trust.command()
@click.argument("signer")
@click.option("--revoke", is_flag=True, help="Keep the line and mark it as revoked, so that nobody adds the key again.")
@_dry_run
@with_settings
def remove(signer: str, revoke: bool, dry_run: bool, settings: str | None, as_json: bool) -> None:
    """Accept nothing more of a signer, named by the key or by the fingerprint, of which the first eight digits do.

    What was signed before is not accepted any more either. A server takes it in when the settings change, and refuses
    calls to a model of this signer from then on.

    Example: sealpress trust remove 5f3c9a1e --revoke --dry-run
    """
    path = found_settings(settings)
    one = _found(path, signer)
    text = path.read_text("utf-8")
    if revoke:
        today = datetime.fromtimestamp(time.time(), UTC).date()
        gone = Trusted(key=one.key, scopes=one.scopes, name=one.name, expires=one.expires, revoked=one.revoked or today)
        _put(path, trusting(text, gone), dry_run)
    else:
        _put(path, distrusting(text, one.key), dry_run)
    said = "would be" if dry_run else "is"
    done = "revoked" if revoke else "removed"
    output({"signer": one.key, done: not dry_run}, as_json, f"{one.key} {said} {done}.")


def _put(path: Path, changed: str, dry_run: bool) -> None:
    if not dry_run:
        put(path, changed.encode())


def _found(path: Path, signer: str) -> Trusted:
    """Raises SettingsError: settings_signer."""
    for one in all_trusted(read_settings(path).trust.signers):
        digits = signer.lower()
        if signer == one.key or (len(digits) >= 8 and fingerprint(from_text(one.key)).startswith(digits)):
            return one
    raise SettingsError("settings_signer", f"{path} lists no signer {signer[:64]!r}")


def _told(one: Trusted) -> dict[str, Any]:
    return {
        "signer": one.key,
        "fingerprint": fingerprint(from_text(one.key)),
        "name": one.name,
        "scopes": one.scopes,
        "expires": one.expires,
        "revoked": one.revoked,
        "against": one.against(time.time_ns()),
    }


def _line(one: Trusted) -> str:
    def day(what: str, at: date | None) -> tuple[str, ...]:
        return () if at is None else (f"{what} {at}",)

    named = () if one.name is None else (one.name,)
    return "; ".join((*named, ", ".join(one.scopes), *day("until before", one.expires), *day("revoked", one.revoked)))
