"""Press a model: source, gate, steps, measurement, signed bundle."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from policies import licences
from policies.facts import Ancestor, Manifest
from policies.gate import Grant, gate
from policies.payload import Payload
from toolkit.box import Box, Context
from toolkit.bundle import Bundle, BundleError, BundleManifest, Measurements, write_bundle
from toolkit.compress.engine import press
from toolkit.compress.measure import evaluation_texts, method
from toolkit.compress.recipe import INT8
from toolkit.compress.sources import huggingface

__all__ = ["compress"]


def _silent(_: str) -> None:
    pass


def compress(
    source: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    licence: str | None = None,
    settings: str | os.PathLike[str] | None = None,
    progress: Callable[[str], None] = _silent,
) -> Bundle:
    """Press a Hugging Face directory to a signed int8 bundle at `out` (default: NAME-int8.bundle), and return it.

    The licence comes from the source's own papers; `licence`, an SPDX identifier, only fills a gap. The parent's
    licence must allow derivatives, else Denied, on record. Raises SourceMissing and SourceError for a source that
    cannot be taken in, LicenceError for papers that are missing or in conflict, CompressionError when the result is
    not faithful, BundleError when `out` exists.
    """
    box = Box.embedded(settings)
    path = Path(source)
    target = Path(out) if out is not None else Path(f"{path.resolve().name}-int8.bundle")
    if target.exists():
        raise BundleError("bundle_exists", f"{target} exists already")
    signer = box.bundle_signer()
    progress("read the source and its papers")
    found = huggingface.read(path)
    spdx = licences.agreed(licence, found.licences)
    recipe = INT8
    parent = Manifest(
        format=1, name=found.name, version="", digest=found.digest, task=found.task, licence=spdx, inputs=(), outputs=()
    )
    payload = Payload.checked({"recipe": recipe.plain(), "texts": evaluation_texts()})

    def work(grant: Grant) -> Bundle:
        pressed = press(found, grant, box.policy.digest, recipe, progress)
        draft = BundleManifest(
            format=1,
            name=f"{found.name}-int8",
            version="1",
            digest="",
            task=found.task,
            licence=spdx,
            inputs=pressed.inputs,
            outputs=pressed.outputs,
            lineage=(Ancestor(name=found.name, digest=found.digest, licence=spdx, relation="parent"),),
            text=found.text,
            recipe=recipe.plain(),
            versions=pressed.versions,
            files={},
        )
        files = {
            "model.onnx": pressed.model,
            "tokenizer.json": found.tokenizer,
            "LICENSE": (found.licence_text or licences.text(spdx)).encode(),
        }
        if found.notice is not None:
            files["NOTICE"] = found.notice.encode()
        measurements = Measurements(
            before=pressed.before, after=pressed.after, machine=pressed.machine, method=method()
        )
        progress("write and sign the bundle")
        return write_bundle(target, draft, files, measurements, signer)

    return gate(box.policy, parent, box.call("compress", found.digest, Context()), payload, box.journal, work)
