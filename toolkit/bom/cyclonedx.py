"""A bundle as an ML-BOM of CycloneDX 1.7 (ECMA-424, JSON).

The library has no classes for model cards and drops one that it reads, so the document is made here; its validator, in
the strict form, decides whether it is handed out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.spdx import is_supported_id
from cyclonedx.validation.json import JsonStrictValidator
from msgspec import UNSET

from policies.licences import Forebear
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
from toolkit.bundle import BundleManifest, Described

__all__ = ["cyclonedx"]

_TIME = "%Y-%m-%dT%H:%M:%SZ"
_MODEL = "model"


def cyclonedx(bundle: Described, said: Said) -> bytes:
    """The document. Raises BomError where what the bundle says does not fit the schema."""
    manifest = bundle.manifest
    sets = data(manifest)
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.7.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.7",
        "serialNumber": f"urn:uuid:{identity(bundle, said, 'CycloneDX 1.7')}",
        "version": 1,
        "metadata": {
            **({} if said.created is None else {"timestamp": said.created.strftime(_TIME)}),
            "tools": {"components": [{"type": "application", "name": "sealpress", "version": version("sealpress")}]},
            "component": _model(bundle, said, sets),
        },
        **_some("components", [_data(number, one) for number, one in enumerate(sets)]),
        "compositions": [{"aggregate": "complete", "assemblies": [_MODEL]}],
        "formulation": [_formula(manifest)],
    }
    text = written(document)
    error = JsonStrictValidator(SchemaVersion.V1_7).validate_str(text.decode())
    if error is not None:
        at = "/".join(str(step) for step in error.data.absolute_path)
        raise BomError("bom_invalid", f"CycloneDX 1.7 has no place for what the bundle says at {at}")
    return text


def _model(bundle: Described, said: Said, sets: tuple[Data, ...]) -> dict[str, Any]:
    manifest = bundle.manifest
    where = [] if said.location is None else [{"type": "distribution", "url": said.location}]
    released = {} if said.released is None else {"released": said.released.strftime(_TIME)}
    return {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": manifest.name,
        "version": manifest.version,
        "licenses": _licences(manifest.licence),
        **_some("pedigree", _pedigree(manifest)),
        **_some("externalReferences", where),
        "components": [
            {"type": "file", "bom-ref": f"file-{name}", "name": name, "hashes": _hashes(digest)}
            for name, digest in sorted(bundle.digests.items())
        ],
        "modelCard": _card(bundle, sets),
        "properties": _properties(
            {"digest": manifest.digest, "signer": bundle.signer, **released, **_stated(manifest)}
        ),
    }


def _stated(manifest: BundleManifest) -> dict[str, object]:
    """That somebody stated the licence of the source, where it does not stand in its papers."""
    return {} if manifest.stated is UNSET else {"licence-stated": manifest.stated}


def _pedigree(manifest: BundleManifest) -> dict[str, Any]:
    ancestors = [
        {"type": "machine-learning-model", "bom-ref": f"ancestor-{number}", "name": one.name, **_forebear(one)}
        for number, one in enumerate(models(manifest))
    ]
    return _some("ancestors", ancestors)


def _forebear(one: Forebear) -> dict[str, Any]:
    """An entry of the lineage: its digest where its bytes were seen, its licence, and which text that came under."""
    text = {} if one.text is UNSET else {"licence-words": one.text}
    return {
        **({"hashes": _hashes(one.digest)} if one.digest else {}),
        "licenses": _licences(one.licence),
        "properties": _properties({"relation": one.relation, **text}),
    }


def _data(number: int, one: Data) -> dict[str, Any]:
    told: dict[str, Any] = {"type": "data", "bom-ref": f"data-{number}"}
    uses = _properties({"use": ", ".join(one.uses)} if one.uses else {})
    if one.forebear is None:
        told |= {"name": f"items to {' and '.join(one.uses)}", "hashes": _hashes(one.digest)}
        return {**told, "data": [{"type": "dataset"}], "properties": uses}
    known = _forebear(one.forebear)
    return {
        **told,
        "name": one.forebear.name,
        **known,
        "data": [{"type": "dataset"}],
        "properties": [*known["properties"], *uses],
    }


def _card(bundle: Described, sets: tuple[Data, ...]) -> dict[str, Any]:
    manifest = bundle.manifest
    considered = {
        **_some("useCases", list(manifest.purposes)),
        **_some("technicalLimitations", list(limits(manifest))),
        **_some("performanceTradeoffs", list(_changed(bundle))),
    }
    found = {f"method-{name}": told for name, told in methods(bundle).items()}
    return {
        "modelParameters": {
            "task": manifest.task,
            **_some("datasets", [{"ref": f"data-{number}"} for number in range(len(sets))]),
            "inputs": [{"format": tensor(one)} for one in manifest.inputs],
            "outputs": [{"format": tensor(one)} for one in manifest.outputs],
        },
        "quantitativeAnalysis": {"performanceMetrics": [_metric(one) for one in figures(bundle)]},
        **_some("considerations", considered),
        "properties": _properties({"machine": bundle.measurements.machine, **found, **_further(bundle)}),
    }


def _further(bundle: Described) -> dict[str, object]:
    """What has no place of its own: how many weights are zero, and what pressing changed, in full."""
    zeros, changed = bundle.manifest.zeros, bundle.modification
    return {
        **({} if zeros is UNSET else {"zeros": sum(zeros.values())}),
        **({} if changed is None else {"modification": changed}),
    }


def _changed(bundle: Described) -> Iterator[str]:
    """What pressing changed, held against what was declared before."""
    changed = bundle.modification
    if changed is not None:
        declared = f"declared before: {changed.declared}; " if changed.declared else ""
        yield f"{declared}{changed.finding}: {changed.why}"


def _metric(one: Figure) -> dict[str, Any]:
    bounds = {**_some("lowerBound", one.low), **_some("upperBound", one.high)}
    return {
        "type": one.title,
        "value": one.value,
        **_some("slice", one.slice),
        **_some("confidenceInterval", bounds),
    }


def _formula(manifest: BundleManifest) -> dict[str, Any]:
    """How it was made: the steps with their fields, what training took, and the releases that did it."""
    spent = {} if manifest.spent is UNSET else {"flops": manifest.spent.flops, "cpu_s": manifest.spent.cpu_s}
    seed = {} if manifest.seed is UNSET else {"seed": manifest.seed}
    tools = [
        {"type": "library", "bom-ref": f"tool-{number}", "name": name, "version": release}
        for number, (name, release) in enumerate(sorted(manifest.versions.items()))
    ]
    workflow = {
        "bom-ref": "pressing",
        "uid": manifest.digest,
        "name": "pressing",
        "taskTypes": ["build"],
        **_some("resourceReferences", [{"ref": one["bom-ref"]} for one in tools]),
        **_some("steps", [_step(number, fields) for number, fields in enumerate(manifest.recipe, 1)]),
        **_some("properties", _properties({**seed, **spent})),
    }
    return {**_some("components", tools), "workflows": [workflow]}


def _step(number: int, fields: Mapping[str, Any]) -> dict[str, Any]:
    settings = {name: value for name, value in fields.items() if name != "kind"}
    return {"name": f"{number}. {plain(fields.get('kind', ''))}", **_some("properties", _properties(settings))}


def _licences(licence: str) -> list[dict[str, Any]]:
    """One licence of the SPDX list by its id, everything else as an expression, with the address of each text and the
    names of those that are not in the list."""
    known = named(licence)
    if is_supported_id(licence):
        entry = known.get(licence)
        url = {} if entry is None else {"url": entry.url}
        return [{"license": {"id": licence, "acknowledgement": "declared", **url}}]
    details = [{"licenseIdentifier": spdx, "url": entry.url} for spdx, entry in known.items() if entry is not None]
    names = {
        f"licence-name:{spdx}": entry.name
        for spdx, entry in known.items()
        if entry is not None and not is_supported_id(spdx)
    }
    return [
        {
            "expression": licence,
            **_some("expressionDetails", details),
            "acknowledgement": "declared",
            **_some("properties", _properties(names)),
        }
    ]


def _hashes(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest}]


def _properties(values: Mapping[str, object]) -> list[dict[str, str]]:
    return [{"name": f"sealpress:{name}", "value": plain(value)} for name, value in values.items()]


def _some(name: str, value: Any) -> dict[str, Any]:
    """A field that is left out where there is nothing to say."""
    return {name: value} if value else {}
