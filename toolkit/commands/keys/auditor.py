"""sealpress keys auditor"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import rich_click as click

from compliance.crypto import Opener, Sealer
from compliance.journal.signing import MAX_AUDITORS
from compliance.keys import KeyFault, fingerprint, read_key, write_key
from toolkit.box import Box
from toolkit.box_keys import auditors
from toolkit.cli import output, with_settings

__all__ = ["auditor"]

_SHORTEST = 8  # digits of a fingerprint that name an auditor
_FROM_WHEN = "Running servers follow with their next epoch, in ten minutes at most."


@click.group()
def auditor() -> None:
    """To whom the journal is sealed: whoever holds one of these keys can read, with this box."""


@auditor.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@with_settings
def create(file: Path, settings: str | None, as_json: bool) -> None:
    """Make an auditor's key pair, on the auditor's own machine: FILE stays there, FILE.pub goes to the box.

    Example: sealpress keys auditor create auditor.key
    """
    opener, public = Opener.generate(), file.with_name(f"{file.name}.pub")
    write_key(public, "auditor-public", opener.public)
    try:
        write_key(file, "auditor-private", opener.private_bytes())
    except BaseException:
        public.unlink()
        raise
    name = fingerprint(opener.public)
    text = (
        f"The private key: {file}\nFor the box:     {public}\nFingerprint:     {name}\n\n"
        "Keep the private key, and a copy in another place: what is sealed to it alone, nobody can read without it."
    )
    output({"private": str(file), "public": str(public), "fingerprint": name}, as_json, text)


@auditor.command()
@click.argument("keyfile", type=click.Path(dir_okay=False, path_type=Path))
@with_settings
def add(keyfile: Path, settings: str | None, as_json: bool) -> None:
    """Seal the journal to one more auditor from now on. What was sealed before stays closed to this key.

    Compare the fingerprint with the auditor over another channel first. The change is on record in the journal.

    Example: sealpress keys auditor add /media/auditor/auditor.key.pub
    """
    box = Box.open(settings)
    public = Sealer(read_key(keyfile, "auditor-public")).public
    known, name = _known(box), fingerprint(public)
    if name not in known:
        if len(known) == MAX_AUDITORS:
            raise KeyFault("auditor_many", f"the journal is sealed to {MAX_AUDITORS} auditors already")
        _record(box, [*known, name])
        write_key(auditors(box.folder).folder / f"{name[:16]}.pub", "auditor-public", public)
    value = {"added": name, "auditors": sorted({*known, name})}
    text = f"Sealed to: {name}\nAuditors:  {len(value['auditors'])}\n\n{_FROM_WHEN}"
    output(value, as_json, text)


@auditor.command()
@click.argument("name", metavar="FINGERPRINT")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@with_settings
def retire(name: str, dry_run: bool, settings: str | None, as_json: bool) -> None:
    """Seal no more to the auditor with this FINGERPRINT, or the start of it; the last one cannot be retired.

    The auditor can still read what was sealed until then. The change is on record in the journal.

    Example: sealpress keys auditor retire 3f0c9a417be2
    """
    box = Box.open(settings)
    known = _known(box)
    found = [each for each in known if each.startswith(name.lower()) and len(name) >= _SHORTEST]
    if len(found) != 1:
        raise KeyFault("auditor_unknown", f"no auditor, or more than one, has a fingerprint that begins with {name}")
    left = [each for each in known if each not in found]
    if not left:
        raise KeyFault("auditor_last", "this is the only auditor: what is sealed to nobody can be read by nobody")
    if not dry_run:
        _record(box, left)
        for fingerprint_, path in auditors(box.folder).files():
            if fingerprint_ in found:
                path.unlink()
    value = {"retired": found[0], "auditors": left, "dry_run": dry_run}
    text = (
        f"{'Would be retired' if dry_run else 'Retired'}: {found[0]}\nAuditors left: {len(left)}\n\n{_FROM_WHEN}\n"
        "The retired key still opens what was sealed to it. What was sealed to it alone is read with it or not at all."
    )
    output(value, as_json, text)


def _known(box: Box) -> list[str]:
    return list(dict.fromkeys(name for name, _ in auditors(box.folder).files()))


def _record(box: Box, names: list[str]) -> None:
    """Put on record to whom the journal is sealed next, before it is."""
    with closing(box.journal) as journal:
        journal.record("auditors", {"auditors": sorted(names)}, box.settings.box.tenant)
