"""Keys at rest: one JSON object a key, with its kind, so that a key of one kind is never taken for another.

They lie in files; private ones may also come from the environment or from a command, so that they need not lie on the
disk. What is read of a key is shown by no message, no repr and no traceback.
"""

from __future__ import annotations

import base64
import binascii
import os
import shlex
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Timer
from typing import ClassVar, Literal

import msgspec

from compliance.crypto import sha256
from compliance.verify.statements import key_bytes, key_text
from policies.errors import Unusable

__all__ = [
    "KeyFault",
    "Kind",
    "fingerprint",
    "from_text",
    "kind_of",
    "pem",
    "read_key",
    "secret",
    "to_text",
    "write_key",
]

Kind = Literal[
    "approver-signing",
    "auditor-private",
    "auditor-public",
    "bundle-signing",
    "bundle-verifying",
    "declaration-signing",
    "declaration-verifying",
    "grant-signing",
    "grant-verifying",
    "journal-root",
    "journal-root-public",
    "journal-signing",
    "sealing-private",
    "sealing-public",
    "witness-signing",
    "witness-verifying",
]
# Ed25519, and X-Wing as seeds of 64 and 32 bytes in private, 1184 and 32 bytes in public
_SIZES: Mapping[Kind, int] = {
    "approver-signing": 32,
    "auditor-private": 96,
    "auditor-public": 1216,
    "bundle-signing": 32,
    "bundle-verifying": 32,
    "declaration-signing": 32,
    "declaration-verifying": 32,
    "grant-signing": 32,
    "grant-verifying": 32,
    "journal-root": 32,
    "journal-root-public": 32,
    "journal-signing": 32,
    "sealing-private": 96,
    "sealing-public": 1216,
    "witness-signing": 32,
    "witness-verifying": 32,
}
_PUBLIC = {
    "auditor-public",
    "bundle-verifying",
    "declaration-verifying",
    "grant-verifying",
    "journal-root-public",
    "sealing-public",
    "witness-verifying",
}
_MAX_FILE = 16_384
_COMMAND_SECONDS = 60.0

to_text = key_text


class KeyFault(Unusable):
    """A key that is missing, malformed, or of another kind than the one that is needed."""

    hints: ClassVar[Mapping[str, str]] = {
        "key_missing": "Put the key back where the message says: nothing runs without it.",
        "key_malformed": "Take the key file again from where it was made.",
        "key_kind": "Give a key of the kind that the message names.",
        "key_exists": "A key is never overwritten: move the old one away first.",
        "key_command": "Run the command by hand: it must print the key file, nothing else, and end with 0 in a minute.",
        "day_key_missing": "Run `sealpress keys renew --root KEY`, or `sealpress keys request` and have it certified.",
        "day_key_unknown": "Take a day or a fingerprint from `sealpress keys show`.",
        "certificates_broken": "Run `sealpress journal verify`; restore certificates.notes from its backup.",
        "certificate_foreign": "Install what `sealpress keys certify` made of this box's request with its root key.",
        "key_request": "Make the request anew with `sealpress keys request`, and check the clocks of both machines.",
        "root_foreign": "Give the root key that init made for this box; `sealpress keys show` has its fingerprint.",
        "auditor_missing": "Put an auditor's public key into keys/auditors: what is sealed to nobody, nobody reads.",
        "auditor_many": "Retire an auditor first with `sealpress keys auditor retire`.",
        "auditor_last": "Add the next auditor first with `sealpress keys auditor add`.",
        "auditor_unknown": "Take the fingerprint from `sealpress keys show`, at least its first eight digits.",
    }


class _KeyFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: int
    kind: Kind
    key: bytes  # in base64

    def __repr__(self) -> str:
        return f"<{self.kind} key>"


def write_key(path: Path, kind: Kind, key: bytes) -> None:
    """Write a new key file, private ones readable by the owner only. Raises KeyFault when there is one already."""
    text = msgspec.json.encode(_KeyFile(format=1, kind=kind, key=key)) + b"\n"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644 if kind in _PUBLIC else 0o600)
    except FileExistsError:
        raise KeyFault("key_exists", f"{path} exists already") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink()  # half a key would be in the way of a whole one
        raise


def read_key(path: Path, kind: Kind) -> bytes:
    """The bytes of a key of this kind. Raises KeyFault."""
    return _of_kind(_parsed(_file(path, kind)), kind, str(path))


def secret(source: str, kind: Kind, folder: Path = Path()) -> bytes:
    """The bytes of a key from its source. Raises KeyFault.

    `file:PATH`, or just a path, relative to the folder; `env:NAME` with the text of the key file or its base64;
    `command:PROGRAM ARGUMENT ...`, which prints the key file, started without a shell.
    """
    scheme, _, rest = source.partition(":")
    if scheme == "env":
        return _of_kind(_parsed(_variable(rest, kind)), kind, source)
    if scheme == "command":
        return _of_kind(_parsed(_printed(rest)), kind, f"what {_program(rest)} printed")
    return read_key(folder / Path(source.removeprefix("file:")).expanduser(), kind)


def pem(source: str) -> bytes:
    """The text of a private key that another tool made, from a source as `secret` takes them. Raises KeyFault."""
    scheme, _, rest = source.partition(":")
    if scheme == "env":
        return _variable(rest, "PEM")
    if scheme == "command":
        return _printed(rest)
    return _file(Path(source.removeprefix("file:")).expanduser(), "PEM")


def kind_of(path: Path) -> Kind | None:
    """Of what kind the key in a file is; None for what is no key file, or cannot be read."""
    try:
        found = _parsed(_file(path, "any"))
    except KeyFault:
        return None
    return None if found is None else found.kind


def from_text(text: str) -> bytes:
    """The 32 bytes of an Ed25519 public key as settings write it. Raises KeyFault."""
    with suppress(ValueError):
        return key_bytes(text)
    raise KeyFault("key_malformed", "a public key is written as ed25519: and 44 characters of base64")


def fingerprint(public: bytes) -> str:
    """The SHA-256 of a public key in hexadecimal, to compare by eye or telephone."""
    return sha256(public).hex()


# What follows is so divided that no frame of a traceback holds the text of a key.


def _of_kind(found: _KeyFile | None, kind: Kind, source: str) -> bytes:
    if found is None:
        raise KeyFault("key_malformed", f"{source} is no key file of format 1")
    if found.kind != kind:
        raise KeyFault("key_kind", f"{source} holds a {found.kind} key, a {kind} key is needed")
    return found.key


def _parsed(text: bytes) -> _KeyFile | None:
    try:
        found = msgspec.json.decode(text, type=_KeyFile)
    except (msgspec.MsgspecError, ValueError):
        return None
    return found if found.format == 1 and len(found.key) == _SIZES[found.kind] else None


def _file(path: Path, kind: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FILE)
    except OSError as error:
        raise KeyFault("key_missing", f"{path}: no {kind} key can be read here ({error.strerror})") from None


def _variable(name: str, kind: str) -> bytes:
    if name not in os.environ:
        raise KeyFault("key_missing", f"the environment has no {name}, from which a {kind} key is read")
    text = os.environb[os.fsencode(name)][:_MAX_FILE]
    with suppress(binascii.Error):
        return base64.b64decode(text.strip(), validate=True)
    return text


def _printed(command: str) -> bytes:
    try:
        words = shlex.split(command)
        process = subprocess.Popen(  # noqa: S603 - the operator's own command, without a shell
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
    except (OSError, ValueError, IndexError):
        raise KeyFault("key_command", f"{_program(command)} cannot be started") from None
    text = _output(process)
    if not text:
        raise KeyFault("key_command", f"{_program(command)} failed, or printed no key in time")
    return text


def _output(process: subprocess.Popen[bytes]) -> bytes:
    """What the process printed, empty when it failed. Killed with its children when it takes or prints too much."""
    timer = Timer(_COMMAND_SECONDS, os.killpg, (process.pid, signal.SIGKILL))
    timer.start()
    try:
        with process:
            assert process.stdout is not None  # noqa: S101 - it is a pipe, which only the type does not say
            text = process.stdout.read(_MAX_FILE)
            if len(text) == _MAX_FILE:
                os.killpg(process.pid, signal.SIGKILL)
        return text if process.returncode == 0 else b""
    finally:
        timer.cancel()


def _program(command: str) -> str:
    """The first word of a command: its arguments may be secret."""
    return command.split(" ", 1)[0] or "an empty command"
