"""A model on disk: manifest, ONNX file, tokenizer, licence text, measurements, signature.

    BUNDLE/manifest.json       what the model is; its digest covers every other field and every file of the model
    BUNDLE/model.onnx          BUNDLE/tokenizer.json
    BUNDLE/LICENSE             the texts of all that it was made from; NOTICE and USE_POLICY where there are some
    BUNDLE/measurements.json   what was gained and lost; outside the digest, since times differ from run to run
    BUNDLE/modification.json   what pressing changed, held against what was declared before; outside the digest, too
    BUNDLE/signature.json      DSSE envelope of an in-toto statement that names every file with its SHA-256

A bundle is accepted only from a signer whom the settings trust, and the bytes that were hashed are those handed on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from compliance.crypto import Signer, sha256
from compliance.disk import put_folder
from compliance.keys import to_text
from policies.facts import Manifest
from policies.licences import Forebear, LicenceError, facts, must_be_covered
from toolkit.modification import MODIFICATION, Modification, Spent
from toolkit.runtime.inputs import Generation, ImageInput, TextInput
from toolkit.runtime.lane import reader_of
from toolkit.runtime.readers import Reader
from toolkit.signed import SIGNATURE, BundleError, BundleMissing, Files, Folder, pretty, read_json, sign, signed_files

__all__ = [
    "PAPERS",
    "Bundle",
    "BundleError",
    "BundleManifest",
    "BundleMissing",
    "Described",
    "Entities",
    "Found",
    "Measured",
    "Measurements",
    "Sliced",
    "Unsealed",
    "must_stand",
    "write_bundle",
]

PAPERS = ("LICENSE", "NOTICE", "USE_POLICY")
_MODEL = ("model.onnx", "tokenizer.json", *PAPERS)
_MANIFEST, _MEASUREMENTS = "manifest.json", "measurements.json"
_REQUIRED = {_MANIFEST, _MEASUREMENTS, "model.onnx", "LICENSE"}


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

    `text` or `image` says how an input becomes tensors; without both the model takes tensors. `generation` says how
    a model of texts generates. `labels` name the classes in the order of the answer, and `entities` says what a model
    that labels tokens finds; `data` holds the SHA-256 of what was calibrated on and measured on, `seed` that of the
    search. `zeros` counts the weights of the file that are zero, by the names of its nodes, of the layers that a step
    set weights of to zero; `spent` is there where a step trained.
    """

    lineage: tuple[Forebear, ...] = ()
    text: TextInput | UnsetType = UNSET
    image: ImageInput | UnsetType = UNSET
    generation: Generation | UnsetType = UNSET
    labels: tuple[str, ...] | UnsetType = UNSET
    entities: Entities | UnsetType = UNSET
    data: dict[str, str] | UnsetType = UNSET
    seed: int | UnsetType = UNSET
    zeros: dict[str, int] | UnsetType = UNSET
    recipe: tuple[dict[str, Any], ...]
    spent: Spent | UnsetType = UNSET
    versions: dict[str, str]
    files: dict[str, str]

    def computed_digest(self) -> str:
        """SHA-256 in hexadecimal over the canonical JSON of all other fields, and so over the bytes of all files."""
        content = msgspec.structs.replace(self, digest="")
        return sha256(msgspec.json.encode(content, order="deterministic")).hex()


class Sliced(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fidelity of some of the items, such as "length 16-31": how many they are, its mean, and the bounds of its
    two-sided 90 % bootstrap interval, so that `low` is the lower 95 % bound."""

    name: str
    items: int
    mean: float
    low: float
    high: float


class Measured(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`latency_ms` is the median at batch 1 and 32 tokens on one lane; `fidelity` the mean cosine to the original,
    as the lower 95 % bound of a bootstrap; `transport_bytes` the size when packed, `task` the means of the task's own
    metrics by name, `slices` the fidelity by slice, the lowest bound first, at most 64 of them."""

    size_bytes: int
    latency_ms: float
    fidelity: float
    transport_bytes: int | UnsetType = UNSET
    task: dict[str, float] | UnsetType = UNSET
    slices: tuple[Sliced, ...] | UnsetType = UNSET


class Measurements(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Before (the FP32 export) and after, measured in turn in the same run."""

    before: Measured
    after: Measured
    machine: str
    method: dict[str, str]


class Unsealed(Struct, frozen=True, kw_only=True):
    """How a sealed bundle was opened: of how many bytes, in what time, and with which grant, None for the box's key."""

    plain_bytes: int
    seconds: float
    grant: str | None


class Described(Struct, frozen=True, kw_only=True):
    """What a trusted signer says of a bundle, whose readable files hold; `papers` are its texts, by their files;
    `digests` the SHA-256 of every file, the signature and what is hidden included; `modification` is None in bundles of
    before there was one."""

    path: Path
    manifest: BundleManifest
    measurements: Measurements
    signer: str
    papers: dict[str, bytes]
    digests: dict[str, str]
    modification: Modification | None = None

    @classmethod
    def of(cls, path: Path, files: Files, trusted: Collection[str]) -> Described:
        """Check the signer, the signature and every file that can be read. Raises BundleError."""
        return _described(path, files, trusted)[0]


class Bundle(Described, frozen=True, kw_only=True):
    """A bundle that was read and holds. The bytes are those that were hashed; `seconds` is what that took."""

    model: bytes
    tokenizer: bytes | None
    seconds: float = 0.0
    unsealed: Unsealed | None = None

    @property
    def noticed(self) -> bool:
        """Whether its NOTICE file has the words that its licences ask for; not where one of them is not known."""
        notice = self.papers.get("NOTICE", b"").decode(errors="replace")
        try:
            return all(words in notice for words in facts(self.manifest.licence).notices)
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
        began = perf_counter()
        if not path.is_dir():
            raise BundleMissing("bundle_not_found", f"{path} is no bundle")
        return cls.checked(path, Folder(path), trusted, began)

    @classmethod
    def checked(
        cls, path: Path, files: Files, trusted: Collection[str], began: float, unsealed: Unsealed | None = None
    ) -> tuple[Bundle, dict[str, bytes]]:
        """The same for files that lie elsewhere, none of them hidden; `began` is a time of perf_counter. Raises
        BundleError."""
        said, content = _described(path, files, trusted)
        bundle = cls(
            path=path,
            manifest=said.manifest,
            measurements=said.measurements,
            signer=said.signer,
            papers=said.papers,
            digests=said.digests,
            modification=said.modification,
            model=content["model.onnx"],
            tokenizer=content.get("tokenizer.json"),
            seconds=perf_counter() - began,
            unsealed=unsealed,
        )
        return bundle, content

    @property
    def under(self) -> str | None:
        """The grant that it was opened with, and whose end is the end of its use."""
        return None if self.unsealed is None else self.unsealed.grant

    def reader(self) -> Reader:
        """What turns inputs into tensors. Raises ModelError."""
        manifest = self.manifest
        text, image = manifest.text or None, manifest.image or None
        return reader_of(
            manifest.inputs, text, image, self.tokenizer, manifest.labels or (), manifest.generation or None
        )


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
    modification: Modification | None = None,
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
        _MANIFEST: pretty(manifest),
        _MEASUREMENTS: pretty(measurements),
        **({} if modification is None else {MODIFICATION: pretty(modification)}),
    }
    content[SIGNATURE] = sign(content, signer)
    put_folder(path, content)
    return Bundle.read(path, {to_text(signer.public)})


def _described(path: Path, files: Files, trusted: Collection[str]) -> tuple[Described, dict[str, bytes]]:
    """What a bundle says of itself, and each file that can be read, as it was signed, with the signature."""
    content, signed, signer = signed_files(path, files, trusted, _REQUIRED)
    manifest = read_json(path, _MANIFEST, BundleManifest, content[_MANIFEST])
    of_model = {name: digest for name, digest in signed.items() if name in _MODEL}
    if manifest.format != 1 or manifest.files != of_model or manifest.computed_digest() != manifest.digest:
        raise BundleError("bundle_malformed", f"{path / _MANIFEST} does not describe this bundle")
    must_be_covered(manifest.licence, manifest.lineage)
    measurements = read_json(path, _MEASUREMENTS, Measurements, content[_MEASUREMENTS])
    papers = {name: content[name] for name in PAPERS if name in content}
    changed = content.get(MODIFICATION)
    said = Described(
        path=path,
        manifest=manifest,
        measurements=measurements,
        signer=signer,
        papers=papers,
        digests={**signed, SIGNATURE: sha256(content[SIGNATURE]).hex()},
        modification=None if changed is None else read_json(path, MODIFICATION, Modification, changed),
    )
    return said, content
