"""sealpress witness"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import rich_click as click

from compliance.crypto import Signer
from compliance.disk import put
from compliance.keys import fingerprint, from_text, read_key, to_text, write_key
from compliance.verify.note import ROOT, Note
from compliance.verify.statements import Genesis, JointHead
from compliance.witness.errors import WitnessError, WitnessMissing
from compliance.witness.exchange import MAX_DOCUMENT
from compliance.witness.store import Witness
from compliance.witness.witnessed import Witnessed
from serve.witnessing import Witnessing
from toolkit.cli import output, with_settings
from toolkit.extras import needs
from toolkit.settings import WitnessSettings, found_settings, read_settings

__all__ = ["witness"]

_store = click.argument("store", type=click.Path(exists=True, file_okay=False, path_type=Path))
_out = click.option(
    "--out", type=click.Path(path_type=Path), callback=lambda *given: _new(given[-1]), help="Write it to this new file."
)


@click.group()
def witness() -> None:
    """Have the heads of a journal co-signed by a second box or the auditor, or co-sign those of others."""


@witness.command()
@click.argument("store", type=click.Path(file_okay=False, path_type=Path))
@with_settings
def init(store: Path, settings: str | None, as_json: bool) -> None:
    """Make a witness in the new folder STORE, with a key of its own.

    Example: sealpress witness init my-witness
    """
    key = Signer.generate()
    store.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_key(store / "witness.key", "witness-signing", key.private_bytes())
    write_key(store / "witness.pub", "witness-verifying", key.public)
    text = (
        f"Made the witness {store}. Its public key, for the settings of each box:\n\n"
        f'[witness]\nkey = "{to_text(key.public)}"\n\n'
        f"Next: `sealpress witness trust {store} GENESIS`, with the file journal.note of a box."
    )
    output({"key": to_text(key.public), "fingerprint": fingerprint(key.public)}, as_json, text)


@witness.command()
@_store
@click.argument("root", metavar="GENESIS|KEY")
@click.option("--id", "id_", metavar="ID", help="The id of the journal, where its root is given as ed25519:KEY.")
@with_settings
def trust(store: Path, root: str, id_: str | None, settings: str | None, as_json: bool) -> None:
    """Witness a journal from now on: GENESIS is its journal.note.

    Compare the root's fingerprint with the operator of the box over another channel first: `sealpress keys show`.

    Example: sealpress witness trust my-witness journal.note
    """
    if root.startswith("ed25519:") != (id_ is not None):
        raise click.UsageError("give the file journal.note, or the root as ed25519:KEY together with --id")
    id_, public = _genesis(Path(root)) if id_ is None else (id_, from_text(root))
    _opened(store).trust(id_, public)
    value = {"journal": id_, "root": to_text(public), "fingerprint": fingerprint(public)}
    text = f"Trusted: journal {id_}\nRoot: {value['root']}\nFingerprint: {value['fingerprint']}"
    output(value, as_json, text)


@witness.command()
@_store
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8001, show_default=True, type=click.IntRange(0, 65_535), help="0 takes a free one.")
@with_settings
def serve(store: Path, host: str, port: int, settings: str | None, as_json: bool) -> None:
    """Co-sign heads over HTTP, of the journals that are trusted. SIGTERM finishes what is running.

    Example: sealpress witness serve my-witness --host 192.0.2.7
    """
    # here, since they bring ONNX Runtime along, which no other command of a witness takes
    with needs("serve"):
        from serve.commands import listening_at, url_of
        from serve.witness import run
    opened = _opened(store)
    with listening_at(host, port) as listening:
        value = {"url": url_of(host, listening), "key": to_text(opened.public)}
        run(opened, listening, lambda: output(value, as_json, f"Witnessing on {value['url']}"))


@witness.command()
@_store
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_out
@with_settings
def sign(store: Path, file: Path, out: Path | None, settings: str | None, as_json: bool) -> None:
    """Co-sign the head in FILE, which `sealpress witness send --out` wrote on the box.

    Where it does not go on from what was seen last, the answer is that last head: take it back to the box as well.

    Example: sealpress witness sign my-witness /media/box.exchange --out /media/box.head
    """
    try:
        seen = _opened(store).seen(_read(file), time.time_ns())
    except WitnessError as error:
        if error.last is not None and out is not None:
            put(out, error.last.head.encode())
        raise
    _say(seen.head, out, as_json)


@witness.command()
@click.argument("url", required=False)
@_out
@with_settings
def send(url: str | None, out: Path | None, settings: str | None, as_json: bool) -> None:
    """Have the last joint head of this box co-signed, at URL or where the settings say; or write it for a medium.

    Example: sealpress witness send --out /media/box.exchange
    """
    witnessed, of = _witnessed(settings)
    if out is not None:
        put(out, msgspec.json.encode(witnessed.exchange(witnessed.last())))
        output({"out": str(out)}, as_json, f"Wrote {out}: take it to the witness, and its answer back.")
        return
    url = url or of.url
    if url is None:
        raise click.UsageError("the settings hold no url under [witness]: give URL or --out")
    _kept(Witnessing(witnessed, url).exchange(), as_json)


@witness.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@with_settings
def keep(file: Path, settings: str | None, as_json: bool) -> None:
    """Take in the answer of the witness, and see whether this journal holds all that the witness has seen.

    Example: sealpress witness keep /media/box.head
    """
    witnessed, _ = _witnessed(settings)
    try:
        head = _read(file).decode()
    except UnicodeDecodeError:
        raise WitnessError("witness_answer", f"{file} is no text") from None
    seen = witnessed.keep(head)
    witnessed.must_hold(seen)
    _kept(seen, as_json)


def _opened(store: Path) -> Witness:
    return Witness(store, Signer(read_key(store / "witness.key", "witness-signing")))


def _witnessed(settings: str | None) -> tuple[Witnessed, WitnessSettings]:
    path = found_settings(settings)
    read = read_settings(path)
    if read.witness is None:
        raise WitnessMissing("witness_unset", f"{path} names no witness")
    return Witnessed(path.parent / "journal", from_text(read.journal.root), from_text(read.witness.key)), read.witness


def _genesis(path: Path) -> tuple[str, bytes]:
    """The id and the root of a journal from its first page, which names its own root. Raises UsageError."""
    try:
        note = Note.parsed(_read(path).decode())
        genesis = Genesis.parsed(note.text)
        note.check(ROOT, genesis.root)
    except (OSError, ValueError):
        raise click.UsageError(f"{path} is no journal.note") from None
    return genesis.id, genesis.root


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_DOCUMENT + 1)


def _new(path: Path | None) -> Path | None:
    if path is not None and path.exists():
        raise click.UsageError(f"{path} exists already: nothing is overwritten")
    return path


def _say(note: str, out: Path | None, as_json: bool) -> None:
    if out is not None:
        put(out, note.encode())
    output(
        {"head": note}, as_json, note.removesuffix("\n") if out is None else f"Wrote {out}: take it back to the box."
    )


def _kept(seen: JointHead, as_json: bool) -> None:
    value: dict[str, Any] = {"records": sum(size for size, _ in seen.shards), "at": seen.at}
    at = datetime.fromtimestamp(seen.at / 1e9, UTC).isoformat(timespec="seconds")
    output(value, as_json, f"Co-signed: {value['records']} records, as they stood at {at}.")
