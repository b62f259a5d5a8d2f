"""Press a model under a grant: export, check the export, take the steps, measure, and refuse what is broken."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from msgspec import Struct

from policies.facts import Tensor
from policies.gate import Grant, covers, redeem
from toolkit.bundle import Measured
from toolkit.compress.errors import CompressionError
from toolkit.compress.measure import fidelity, latencies_ms, machine
from toolkit.compress.quiet import quiet
from toolkit.compress.recipe import Recipe
from toolkit.compress.sources.huggingface import Source
from toolkit.compress.step import StepReport
from toolkit.extras import needs
from toolkit.runtime.lane import Lane

__all__ = ["FLOOR", "Pressed", "lane_of", "press"]

FLOOR = 0.9  # below this fidelity nothing is handed out

_VERSIONED = (
    "sealpress",
    "torch",
    "transformers",
    "optimum",
    "onnx",
    "onnx-ir",
    "onnxscript",
    "onnxruntime",
    "tokenizers",
    "numpy",
)


class Pressed(Struct, frozen=True, kw_only=True):
    """A pressed model and what was measured. `digest` is the SHA-256 of `model`, an ONNX file.

    `export_error` is the largest absolute difference between the exported graph and the original model.
    """

    model: bytes
    digest: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    before: Measured
    after: Measured
    export_error: float
    reports: tuple[StepReport, ...]
    machine: str
    versions: dict[str, str]


def press(source: Source, grant: Grant, in_force: str, recipe: Recipe, progress: Callable[[str], None]) -> Pressed:
    """Follow the recipe. The texts to measure on are the grant's: `evaluation_texts()` as "texts" in its payload.

    Raises Ungated, SourceError, CompressionError, MissingExtra.
    """
    redeem(grant, source.digest, in_force)
    progress("load the libraries")
    with quiet(), needs("compress"):
        from toolkit.compress.sources import export
    progress("load the weights")
    original = export.load(source)
    progress("export to ONNX")
    exported = original.export()
    before = lane_of(exported, source, grant)
    progress("check the export against the original")
    export_error = export.difference(original, before, grant, in_force)
    reference = original.embed(grant, in_force, before.tokens)
    model, reports = exported, []
    for number, step in enumerate(recipe.steps, start=1):
        progress(f"step {number} of {len(recipe.steps)}: {recipe.plain()[number - 1]['kind']}")
        model, report = step.apply(model, ())
        reports.append(report)
    progress("measure")
    after = lane_of(model, source, grant)
    if after.session.inputs != before.session.inputs or after.session.outputs != before.session.outputs:
        raise CompressionError("step_failed", "the pressed model takes or gives something else than the original")
    kept = fidelity(reference, after.embed(grant, in_force))
    if not kept >= FLOOR:  # NaN is refused too
        kinds = ", ".join(report.kind for report in reports)
        raise CompressionError("not_faithful", f"after {kinds} the fidelity is {kept:.3f}, below {FLOOR}")
    latency_before, latency_after = latencies_ms((before, after), grant, in_force)
    return Pressed(
        model=model,
        digest=hashlib.sha256(model).hexdigest(),
        inputs=after.session.inputs,
        outputs=after.session.outputs,
        before=Measured(
            size_bytes=len(exported),
            latency_ms=latency_before,
            fidelity=fidelity(reference, before.embed(grant, in_force)),
        ),
        after=Measured(size_bytes=len(model), latency_ms=latency_after, fidelity=kept),
        export_error=export_error,
        reports=tuple(reports),
        machine=machine(),
        versions=_versions(),
    )


def lane_of(model: bytes, source: Source, grant: Grant) -> Lane:
    """A lane for a model that was derived under the grant."""
    digest = hashlib.sha256(model).hexdigest()
    covers(grant, digest)
    return Lane(model, digest, source.tokenizer, source.text)


def _versions() -> dict[str, str]:
    """The releases that made the bytes; sealpress itself may run from a checkout that was never installed."""
    found = {}
    for package in _VERSIONED:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
