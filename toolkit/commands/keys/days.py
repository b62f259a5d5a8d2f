"""sealpress keys show, renew, request, certify, install, revoke"""

from __future__ import annotations

import time
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import rich_click as click

from compliance.crypto import Signer
from compliance.disk import write_synced
from compliance.journal import certificates
from compliance.journal.certificates import Request, kept_elsewhere, read_notes, read_request
from compliance.journal.erasure import finish
from compliance.journal.signing import DayKeys
from compliance.journal.writer import Journal
from compliance.keys import KeyFault, fingerprint, secret, to_text
from compliance.state.disposition import Disposition
from compliance.verify.keyring import Keyring
from compliance.verify.statements import DAYS_AHEAD, Certificate, day_of
from toolkit.box_keys import auditors, day_keys, exposed
from toolkit.cli import output, with_settings
from toolkit.settings import found_settings, read_settings

__all__ = ["certify", "install", "renew", "request", "revoke", "show"]

_SHORTEST = 8  # digits of a fingerprint that name a key
_SOURCE = "The root key: a file, env:NAME, or command:PROGRAM ARGUMENT ..."

_root = click.option("--root", "source", required=True, metavar="SOURCE", help=_SOURCE)
_days = click.option(
    "--days",
    "count",
    type=click.IntRange(1, DAYS_AHEAD),
    default=DAYS_AHEAD,
    show_default=True,
    help="For how many days from today on, today included.",
)


@click.command()
@with_settings
def show(settings: str | None, as_json: bool) -> None:
    """Show the root, the days for which keys are certified, and the auditors.

    Example: sealpress keys show
    """
    keys, at = _keys(settings), time.time_ns()
    folder = keys.folder.parents[1]
    today, left, states = day_of(at), keys.days_left(at), keys.states(at)
    names = [name for name, _ in auditors(folder).files()]
    with_the_box = [str(path) for path in exposed(folder)]
    value = {
        "root": to_text(keys.root),
        "fingerprint": fingerprint(keys.root),
        "days_left": left,
        "days": [{"day": str(day), "key": fingerprint(key), "state": state} for day, key, state in states],
        "auditors": names,
        "exposed": with_the_box,
    }
    ahead = (f"    {day}  {fingerprint(key)[:16]}  {state}" for day, key, state in states if day >= today)
    lines = [
        f"Root:       {value['root']}",
        f"            {value['fingerprint']}",
        f"Days left:  {left}" + ("" if left else " - nothing can be signed: run `sealpress keys renew --root KEY`"),
        *ahead,
        f"Days gone:  {sum(day < today for day, _, _ in states)}",
        "Sealed to:",
        *(f"    {name}" for name in names),
        *(f"Move this private key off the machine: {path}" for path in with_the_box),
    ]
    output(value, as_json, "\n".join(lines))


@click.command()
@_root
@_days
@with_settings
def renew(source: str, count: int, settings: str | None, as_json: bool) -> None:
    """Make keys for the days ahead that have none, and certify them, where the root key is at hand.

    Example: sealpress keys renew --root /media/safe/root.key
    """
    root, at = Signer(secret(source, "journal-root")), time.time_ns()
    keys = _keys(settings, root)
    asked = certificates.request(keys, at, count)
    _install(keys, certificates.certify(asked, root, day_of(at)), at, as_json)


@click.command()
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file to write.")
@_days
@with_settings
def request(out: Path, count: int, settings: str | None, as_json: bool) -> None:
    """Make keys for the days ahead that have none, and a request to certify them, for where the root key is.

    Example: sealpress keys request --out /media/stick/request
    """
    asked = certificates.request(_keys(settings), time.time_ns(), count)
    if not asked.days:
        output({"days": []}, as_json, "Every one of these days has its key: there is nothing to request.")
        return
    write_synced(out, asked.text().encode())
    text = f"{_shown(asked)}\n\nNext: `sealpress keys certify {out} --root KEY --out FILE`, where the root key is."
    output(_value(asked), as_json, text)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_root
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="The file to write; without it, only look."
)
@with_settings
def certify(file: Path, source: str, out: Path | None, settings: str | None, as_json: bool) -> None:
    """Certify the keys of a request with the root key, on a machine that needs no box and no network.

    Compare the request's fingerprint with what the box showed: whose keys are certified here can sign its journal.

    Example: sealpress keys certify /media/stick/request --root root.key --out /media/stick/certificates
    """
    asked = read_request(file)
    notes = certificates.certify(asked, Signer(secret(source, "journal-root")), day_of(time.time_ns()))
    if out is not None:
        write_synced(out, _joined(notes))
    what = (
        f"Certified. Next, on the box: `sealpress keys install {out}`." if out else "Nothing was written: give --out."
    )
    output({**_value(asked), "certified": bool(out)}, as_json, f"{_shown(asked)}\n\n{what}")


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@with_settings
def install(file: Path, settings: str | None, as_json: bool) -> None:
    """Put in force what the root has certified or revoked. Running servers follow by themselves.

    Example: sealpress keys install /media/stick/certificates
    """
    _install(_keys(settings), read_notes(file), time.time_ns(), as_json)


@click.command()
@click.argument("targets", metavar="DAY|FINGERPRINT|all...", nargs=-1, required=True)
@_root
@click.option("--since", metavar="TIME", help="From when on, as 2026-11-23T14:00, in UTC.  [default: now]")
@click.option(
    "--certificates",
    "copy",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A copy of certificates.notes, when the box itself is gone.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the revocation into this new file.")
@click.option("--dry-run", is_flag=True, help="Only say what would be revoked.")
@with_settings
def revoke(
    targets: tuple[str, ...],
    source: str,
    since: str | None,
    copy: Path | None,
    out: Path | None,
    dry_run: bool,
    settings: str | None,
    as_json: bool,
) -> None:
    """Take back what was certified for days or keys, or for all days that are left, when a key may be stolen.

    The box, if it is here, destroys these keys and signs with them no more, and tells its witness. Hand the revocation
    to the auditor as well: a thief leaves it out.

    Example: sealpress keys revoke all --root root.key --out revocation
    """
    root, now = Signer(secret(source, "journal-root")), time.time_ns()
    keyring = kept_elsewhere(copy, root.public) if copy else _keys(settings, root).keyring()
    begin = now if since is None else _time(since)
    chosen = dict.fromkeys(found for target in targets for found in _certified(keyring, target, day_of(begin)))
    notes = [] if dry_run else [certificates.revoke(keyring.id, key, begin, root) for _, key in chosen]
    if notes and out is not None:
        write_synced(out, _joined(notes))
    if notes and copy is None:
        certificates.install(_keys(settings, root), notes, now)
    value = {
        "since": begin,
        "revoked": [{"day": str(day), "key": fingerprint(key)} for day, key in chosen],
        "notes": notes,
        "dry_run": dry_run,
    }
    lines = [
        "Would be revoked:" if dry_run else "Revoked:",
        *(f"    {day}  {fingerprint(key)[:16]}" for day, key in chosen),
    ]
    if notes:
        lines += [
            "",
            "Hand this to the auditor, for `sealpress journal verify --revocations FILE`:",
            str(out) if out else "\n" + _joined(notes).decode(),
            "Next: `sealpress keys renew --root KEY` makes new keys, where the box goes on.",
        ]
    output(value, as_json, "\n".join(lines))


def _keys(settings: str | None, root: Signer | None = None) -> DayKeys:
    """The day keys of the box; when there is a root key, it must be the box's own."""
    path = found_settings(settings)
    keys = day_keys(path.parent, read_settings(path))
    if root is not None and root.public != keys.root:
        raise KeyFault("root_foreign", "this is not the root key of this box")
    return keys


def _install(keys: DayKeys, notes: list[str], at: int, as_json: bool) -> None:
    news = certificates.install(keys, notes, at)
    if keys.days_left(at):
        _tell(keys)
    added = [str(one.day) for one in news if isinstance(one, Certificate)]
    value = {"certified": added, "revoked": len(news) - len(added), "days_left": keys.days_left(at)}
    lines = [
        f"Certified: {len(added)} days" + (f", up to {max(added)}" if added else ""),
        *([f"Revoked:   {value['revoked']} keys"] if value["revoked"] else []),
        f"Days left: {value['days_left']}",
    ]
    output(value, as_json, "\n".join(lines))


def _tell(keys: DayKeys) -> None:
    """Put on record what was done while nothing could be signed, such as that the box was restored from a backup."""
    folder = keys.folder.parents[1]
    salts = folder / "state" / "salts.sqlite"
    with (
        closing(Journal(keys.certificates.parent, keys, auditors(folder), salts)) as journal,
        Disposition.open(salts) as disposition,
    ):
        if disposition.untold():
            finish(journal, disposition)


def _certified(keyring: Keyring, target: str, first: date) -> list[tuple[date, bytes]]:
    """The days and keys that a target names; `all` those from the first day on. Raises KeyFault: day_key_unknown."""

    def named(day: date, key: bytes) -> bool:
        if target == "all":
            return day >= first
        return target == str(day) or (len(target) >= _SHORTEST and fingerprint(key).startswith(target.lower()))

    found = [(day, key) for day, key in keyring.days() if named(day, key)]
    if not found:
        raise KeyFault("day_key_unknown", f"no key was certified for {target}")
    return found


def _time(text: str) -> int:
    """In nanoseconds since 1970, from ISO 8601; UTC unless it says otherwise."""
    try:
        time_ = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text} is no time like 2026-11-23T14:00", param_hint="--since") from None
    at = (time_ if time_.tzinfo else time_.replace(tzinfo=UTC)) - datetime.fromtimestamp(0, UTC)
    return max(0, at // timedelta(microseconds=1) * 1000)


def _joined(notes: list[str]) -> bytes:
    return "".join(f"{note}\n" for note in notes).encode()


def _value(asked: Request) -> dict[str, Any]:
    return {
        "journal": asked.id,
        "request": asked.fingerprint,
        "days": [{"day": str(day), "key": fingerprint(key)} for day, key in asked.days],
    }


def _shown(asked: Request) -> str:
    lines = (f"    {day}  {fingerprint(key)[:16]}" for day, key in asked.days)
    return "\n".join((f"Journal: {asked.id}", f"Request: {asked.fingerprint}", *lines))
