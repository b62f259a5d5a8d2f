"""A bundle as a document of SPDX 3.0.1 (JSON-LD), with its model in the terms of the AI profile.

The profile asks for the time of release and the address of download, which no bundle knows. Where who asks does not
say them, the document is not called one that follows the profile, and nothing is made up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from msgspec import UNSET
from spdx_python_model.bindings import v3_0_1 as spdx3

from policies import licences
from policies.licences import UNKNOWN, Forebear
from toolkit.bom.contents import (
    Data,
    Figure,
    Said,
    data,
    figures,
    identity,
    limits,
    methods,
    models,
    named,
    plain,
    tensor,
    written,
)
from toolkit.bom.errors import BomError
from toolkit.bundle import Described

__all__ = ["spdx"]

# a document has to have been made at some time, and a bundle knows none
_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)
_NO_LICENCE = "https://spdx.org/rdf/3.0.1/terms/ExpandedLicensing/NoAssertion"
_SHA256 = re.compile("[0-9a-f]{64}")


def spdx(bundle: Described, said: Said) -> bytes:
    """The document. Raises BomError where the model of SPDX does not take what the bundle says."""
    try:
        found = _Document(bundle, said).whole()
        document = spdx3.JSONLDSerializer().serialize_data(found, force_at_graph=True)
        # read as a stranger would: unknown names, wrong types and what is missing are found there
        spdx3.JSONLDDeserializer().deserialize_data(json.loads(json.dumps(document)), spdx3.SHACLObjectSet())
    except (TypeError, ValueError, KeyError) as error:
        raise BomError("bom_invalid", f"SPDX 3.0.1 does not take what the bundle says: {str(error)[:200]!r}") from None
    return written(document)


class _Document:
    """The elements of a document, each with a name below that of the document."""

    def __init__(self, bundle: Described, said: Said) -> None:
        self._bundle, self._said = bundle, said
        self._base = f"urn:uuid:{identity(bundle, said, 'SPDX 3.0.1')}"
        self._elements: dict[str, spdx3.Element] = {}
        self._licences: dict[str, str] = {}
        self._relations = 0
        self._made = spdx3.CreationInfo(
            specVersion="3.0.1",
            created=said.created or _NO_TIME,
            createdBy=[self._id("sealpress")],
            **_said(comment=None if said.created else "The bundle names no time, and none was given: this is none."),
        )

    def whole(self) -> spdx3.SHACLObjectSet:
        bundle, said = self._bundle, self._said
        self._add(spdx3.SoftwareAgent(spdxId=self._id("sealpress"), name=f"sealpress {version('sealpress')}"))
        signer = self._add(spdx3.Agent(spdxId=self._id("signer"), name=bundle.signer))
        model = self._add(self._model(signer))
        for number, (name, digest) in enumerate(sorted(bundle.digests.items())):
            file = spdx3.software_File(spdxId=self._id(f"file-{number}"), name=name, verifiedUsing=[_hash(digest)])
            self._relate(model, "contains", self._add(file))
        for number, one in enumerate(models(bundle.manifest)):
            self._relate(self._ancestor(number, one), "ancestorOf", model, one.relation)
        for number, found in enumerate(data(bundle.manifest)):
            self._data(model, number, found)
        for number, (name, release) in enumerate(sorted(bundle.manifest.versions.items())):
            tool = self._add(spdx3.Tool(spdxId=self._id(f"tool-{number}"), name=f"{name} {release}"))
            self._relate(model, "usesTool", tool, "when the model was pressed")
        stated = bundle.manifest.stated
        for relation in ("hasDeclaredLicense", "hasConcludedLicense"):
            why = None if stated is UNSET else f"somebody stated the licence of the source: {plain(stated)}"
            self._relate(model, relation, self._licence(bundle.manifest.licence), why)
        self._changed(model)
        profiles = ["core", "software", "simpleLicensing"]
        profiles += ["ai"] if said.released is not None and said.location is not None else []
        return self._document(model, profiles)

    def _document(self, model: str, profiles: list[str]) -> spdx3.SHACLObjectSet:
        sbom = spdx3.software_Sbom(
            spdxId=self._id("sbom"),
            rootElement=[model],
            element=sorted(self._elements),
            profileConformance=[_individual(spdx3.ProfileIdentifierType, one) for one in profiles],
        )
        self._add(sbom)
        document = spdx3.SpdxDocument(
            spdxId=self._id("document"),
            name=self._bundle.manifest.name,
            rootElement=[self._id("sbom")],
            element=sorted(self._elements),
            profileConformance=[_individual(spdx3.ProfileIdentifierType, one) for one in profiles],
        )
        self._add(document)
        return spdx3.SHACLObjectSet([self._made, *self._elements.values()])

    def _id(self, name: str) -> str:
        return f"{self._base}#{name}"

    def _add(self, element: spdx3.Element) -> str:
        """Take up an element; gives its id."""
        element.creationInfo = self._made
        assert element.spdxId is not None  # noqa: S101 - each is made with one, which only the type does not say
        self._elements[element.spdxId] = element
        return element.spdxId

    def _relate(self, of: str, kind: str, to: str, why: str | None = None) -> None:
        relation = spdx3.Relationship(
            spdxId=self._id(f"relationship-{self._relations}"),
            from_=of,
            relationshipType=_individual(spdx3.RelationshipType, kind),
            to=[to],
            **_said(comment=why),
        )
        self._relations += 1
        self._add(relation)

    def _model(self, signer: str) -> spdx3.ai_AIPackage:
        manifest, said = self._bundle.manifest, self._said
        whole = _hash(manifest.digest)
        whole.comment = (
            "over the canonical JSON of manifest.json without this field, which names each file of the model"
        )
        told = list(limits(manifest))
        return spdx3.ai_AIPackage(
            spdxId=self._id("model"),
            name=manifest.name,
            software_packageVersion=manifest.version,
            software_primaryPurpose=_individual(spdx3.software_SoftwarePurpose, "model"),
            **_said(software_downloadLocation=said.location, releaseTime=said.released),
            suppliedBy=signer,
            verifiedUsing=[whole],
            ai_informationAboutApplication=". ".join(self._application()),
            ai_informationAboutTraining=". ".join(self._training()),
            **_said(ai_limitation=" ".join(told) or None),
            ai_hyperparameter=list(self._steps()),
            ai_metric=[_metric(one) for one in figures(self._bundle)],
        )

    def _application(self) -> Iterator[str]:
        manifest = self._bundle.manifest
        yield f"Task: {manifest.task}"
        yield f"Takes: {'; '.join(map(tensor, manifest.inputs))}"
        yield f"Gives: {'; '.join(map(tensor, manifest.outputs))}"
        if manifest.purposes:
            yield f"Its maker allows these purposes alone: {', '.join(manifest.purposes)}"

    def _training(self) -> Iterator[str]:
        manifest = self._bundle.manifest
        if manifest.spent is not UNSET:
            yield f"Training took {manifest.spent.flops} operations and {manifest.spent.cpu_s} CPU-s"
        if manifest.seed is not UNSET:
            yield f"Seed: {manifest.seed}"
        yield f"Measured on: {self._bundle.measurements.machine}"
        for name, method in methods(self._bundle).items():
            yield f"How {name} was found: {method}"

    def _steps(self) -> Iterator[spdx3.DictionaryEntry]:
        """The steps in order, each with its fields."""
        for number, fields in enumerate(self._bundle.manifest.recipe, 1):
            settings = {name: value for name, value in fields.items() if name != "kind"}
            yield _entry(f"{number}. {plain(fields.get('kind', ''))}", plain(settings))

    def _ancestor(self, number: int, one: Forebear) -> str:
        package = spdx3.software_Package(
            spdxId=self._id(f"ancestor-{number}"),
            name=one.name,
            software_primaryPurpose=_individual(spdx3.software_SoftwarePurpose, "model"),
            verifiedUsing=[_hash(one.digest)] if one.digest else [],
        )
        self._relate(self._add(package), "hasDeclaredLicense", self._licence(one.licence))
        return self._id(f"ancestor-{number}")

    def _data(self, model: str, number: int, one: Data) -> None:
        """A set of items; of what kind they are, the bundle does not say."""
        kin = one.forebear
        package = spdx3.dataset_DatasetPackage(
            spdxId=self._id(f"data-{number}"),
            name=f"items to {' and '.join(one.uses)}" if kin is None else kin.name,
            software_primaryPurpose=_individual(spdx3.software_SoftwarePurpose, "data"),
            dataset_datasetType=[_individual(spdx3.dataset_DatasetType, "noAssertion")],
            verifiedUsing=[_hash(one.digest)] if one.digest else [],
        )
        at = self._add(package)
        if kin is not None:
            self._relate(at, "hasDeclaredLicense", self._licence(kin.licence))
            self._relate(model, "trainedOn" if kin.relation == "training" else "other", at, kin.relation)
        for use in one.uses:
            self._relate(model, "testedOn" if use == "evaluate" else "other", at, use)

    def _licence(self, expression: str) -> str:
        """The element for a licence, made once; the texts of those that are not in the list of SPDX with it."""
        if expression == UNKNOWN:
            return _NO_LICENCE
        if expression not in self._licences:
            found = spdx3.simplelicensing_LicenseExpression(
                spdxId=self._id(f"licence-{len(self._licences)}"),
                simplelicensing_licenseExpression=expression,
                simplelicensing_customIdToUri=list(self._texts(expression)),
            )
            self._licences[expression] = self._add(found)
        return self._licences[expression]

    def _texts(self, expression: str) -> Iterator[spdx3.DictionaryEntry]:
        for name, entry in named(expression).items():
            if entry is not None and name.startswith("LicenseRef-"):
                text = spdx3.simplelicensing_SimpleLicensingText(
                    spdxId=self._id(f"text-{name}"),
                    name=entry.name,
                    comment=entry.url,
                    simplelicensing_licenseText=licences.text(name),
                )
                yield _entry(name, self._add(text))

    def _changed(self, model: str) -> None:
        """What pressing changed, held against what was declared before."""
        if self._bundle.modification is not None:
            note = spdx3.Annotation(
                spdxId=self._id("modification"),
                subject=model,
                annotationType=_individual(spdx3.AnnotationType, "review"),
                contentType="application/json",
                statement=plain(self._bundle.modification),
            )
            self._add(note)


def _said(**fields: Any) -> dict[str, Any]:
    """The fields that are there: the library takes no None."""
    return {name: value for name, value in fields.items() if value is not None}


def _individual(kind: type[spdx3.SHACLObject], name: str) -> str:
    """The IRI of a name of a vocabulary."""
    return kind.NAMED_INDIVIDUALS[name]


def _metric(one: Figure) -> spdx3.DictionaryEntry:
    part = f" of {one.slice}" if one.slice else ""
    interval = f" [{one.low}, {one.high}]" if one.high else ""
    return _entry(f"{one.title}{part}", f"{one.value}{interval}")


def _entry(key: str, value: str) -> spdx3.DictionaryEntry:
    return spdx3.DictionaryEntry(key=key, value=value)


def _hash(digest: str) -> spdx3.Hash:
    """Raises ValueError: the library takes any text."""
    if not _SHA256.fullmatch(digest):
        raise ValueError(f"{digest[:80]} is no SHA-256")
    return spdx3.Hash(algorithm=_individual(spdx3.HashAlgorithm, "sha256"), hashValue=digest)
