"""sealpress receipt"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import rich_click as click

from compliance.disk import staged
from compliance.journal.receipts import redeemed
from compliance.keys import KeyFault
from compliance.verify.errors import NotVerified
from compliance.verify.journal import keyring
from compliance.verify.mark import MAX_MARK, verify_mark
from compliance.verify.receipt import MAX_RECEIPT, Receipt, check_promise, verify_receipt
from compliance.verify.statements import Promise
from toolkit.box_keys import day_keys
from toolkit.cli import output, with_settings
from toolkit.commands.copies import root_given, with_copy
from toolkit.settings import found_settings, read_settings

__all__ = ["MAX_HEAD", "described", "head_file", "proved_text", "read_text", "receipt", "verified"]

MAX_HEAD = 4_000_000  # bytes
_SHOWN = 10

head_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def receipt() -> None:
    """Check what a box handed out to show that a call was recorded."""


@receipt.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--head", type=head_file, help="A head you hold, to which the receipt must lead.")
@with_copy
@with_settings
def verify(
    file: Path, head: Path | None, directory: Path | None, key: str | None, settings: str | None, as_json: bool
) -> None:
    """Check the receipt in FILE, and where its journal is at hand, whether a promise was kept.

    Example: sealpress receipt verify receipt.json --key ed25519:... --head box.head
    """
    found = verified(file, head, directory, key, settings)
    if not isinstance(found.statement, Promise):
        output(described(found, head), as_json, proved_text(found, head))
        return
    folder = directory or (found_settings(settings).parent / "journal" if key is None else None)
    if folder is not None:
        if keyring(folder, root_given(key, settings)).id != found.statement.id:
            raise NotVerified.at("receipt", "given_foreign")
        check_promise(folder, found)
    output({**described(found, head), "kept": folder is not None or None}, as_json, _promised_text(found, folder))


@receipt.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file for the proof; a new one.")
@with_settings
def redeem(file: Path, out: Path, settings: str | None, as_json: bool) -> None:
    """Turn the promise in FILE into a proof under a signed head, on the box that gave it.

    Example: sealpress receipt redeem promise.json --out receipt.json
    """
    found = verified(file, None, None, None, settings)
    path = found_settings(settings)
    keys = day_keys(path.parent, read_settings(path))
    check_promise(path.parent / "journal", found)
    proof = redeemed(path.parent / "journal", keys.keyring(), [(one.shard, one.sequence) for one in found.records])
    with staged(out) as staging:
        staging.write(proof)
    proved = verify_receipt(proof, keys.root)
    output({**described(proved, None), "receipt": str(out)}, as_json, proved_text(proved, None))


@receipt.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--text", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The text.")
@with_copy
@with_settings
def mark(file: Path, text: Path, directory: Path | None, key: str | None, settings: str | None, as_json: bool) -> None:
    """Check the mark in FILE of a text that a model wrote: which model, in which call, and that it is this very text.

    Example: sealpress receipt mark mark.json --text answer.txt --key ed25519:...
    """
    root = _root(directory, key, settings)
    with file.open("rb") as marked, text.open("rb") as written:
        found = verify_mark(marked.read(MAX_MARK + 1), root, written.read().decode(errors="surrogateescape"))
    about = {"ok": True, "journal": found.id, "at": found.at, "call": found.call, "model": found.model}
    when = datetime.fromtimestamp(found.at // 10**9, UTC).isoformat(timespec="seconds")
    output(about, as_json, f"Written by the model {found.model[:16]} at {when}, in the call {found.call}.")


def verified(file: Path, head: Path | None, directory: Path | None, key: str | None, settings: str | None) -> Receipt:
    """The receipt in a file, checked with the key that is given or that the settings name.

    Raises NotVerified, KeyFault, SettingsError, OSError.
    """
    root = _root(directory, key, settings)
    with file.open("rb") as opened:
        data = opened.read(MAX_RECEIPT + 1)
    return verify_receipt(data, root, None if head is None else read_text(head))


def _root(directory: Path | None, key: str | None, settings: str | None) -> bytes:
    root = root_given(key, settings)
    if isinstance(root, bytes):
        return root
    if directory is None:
        raise KeyFault("key_kind", "without its journal, a receipt needs the key ed25519:... and not a fingerprint")
    return keyring(directory, root).root


def described(found: Receipt, head: Path | None) -> dict[str, Any]:
    statement = found.statement
    return {
        "ok": True,
        "journal": statement.id,
        "kind": "promise" if isinstance(statement, Promise) else "head",
        "at": statement.at,
        "records": [record.name for record in found.records],
        "given": head is not None,
    }


def read_text(path: Path) -> str:
    """A head that was kept in a file. One that is no text is none that was signed."""
    with path.open("rb") as file:
        return file.read(MAX_HEAD).decode(errors="replace")


def _promised_text(found: Receipt, folder: Path | None) -> str:
    if folder is None:
        kept = "Not redeemed: whether the journal kept it shows where the journal is, or in a proof under a head."
    else:
        kept = "Kept: the records stand in the journal. `sealpress journal verify` tells whether that holds."
    return f"A good promise of {_time(found)} for {_names(found)}.\n{kept}"


def proved_text(found: Receipt, head: Path | None) -> str:
    compared = "It leads to the head you gave." if head else "Unwitnessed: no head from outside the box was compared."
    return f"Proved: {_names(found)} under the head of {_time(found)}.\n{compared}"


def _names(found: Receipt) -> str:
    names = [record.name for record in found.records]
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _time(found: Receipt) -> str:
    return datetime.fromtimestamp(found.statement.at // 10**9, UTC).isoformat(timespec="seconds")
