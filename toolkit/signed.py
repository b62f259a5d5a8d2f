"""The signature of a bundle, and its files held against it, wherever they lie.

A bundle is signed as in-toto has it: a DSSE envelope of a statement that names every file with its SHA-256 (ADR 5).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, Protocol, TypeVar

import msgspec
from msgspec import Struct

from compliance.crypto import Signer, Unauthentic, sha256, verify
from compliance.keys import to_text
from policies.errors import Refused, Unusable

__all__ = [
    "SIGNATURE",
    "BundleError",
    "BundleMissing",
    "Files",
    "Folder",
    "pre_authentication",
    "pretty",
    "read_json",
    "sign",
    "signed_files",
]

SIGNATURE = "signature.json"
MAX_FILE = 4_000_000_000
_PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
_STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"
_T = TypeVar("_T")


class BundleError(Refused):
    """A bundle that is broken, foreign or altered."""

    hints: ClassVar[Mapping[str, str]] = {
        "bundle_incomplete": "Copy the bundle again from where it was made: it lacks a file or has one too many.",
        "bundle_malformed": "Copy the bundle again, or press the model again with this version.",
        "bundle_digest": "Copy the bundle again from where it was made: this file is not the one that was signed.",
        "bundle_signature": "Copy the bundle again from where it was made: its signature does not hold.",
        "bundle_signer": "If you know the signer, take the public key from them and run `sealpress trust add KEYFILE`.",
        "bundle_too_large": "No file of a bundle may be larger than 4 GB.",
        "bundle_exists": "Choose another name for --out, or move the old bundle away: nothing is overwritten.",
    }


class BundleMissing(Unusable):
    """There is no bundle where one was named."""

    hints: ClassVar[Mapping[str, str]] = {
        "bundle_not_found": "Check the path; `sealpress compress SOURCE --out BUNDLE` makes a bundle.",
    }


class Files(Protocol):
    """The files of a bundle, wherever they lie; `hidden` are those that cannot be read."""

    hidden: Collection[str]

    def names(self) -> set[str]: ...

    def read(self, name: str) -> bytes:
        """Raises BundleError."""


def sign(content: Mapping[str, bytes], signer: Signer) -> bytes:
    """The file `signature.json` for these files by name."""
    statement = msgspec.json.encode(
        _Statement(subject=tuple(_Subject(name, {"sha256": sha256(content[name]).hex()}) for name in sorted(content)))
    )
    signature = _Signature(keyid=to_text(signer.public), sig=signer.sign(pre_authentication(statement)))
    return pretty(_Envelope(payload=statement, signatures=(signature,)))


def signed_files(
    path: Path, files: Files, trusted: Collection[str], required: Collection[str]
) -> tuple[dict[str, bytes], dict[str, str], str]:
    """Each file that can be read, as it was signed, with the signature; the SHA-256 (hexadecimal) of every file; and
    the signer, who is among the trusted (`ed25519:...`).

    Raises BundleError.
    """
    written = files.read(SIGNATURE)
    envelope = read_json(path, SIGNATURE, _Envelope, written)
    if pretty(envelope) != written:
        raise BundleError("bundle_malformed", f"{path / SIGNATURE} is not in the form that was written")
    signer = _signer(path, envelope, trusted)
    statement = read_json(path, SIGNATURE, _Statement, envelope.payload)
    signed = {subject.name: subject.digest.get("sha256", "") for subject in statement.subject}
    present = files.names()
    if present != {*signed, SIGNATURE} or not signed.keys() >= set(required):
        odd = sorted(present ^ {*signed, SIGNATURE}) or sorted(set(required) - signed.keys())
        raise BundleError("bundle_incomplete", f"{path}: {', '.join(odd)} is missing or not signed")
    content = {name: files.read(name) for name in signed if name not in files.hidden}
    for name, data in content.items():
        if sha256(data).hex() != signed[name]:
            raise BundleError("bundle_digest", f"{path / name} is not the file that was signed")
    content[SIGNATURE] = written
    return content, signed, signer


class Folder:
    """The files in a folder."""

    hidden: Collection[str] = ()

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> set[str]:
        return {entry.name for entry in self._path.iterdir()}

    def read(self, name: str) -> bytes:
        file = self._path / name
        try:
            if file.is_symlink() or not file.is_file():
                raise BundleError("bundle_incomplete", f"{file} is missing or no regular file")
            if file.stat().st_size > MAX_FILE:
                raise BundleError("bundle_too_large", f"{file} is too large")
            return file.read_bytes()
        except OSError as error:
            raise BundleError("bundle_incomplete", f"{file} cannot be read: {error.strerror}") from None


def read_json(path: Path, name: str, kind: type[_T], data: bytes) -> _T:
    """A file of a bundle as the Struct `kind`. Raises BundleError."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BundleError("bundle_malformed", f"{path / name}: {error}") from None


def pre_authentication(payload: bytes) -> bytes:
    """The bytes that DSSE signs (PAE of the DSSE protocol v1)."""
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD_TYPE), _PAYLOAD_TYPE.encode(), len(payload), payload)


def pretty(value: object) -> bytes:
    """JSON as it is written into a bundle."""
    return msgspec.json.format(msgspec.json.encode(value, order="deterministic"), indent=2) + b"\n"


class _Subject(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    digest: dict[str, str]


class _Statement(Struct, frozen=True, rename={"kind": "_type", "predicate_type": "predicateType"}):
    subject: tuple[_Subject, ...]
    predicate: dict[str, Any] = {}
    kind: Literal["https://in-toto.io/Statement/v1"] = _STATEMENT_TYPE
    predicate_type: Literal["https://model_signing/signature/v1.0"] = _PREDICATE_TYPE


class _Signature(Struct, frozen=True, forbid_unknown_fields=True):
    keyid: str
    sig: bytes


class _Envelope(Struct, frozen=True, forbid_unknown_fields=True, rename={"payload_type": "payloadType"}):
    payload: bytes
    signatures: tuple[_Signature]
    payload_type: Literal["application/vnd.in-toto+json"] = _PAYLOAD_TYPE


def _signer(path: Path, envelope: _Envelope, trusted: Collection[str]) -> str:
    """The signer of an envelope, who must be trusted, and whose signature must hold."""
    (signature,) = envelope.signatures
    if signature.keyid not in trusted:
        raise BundleError("bundle_signer", f"{path} is signed by somebody whom the settings do not trust")
    try:
        public = base64.b64decode(signature.keyid.removeprefix("ed25519:"), validate=True)
        verify(public, signature.sig, pre_authentication(envelope.payload))
    except (Unauthentic, binascii.Error):
        raise BundleError("bundle_signature", f"{path / SIGNATURE} does not hold") from None
    return signature.keyid
