"""Keys on disk: one JSON file a key, with its kind, so that a key of one kind is never taken for another."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import msgspec

from compliance.crypto import sha256
from policies.errors import Unusable

__all__ = ["KeyFault", "Kind", "fingerprint", "from_text", "read_key", "to_text", "write_key"]

Kind = Literal[
    "bundle-signing", "bundle-verifying", "journal-signing", "journal-verifying", "auditor-private", "auditor-public"
]
# Ed25519, and X-Wing as seeds of 64 and 32 bytes in private, 1184 and 32 bytes in public
_SIZES: Mapping[Kind, int] = {
    "bundle-signing": 32,
    "bundle-verifying": 32,
    "journal-signing": 32,
    "journal-verifying": 32,
    "auditor-private": 96,
    "auditor-public": 1216,
}
_PRIVATE = {"bundle-signing", "journal-signing", "auditor-private"}
_MAX_FILE = 16_384
_PREFIX = "ed25519:"


class KeyFault(Unusable):
    """A key that is missing, malformed, or of another kind than the one that is needed."""

    hints: ClassVar[Mapping[str, str]] = {
        "key_missing": "Put the key file back where the message says: nothing runs without it; only init makes keys.",
        "key_malformed": "Take the key file again from where it was made.",
        "key_kind": "Give a key of the kind that the message names.",
        "key_exists": "A key is never overwritten: move the old one away first.",
    }


class _KeyFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: int
    kind: Kind
    key: str

    def __repr__(self) -> str:
        return f"<{self.kind} key>"


def write_key(path: Path, kind: Kind, key: bytes) -> None:
    """Write a new key file, private ones readable by the owner only. Raises KeyFault when there is one already."""
    text = msgspec.json.encode(_KeyFile(format=1, kind=kind, key=base64.b64encode(key).decode())) + b"\n"
    mode = 0o600 if kind in _PRIVATE else 0o644
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
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
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE)
    except OSError as error:
        raise KeyFault("key_missing", f"{path}: no {kind} key can be read here ({error.strerror})") from None
    try:
        found = msgspec.json.decode(text, type=_KeyFile)
        key = base64.b64decode(found.key, validate=True)
    except (msgspec.MsgspecError, binascii.Error, ValueError):
        raise KeyFault("key_malformed", f"{path} is no key file") from None
    if found.format != 1 or len(key) != _SIZES[found.kind]:
        raise KeyFault("key_malformed", f"{path} is no {found.kind} key of format 1")
    if found.kind != kind:
        raise KeyFault("key_kind", f"{path} holds a {found.kind} key, a {kind} key is needed")
    return key


def to_text(public: bytes) -> str:
    """An Ed25519 public key as settings write it."""
    return _PREFIX + base64.b64encode(public).decode()


def from_text(text: str) -> bytes:
    """The 32 bytes of an Ed25519 public key as settings write it. Raises KeyFault."""
    try:
        public = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        public = b""
    if len(public) != 32 or to_text(public) != text:
        raise KeyFault("key_malformed", "a public key is written as ed25519: and 44 characters of base64")
    return public


def fingerprint(public: bytes) -> str:
    """The SHA-256 of a public key in hexadecimal, to compare by eye or telephone."""
    return sha256(public).hex()
