"""sealpress override"""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import rich_click as click

from compliance.crypto import Signer
from compliance.keys import fingerprint, read_key, to_text, write_key
from compliance.state.overrides import APPROVERS, Kept
from toolkit.box import Box, Context
from toolkit.cli import output, with_settings

__all__ = ["override"]

_key = click.option(
    "--key", "key_file", required=True, type=click.Path(path_type=Path), help="The private key of who signs."
)


@click.group()
def override() -> None:
    """Open for a time what a pack refuses and says may be opened: two persons have to agree."""


@override.command()
@click.argument("path", type=click.Path(path_type=Path))
@with_settings
def key(path: Path, settings: str | None, as_json: bool) -> None:
    """Make the key of a person who may approve, at PATH, and print the line for the settings.

    Keep each key with its person, off this machine.

    Example: sealpress override key /media/ann/approver.key
    """
    signer = Signer.generate()
    write_key(path, "approver-signing", signer.private_bytes())
    value = {"approver": to_text(signer.public), "fingerprint": fingerprint(signer.public)}
    output(value, as_json, f'[override.approvers]\nNAME = "{value["approver"]}"')


@override.command()
@click.option("--name", required=True, help="Under what name packs know it, e.g. emergency.")
@click.option("--reason", required=True, help="Why, in a sentence; it goes on record.")
@click.option("--minutes", default=30, show_default=True, help="How long it stands, from now on.")
@_key
@with_settings
def ask(name: str, reason: str, minutes: int, key_file: Path, settings: str | None, as_json: bool) -> None:
    """Ask for an override, and sign it as the first person. It opens nothing until a second one approves it.

    Example: sealpress override ask --name emergency --reason "Cardiac arrest, ward 3" --key ann.key
    """
    Context(override=name, subject=reason)  # the same limits as in a call
    box = Box.open(settings)
    with closing(box.journal) as journal:
        made = box.overrides.ask(name, reason, minutes, _signer(key_file), journal.now())
        _on_record(box, "override_asked", made)
    output(_told(made), as_json, f"{_line(made)}\n\nNow: sealpress override approve {made.stated.id} --key KEY")


@override.command()
@click.argument("id")
@_key
@with_settings
def approve(id: str, key_file: Path, settings: str | None, as_json: bool) -> None:
    """Approve an override that somebody else asked for. It stands from now on.

    Example: sealpress override approve 3f2a9c41d5e6b708 --key bob.key
    """
    box = Box.open(settings)
    with closing(box.journal) as journal:
        # on record before it opens anything
        asked = box.overrides.approved(id, _signer(key_file), journal.now())
        _on_record(box, "override_opened", asked)
        box.overrides.keep(asked)
    output(_told(asked), as_json, _line(asked))


@override.command()
@click.argument("id")
@with_settings
def end(id: str, settings: str | None, as_json: bool) -> None:
    """End an override before its time. It opens nothing from the next call on.

    Example: sealpress override end 3f2a9c41d5e6b708
    """
    box = Box.open(settings)
    with closing(box.journal) as journal:
        ended = box.overrides.end(id, journal.now())
        _on_record(box, "override_ended", ended)
    output(_told(ended), as_json, _line(ended))


@override.command()
@with_settings
def show(settings: str | None, as_json: bool) -> None:
    """Show the overrides of this box: which stand, until when, and who opened them.

    Example: sealpress override show --json
    """
    box = Box.open(settings)
    with closing(box.journal) as journal:
        now, found = journal.now(), box.overrides.all()
    value = {"overrides": [{**_told(one), "stands": one.stands(now)} for one in found]}
    lines = [f"{'stands' if one.stands(now) else 'closed'}  {_line(one)}" for one in found]
    output(value, as_json, "\n".join(lines) or "There was no override on this box.")


def _signer(path: Path) -> Signer:
    return Signer(read_key(path, "approver-signing"))


def _on_record(box: Box, kind: str, kept: Kept) -> None:
    # who holds which key is in the settings only, and those may change
    box.journal.record(kind, {**_told(kept), "keys": box.overrides.keys(kept)}, box.settings.box.tenant)
    box.journal.checkpoint()


def _told(kept: Kept) -> dict[str, Any]:
    stated = kept.stated
    return {
        "id": stated.id,
        "name": stated.name,
        "reason": stated.reason,
        "starts": stated.starts,
        "ends": stated.ends,
        "approvers": sorted(kept.approvers),
        "ended": kept.ended,
    }


def _line(kept: Kept) -> str:
    stated, signed = kept.stated, sorted(kept.approvers)
    waiting = "" if len(signed) >= APPROVERS else f", {APPROVERS - len(signed)} more to approve"
    until = datetime.fromtimestamp(stated.ends // 10**9, UTC).isoformat(" ", "minutes")
    over = "" if kept.ended is None else ", ended"
    return f"{stated.id}  {stated.name} until {until[:16]} UTC by {', '.join(signed)}{waiting}{over}: {stated.reason}"
