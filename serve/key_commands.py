"""sealpress key"""

from __future__ import annotations

import re
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import rich_click as click
from msgspec import structs

from compliance.state.api_key_table import MOST_TOKENS, ApiKey, Defaults, Terms
from compliance.state.api_keys import ApiKeys, Listed
from policies.facts import Basis
from serve.tls import certificate_of
from toolkit.cli import output, with_settings
from toolkit.settings import Settings, found_settings, read_settings

__all__ = ["key"]

SOON = 14 * 86_400 * 10**9  # before a key expires, in nanoseconds
_NS = {"s": 10**9, "m": 60 * 10**9, "h": 3_600 * 10**9, "d": 86_400 * 10**9}

_expires = click.option("--expires", metavar="TIME", help="When: in 90d, 12h, 30m or 45s, or a date or time in UTC.")
_certificate = click.option(
    "--certificate",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Bind the key to this client certificate, in PEM or DER.",
)


@click.group()
def key() -> None:
    """The API keys of this box: who may ask its server, and for what."""


@key.command()
@click.option("--name", help="What it is for, to tell keys apart.")
@click.option("--purpose", help="The purpose of calls that name none: one that the settings declare.")
@click.option("--basis", type=click.Choice(get_args(Basis)), help="The legal basis of calls that name none.")
@click.option("--region", help="Where the data belongs of calls that do not say.")
@click.option("--subject", help="The data subject of calls that name none.")
@click.option("--consent", help="The receipt of the consent of calls that name none.")
@click.option("--allow-model", multiple=True, metavar="NAME[@VERSION]", help="Only this model; a * ends either.")
@click.option("--allow-purpose", multiple=True, metavar="PURPOSE", help="Only this purpose; can be given again.")
@click.option("--allow-region", multiple=True, metavar="REGION", help="Only data of this region; can be given again.")
@click.option("--tenant", help="Whose calls these are.  [default: the tenant of the settings]")
@click.option("--admin", is_flag=True, help="It may load and unload models.")
@click.option("--rate", type=click.FloatRange(0, 1e6, min_open=True), help="Calls a second in the long run.")
@click.option("--burst", type=click.IntRange(1, 10**6), help="Calls at once.")
@click.option("--concurrent", type=click.IntRange(1, 10**6), help="Calls that run at the same time.")
@click.option(
    "--tokens-per-minute", type=click.IntRange(1, MOST_TOKENS), help="Tokens of prompts and answers in a minute."
)
@click.option("--tokens-per-day", type=click.IntRange(1, MOST_TOKENS), help="The same in a day of UTC.")
@click.option("--calls", type=click.IntRange(1, 2**62), help="Calls in all, after which the policy refuses.")
@_expires
@_certificate
@with_settings
def create(
    name: str | None,
    allow_model: tuple[str, ...],
    allow_purpose: tuple[str, ...],
    allow_region: tuple[str, ...],
    tenant: str | None,
    admin: bool,
    rate: float | None,
    burst: int | None,
    concurrent: int | None,
    tokens_per_minute: int | None,
    tokens_per_day: int | None,
    calls: int | None,
    expires: str | None,
    certificate: Path | None,
    settings: str | None,
    as_json: bool,
    **defaults: str | None,
) -> None:
    """Make a key and print it, this once: it is not kept.

    Without an --allow-..., it may be used with every model, purpose or region.

    Example: sealpress key create --name ward-3 --purpose search --allow-model minilm --calls 10000 --expires 90d --json
    """
    path = found_settings(settings)
    terms = Terms(
        name=name,
        tenant=tenant,
        models=allow_model,
        purposes=allow_purpose,
        regions=allow_region,
        admin=admin,
        rate_per_s=rate,
        burst=burst,
        concurrent=concurrent,
        tokens_per_minute=tokens_per_minute,
        tokens_per_day=tokens_per_day,
        defaults=Defaults(**defaults),
    )
    _must_make_sense(terms, read_settings(path))
    now = time.time_ns()
    until = None if expires is None else _expiry_ns(expires, now)
    bound = None if certificate is None else certificate_of(certificate)
    with closing(ApiKeys(path.parent / "state")) as keys:
        made, text = keys.create(now, terms, expires=until, calls=calls, certificate=bound)
    shown = f"{text}\n\nKeep it now: it is not shown again. `sealpress key revoke {made.id}` withdraws it."
    output({"key": text, **_shown(Listed(made, None if calls is None else 0, None), now)}, as_json, shown)


@key.command(name="list")
@with_settings
def list_(settings: str | None, as_json: bool) -> None:
    """List the keys that were ever made, their secrets excepted, with what was used of them.

    Example: sealpress key list --json
    """
    with closing(ApiKeys(found_settings(settings).parent / "state")) as keys:
        found, now = keys.all(), time.time_ns()
    text = "\n".join(_line(one, now) for one in found) or "No key was made yet: `sealpress key create` makes one."
    output({"keys": [_shown(one, now) for one in found]}, as_json, text)


@key.command()
@click.argument("identifier", metavar="ID")
@click.option("--overlap", default="24h", show_default=True, metavar="TIME", help="How long the old key works on.")
@_expires
@_certificate
@with_settings
def rotate(
    identifier: str,
    overlap: str,
    expires: str | None,
    certificate: Path | None,
    settings: str | None,
    as_json: bool,
) -> None:
    """Make a key for the same in place of an old one, which works on until the overlap ends, and print it, this once.

    Both draw on one quota and one rate. The new key lives as long as the old one was made for.

    Example: sealpress key rotate 4be1c0a7f3d29e58 --overlap 24h
    """
    path, now = found_settings(settings), time.time_ns()
    lasts = _duration_ns(overlap)
    if lasts is None:
        raise click.UsageError("--overlap takes 7d, 24h, 30m or 0s")
    until = None if expires is None else _expiry_ns(expires, now)
    bound = None if certificate is None else certificate_of(certificate)
    with closing(ApiKeys(path.parent / "state")) as keys:
        made, text, old = keys.rotate(identifier, now, overlap=lasts, expires=until, certificate=bound)
        (listed,) = (one for one in keys.all() if one.key.id == made.id)
    value = {"key": text, **_shown(listed, now), "replaces": old.id, "replaced_at": _time(old.expires)}
    output(value, as_json, f"{text}\n\nKeep it now: it is not shown again. {old.id} works until {_time(old.expires)}.")


@key.command()
@click.argument("identifier", metavar="ID")
@with_settings
def revoke(identifier: str, settings: str | None, as_json: bool) -> None:
    """Withdraw a key. It opens nothing from now on, also where a server is running.

    Example: sealpress key revoke 4be1c0a7f3d29e58
    """
    path = found_settings(settings)
    with closing(ApiKeys(path.parent / "state")) as keys:
        revoked = keys.revoke(identifier, time.time_ns())
    value = {"id": revoked.id, "revoked": _time(revoked.revoked)}
    output(value, as_json, f"Revoked {revoked.id}.")


def _must_make_sense(terms: Terms, settings: Settings) -> None:
    """What no call could be made with is refused at once. Raises UsageError."""
    stated = (*terms.purposes, *filter(None, [terms.defaults.purpose]))
    if any(purpose not in settings.purposes for purpose in stated):
        raise click.UsageError("the settings declare no such purpose")
    for default, allowed in ((terms.defaults.purpose, terms.purposes), (terms.defaults.region, terms.regions)):
        if default is not None and allowed and default not in allowed:
            raise click.UsageError("the key is not for what it has as its default")


def _state(key: ApiKey, now: int) -> str:
    match key.closed(now):
        case "api_key_revoked":
            return "revoked"
        case "api_key_expired":
            return "expired"
    return "expiring" if key.expires is not None and key.expires - now < SOON else "active"


def _shown(one: Listed, now: int) -> dict[str, Any]:
    """A key as JSON has it: everything but its secret."""
    key = one.key
    return {
        "id": key.id,
        "state": _state(key, now),
        **{name: getattr(key, name) for name in Terms.__struct_fields__ if name != "defaults"},
        "defaults": structs.asdict(key.defaults),
        "certificate": None if key.certificate is None else key.certificate.hex(),
        "calls": key.calls,
        "used": one.used,
        "left": None if key.calls is None or one.used is None else max(0, key.calls - one.used),
        "account": key.account,
        "successor": key.successor,
        "made": _time(key.made),
        "expires": _time(key.expires),
        "revoked": _time(key.revoked),
        "last_used": _time(one.seen),
    }


def _line(one: Listed, now: int) -> str:
    key = one.key
    parts = [f"{key.id}  {_state(key, now):8}  {key.name or '-'}"]
    parts += [f"for {', '.join(names)}" for names in (key.models, key.purposes, key.regions) if names]
    if key.admin:
        parts.append("admin")
    if key.calls is not None:
        parts.append(f"{one.used} of {key.calls} calls used")
    limits = ((key.tokens_per_minute, "minute"), (key.tokens_per_day, "day"))
    parts += [f"{limit} tokens a {window}" for limit, window in limits if limit is not None]
    if key.successor is not None:
        parts.append(f"replaced by {key.successor}")
    if key.expires is not None:
        parts.append(f"until {_time(key.expires)}")
    return ", ".join((*parts, f"last used {_time(one.seen) or 'never'}"))


def _expiry_ns(text: str, now: int) -> int:
    """A duration from now, or a date or time as ISO 8601 has it, to nanoseconds since 1970."""
    lasts = _duration_ns(text)
    if lasts:
        return now + lasts
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError("--expires takes 90d, 12h, 30m, 45s, or a date such as 2027-01-31") from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()) * 10**9


def _duration_ns(text: str) -> int | None:
    found = re.fullmatch(r"(\d{1,6})([smhd])", text, re.ASCII)
    return None if found is None else int(found[1]) * _NS[found[2]]


def _time(at: int | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at // 10**9, UTC).isoformat(timespec="seconds")
