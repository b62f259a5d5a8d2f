"""A model on disk: manifest, ONNX file, tokenizer, licence text, measurements, signature.

    BUNDLE/manifest.json       what the model is; its digest covers every other field and every file of the model
    BUNDLE/model.onnx          BUNDLE/tokenizer.json          BUNDLE/LICENSE          BUNDLE/NOTICE where there is one
    BUNDLE/measurements.json   what was gained and lost; outside the digest, since times differ from run to run
    BUNDLE/signature.json      DSSE envelope of an in-toto statement that names every file with its SHA-256

A bundle is accepted only from a signer whom the settings trust, and the bytes that were hashed are those handed on.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from compliance.crypto import Signer, Unauthentic, sha256, verify
from compliance.disk import put_folder
from compliance.keys import to_text
from policies.errors import Refused, Unusable
from policies.facts import Manifest
from policies.licences import LicenceError, facts
from toolkit.runtime.inputs import ImageInput, TextInput
from toolkit.runtime.lane import reader_of
from toolkit.runtime.readers import Reader

__all__ = [
    "Bundle",
    "BundleError",
    "BundleManifest",
    "BundleMissing",
    "Entities",
    "Found",
    "Measured",
    "Measurements",
    "must_stand",
    "write_bundle",
]

MAX_FILE = 4_000_000_000
_MODEL = ("model.onnx", "tokenizer.json", "LICENSE", "NOTICE")
_REQUIRED = {"manifest.json", "measurements.json", "model.onnx", "LICENSE"}
_SIGNATURE = "signature.json"
_PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
_STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"


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


class Found(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How well entities of one kind were found: of those found, the share that was right, and of the `gold` ones that a
    person had marked, the share that was found; None where there were none."""

    precision: float | None
    recall: float | None
    found: int
    gold: int


class Entities(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model finds in texts. `offsets`: an entity is told in the Unicode code points of the text as it came, the
    end excluded. `languages` are those that the papers of its source name; `kinds` what was measured, by the kind of
    entity, and `method` on what and how: empty where no data with marked entities was given."""

    offsets: Literal["characters"] = "characters"
    languages: tuple[str, ...] = ()
    kinds: dict[str, Found] = {}
    method: str = ""


class BundleManifest(Manifest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The manifest as it is on disk: the facts, and what the runtime and a re-derivation need beside them.

    `text` or `image` says how an input becomes tensors; without both the model takes tensors. `labels` name the classes
    in the order of the answer, and `entities` says what a model that labels tokens finds; `data` holds the SHA-256 of
    what was calibrated on and measured on, `seed` that of the search. `zeros` counts the weights of the file that are
    zero, by the names of its nodes, of the layers that a step set weights of to zero.
    """

    text: TextInput | UnsetType = UNSET
    image: ImageInput | UnsetType = UNSET
    labels: tuple[str, ...] | UnsetType = UNSET
    entities: Entities | UnsetType = UNSET
    data: dict[str, str] | UnsetType = UNSET
    seed: int | UnsetType = UNSET
    zeros: dict[str, int] | UnsetType = UNSET
    recipe: tuple[dict[str, Any], ...]
    versions: dict[str, str]
    files: dict[str, str]

    def computed_digest(self) -> str:
        """SHA-256 in hexadecimal over the canonical JSON of all other fields, and so over the bytes of all files."""
        content = msgspec.structs.replace(self, digest="")
        return sha256(msgspec.json.encode(content, order="deterministic")).hex()


class Measured(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`latency_ms` is the median at batch 1 and 32 tokens on one lane; `fidelity` the mean cosine to the original,
    as the lower 95 % bound of a bootstrap; `transport_bytes` the size when packed, `task` the means of the task's own
    metrics by name."""

    size_bytes: int
    latency_ms: float
    fidelity: float
    transport_bytes: int | UnsetType = UNSET
    task: dict[str, float] | UnsetType = UNSET


class Measurements(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Before (the FP32 export) and after, measured in turn in the same run."""

    before: Measured
    after: Measured
    machine: str
    method: dict[str, str]


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


class Bundle(Struct, frozen=True, kw_only=True):
    """A bundle that was read and holds. The bytes are those that were hashed."""

    path: Path
    manifest: BundleManifest
    measurements: Measurements
    signer: str
    model: bytes
    tokenizer: bytes | None
    notice: str = ""

    @property
    def noticed(self) -> bool:
        """Whether its NOTICE file has the words that its licences ask for; not where one of them is not known."""
        try:
            return all(words in self.notice for words in facts(self.manifest.licence).notices)
        except LicenceError:
            return False

    @classmethod
    def read(cls, path: Path, trusted: Collection[str]) -> Bundle:
        """Check the signer against `trusted` (ed25519:... texts), the signature, and every file.

        Raises BundleMissing, BundleError.
        """
        return cls.with_content(path, trusted)[0]

    @classmethod
    def with_content(cls, path: Path, trusted: Collection[str]) -> tuple[Bundle, dict[str, bytes]]:
        """The same, and every file that was checked by its name, the signature included."""
        content, signer = _checked(path, trusted)
        manifest = _read_json(path, "manifest.json", BundleManifest, content["manifest.json"])
        files = {name: sha256(data).hex() for name, data in content.items() if name in _MODEL}
        if manifest.format != 1 or manifest.files != files or manifest.computed_digest() != manifest.digest:
            raise BundleError("bundle_malformed", f"{path / 'manifest.json'} does not describe this bundle")
        bundle = cls(
            path=path,
            manifest=manifest,
            measurements=_read_json(path, "measurements.json", Measurements, content["measurements.json"]),
            signer=signer,
            model=content["model.onnx"],
            tokenizer=content.get("tokenizer.json"),
            notice=content.get("NOTICE", b"").decode(errors="replace"),
        )
        return bundle, content

    def reader(self) -> Reader:
        """What turns inputs into tensors. Raises ModelError."""
        manifest = self.manifest
        text, image = manifest.text or None, manifest.image or None
        return reader_of(manifest.inputs, text, image, self.tokenizer, manifest.labels or ())


def must_stand(manifest: Manifest, at: int) -> None:
    """Return when the licence that somebody stated for a model counts at the time `at` (ns), or none was stated.

    Raises LicenceError: licence_expired.
    """
    stated = manifest.stated
    if stated is not UNSET and not stated.starts <= at < stated.ends:
        raise LicenceError(
            "licence_expired", f"that {manifest.name} is under {stated.licence} was stated for another time"
        )


def write_bundle(
    path: Path,
    draft: BundleManifest,
    files: Mapping[str, bytes],
    measurements: Measurements,
    signer: Signer,
) -> Bundle:
    """Complete the manifest with the digests, sign, and put the bundle in place as a whole or not at all.

    `files` holds model.onnx, LICENSE and, for a model of texts, tokenizer.json. Raises BundleError when there is
    something at `path` already, Failed when the disk does not take it.
    """
    if path.exists():
        raise BundleError("bundle_exists", f"{path} exists already")
    manifest = msgspec.structs.replace(draft, files={name: sha256(data).hex() for name, data in files.items()})
    manifest = msgspec.structs.replace(manifest, digest=manifest.computed_digest())
    content = {
        **files,
        "manifest.json": _pretty(manifest),
        "measurements.json": _pretty(measurements),
    }
    statement = msgspec.json.encode(
        _Statement(subject=tuple(_Subject(name, {"sha256": sha256(content[name]).hex()}) for name in sorted(content)))
    )
    signature = _Signature(keyid=to_text(signer.public), sig=signer.sign(_pre_authentication(statement)))
    content[_SIGNATURE] = _pretty(_Envelope(payload=statement, signatures=(signature,)))
    put_folder(path, content)
    return Bundle.read(path, {to_text(signer.public)})


def _checked(path: Path, trusted: Collection[str]) -> tuple[dict[str, bytes], str]:
    """The files of a bundle by name, each as it was signed, with the signature; and who signed them."""
    if not path.is_dir():
        raise BundleMissing("bundle_not_found", f"{path} is no bundle")
    written = _bytes_of(path, _SIGNATURE)
    envelope = _read_json(path, _SIGNATURE, _Envelope, written)
    if _pretty(envelope) != written:
        raise BundleError("bundle_malformed", f"{path / _SIGNATURE} is not in the form that was written")
    signer = _signer(path, envelope, trusted)
    statement = _read_json(path, _SIGNATURE, _Statement, envelope.payload)
    signed = {subject.name: subject.digest.get("sha256", "") for subject in statement.subject}
    present = {entry.name for entry in path.iterdir()}
    if present != {*signed, _SIGNATURE} or not signed.keys() >= _REQUIRED:
        odd = sorted(present ^ {*signed, _SIGNATURE}) or sorted(_REQUIRED - signed.keys())
        raise BundleError("bundle_incomplete", f"{path}: {', '.join(odd)} is missing or not signed")
    content = {name: _bytes_of(path, name) for name in signed}
    for name, digest in signed.items():
        if sha256(content[name]).hex() != digest:
            raise BundleError("bundle_digest", f"{path / name} is not the file that was signed")
    content[_SIGNATURE] = written
    return content, signer


def _signer(path: Path, envelope: _Envelope, trusted: Collection[str]) -> str:
    """The signer of an envelope, who must be trusted, and whose signature must hold."""
    (signature,) = envelope.signatures
    if signature.keyid not in trusted:
        raise BundleError("bundle_signer", f"{path} is signed by somebody whom the settings do not trust")
    try:
        public = base64.b64decode(signature.keyid.removeprefix("ed25519:"), validate=True)
        verify(public, signature.sig, _pre_authentication(envelope.payload))
    except (Unauthentic, binascii.Error):
        raise BundleError("bundle_signature", f"{path / _SIGNATURE} does not hold") from None
    return signature.keyid


def _pre_authentication(payload: bytes) -> bytes:
    """The bytes that DSSE signs (PAE of the DSSE protocol v1)."""
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD_TYPE), _PAYLOAD_TYPE.encode(), len(payload), payload)


def _bytes_of(path: Path, name: str) -> bytes:
    file = path / name
    try:
        if file.is_symlink() or not file.is_file():
            raise BundleError("bundle_incomplete", f"{file} is missing or no regular file")
        if file.stat().st_size > MAX_FILE:
            raise BundleError("bundle_too_large", f"{file} is too large")
        return file.read_bytes()
    except OSError as error:
        raise BundleError("bundle_incomplete", f"{file} cannot be read: {error.strerror}") from None


_T = TypeVar("_T")


def _read_json(path: Path, name: str, kind: type[_T], data: bytes) -> _T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BundleError("bundle_malformed", f"{path / name}: {error}") from None


def _pretty(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value, order="deterministic"), indent=2) + b"\n"
