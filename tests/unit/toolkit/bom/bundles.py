"""Bundles to make bills of materials of: the golden ones, and one that says of everything something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import structs

from compliance.keys import to_text
from policies.facts import Stated
from policies.licences import Forebear
from tests.vectors.make_bundles import HERE, SIGNER
from toolkit.bundle import Bundle, Measured, Measurements, Sliced, write_bundle
from toolkit.modification import Modification, Spent

__all__ = ["GOLDENS", "HOSTILE", "TRUSTED", "changed", "full", "golden"]

TRUSTED = {to_text(SIGNER.public)}
GOLDENS = sorted(path.name for path in HERE.glob("golden-*"))
# what steers terminals, ends strings and tags, turns text round, and is longer than a screen
HOSTILE = '\x1b[31m"</script>\u202e\u0000\r\n\u0085{{x}}' + "W" * 20_000


def golden(name: str) -> Bundle:
    return Bundle.read(HERE / name, TRUSTED)


def changed(folder: Path, **fields: Any) -> Bundle:
    """The golden bundle with other fields in its manifest, signed anew."""
    found = golden("golden-v1")
    files = {name: (HERE / "golden-v1" / name).read_bytes() for name in found.manifest.files}
    return write_bundle(folder, structs.replace(found.manifest, **fields), files, found.measurements, SIGNER)


def full(folder: Path) -> Bundle:
    """A bundle of a model that was trained and measured by slices and a task, whose licence somebody stated."""
    found = golden("golden-v1")
    spent = Spent(flops=1_200_000_000, cpu_s=3.5)
    lineage = (
        Forebear(name="org/base", digest="ab" * 32, licence="MIT", relation="parent"),
        Forebear(name="texts.jsonl", digest="11" * 32, licence="MIT", relation="calibration"),
    )
    manifest = structs.replace(
        found.manifest,
        name="full",
        version="7",
        lineage=lineage,
        purposes=("triage", "search"),
        data={"calibrate": "11" * 32, "evaluate": "22" * 32},
        recipe=({"kind": "sparsify", "share": 0.5, "keep": ["head"]}, {"kind": "distil", "epochs": 2}),
        spent=spent,
        seed=7,
        zeros={"a": 3, "b": 4},
        stated=Stated(licence="MIT", starts=0, ends=2**62),
        versions={"sealpress": "0.1.0", "onnxruntime": "1.32.0"},
    )
    measured = Measured(size_bytes=271, latency_ms=0.25, fidelity=0.96, transport_bytes=200, task={"accuracy": 0.91})
    part = Sliced(name="length 1-16", items=9, mean=0.97, low=0.95, high=0.99)
    about = Measurements(
        before=structs.replace(measured, size_bytes=900, fidelity=1.0, task={"accuracy": 0.92}),
        after=structs.replace(measured, slices=(part,)),
        machine="a processor, 2 cores",
        method={"fidelity": "mean cosine"},
    )
    low = {"all": 0.96, "length 1-16": 0.95, "class short": 0.94}
    change = Modification.of("ab" * 32, ("sparsify", "distil"), "fidelity>=0.95", 0.95, low, spent)
    files = {name: (HERE / "golden-v1" / name).read_bytes() for name in found.manifest.files}
    return write_bundle(folder, manifest, files, about, SIGNER, change)
