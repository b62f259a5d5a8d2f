"""Press a model: source, gate, steps, measurement, signed bundle."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from msgspec import UNSET

from policies import licences
from policies.facts import Ancestor, Manifest
from policies.gate import Grant, gate
from policies.payload import Payload
from toolkit.box import Box, Context
from toolkit.bundle import Bundle, BundleError, BundleManifest, Measured, Measurements, write_bundle
from toolkit.compress import data, measure
from toolkit.compress.budget import Budget
from toolkit.compress.data import Data, Items
from toolkit.compress.engine import Press, versions
from toolkit.compress.errors import CompressionError, RecipeError
from toolkit.compress.intake import taken_in
from toolkit.compress.recipe import Recipe
from toolkit.compress.results import Result
from toolkit.compress.source import Source
from toolkit.compress.steps.dynamic_int8 import DynamicInt8

__all__ = ["compress"]

INT8 = Recipe((DynamicInt8(),))
_NOTHING = Items(items=(), digest="")

Texts = str | os.PathLike[str] | Iterable[str]


def _silent(_: str) -> None:
    pass


def compress(
    source: str | os.PathLike[str],
    *,
    budget: str | None = None,
    recipe: str | os.PathLike[str] | None = None,
    calibrate: Texts | None = None,
    evaluate: Texts | None = None,
    out: str | os.PathLike[str] | None = None,
    licence: str | None = None,
    settings: str | os.PathLike[str] | None = None,
    progress: Callable[[str], None] = _silent,
) -> Bundle:
    """Press a model to a signed bundle at `out` (default: NAME.bundle), and return it.

    `source` is a Hugging Face directory or an ONNX file; `recipe` the path of a TOML file, without it the weights
    go to int8; `budget` such as "size<=25MB, fidelity>=0.99, latency<=0.5x" is what the result must keep to, and it is
    refused where it does not. `calibrate` and `evaluate` are texts, or the path of a .txt or .jsonl file of texts;
    no text may stand in both. The licence comes from the source's own papers; `licence`, an SPDX identifier, only fills
    a gap. It must allow derivatives, else Denied, on record.

    Raises SourceMissing, SourceError, LicenceError, RecipeError, DataError, BudgetError, CompressionError, BundleError.
    """
    box = Box.embedded(settings)
    bound = Budget() if budget is None else Budget.parse(budget)
    steps = INT8 if recipe is None else _recipe(Path(recipe), box.settings.compress.steps)
    path = Path(source)
    target = Path(out) if out is not None else Path(f"{path.resolve().stem}.bundle")
    if target.exists():
        raise BundleError("bundle_exists", f"{target} exists already")
    signer = box.bundle_signer()
    progress("read the source and its papers")
    found = taken_in(path)
    spdx = licences.agreed(licence, found.licences)
    sets = _data(found, calibrate, evaluate)
    parent = Manifest(
        format=1, name=found.name, version="", digest=found.digest, task=found.task, licence=spdx, inputs=(), outputs=()
    )
    read = [item for items in (sets.calibrate, sets.evaluate) for item in items.items if isinstance(item, str)]
    payload = Payload.checked({"recipe": steps.plain(), "texts": read})

    def work(grant: Grant) -> Bundle:
        press = Press(found, grant, box.policy.digest, sets, progress)
        made = press.follow(steps)
        progress("measure")
        before, after = press.before, press.result(made.model)
        if missed := bound.missed(after):
            kinds = ", ".join(report.kind for report in made.reports)
            code = "not_faithful" if not after.fidelity.score.low >= bound.fidelity else "budget_missed"
            raise CompressionError(code, f"after {kinds} {' and '.join(missed)}")
        draft = BundleManifest(
            format=1,
            name=f"{found.name}-int8" if recipe is None else found.name,
            version="1",
            digest="",
            task=found.task,
            licence=spdx,
            inputs=press.float.session.inputs,
            outputs=press.float.session.outputs,
            lineage=(Ancestor(name=found.name, digest=found.digest, licence=spdx, relation="parent"),),
            text=found.text or UNSET,
            image=found.image or UNSET,
            labels=found.labels or UNSET,
            data={
                name: s.digest for name, s in (("calibrate", sets.calibrate), ("evaluate", sets.evaluate)) if s.digest
            },
            recipe=steps.plain(),
            versions=versions(),
            files={},
        )
        files = {"model.onnx": made.model, "LICENSE": (found.licence_text or licences.text(spdx)).encode()}
        if found.tokenizer is not None:
            files["tokenizer.json"] = found.tokenizer
        if found.notice is not None:
            files["NOTICE"] = found.notice.encode()
        measurements = Measurements(
            before=_measured(before, after.latency_before_ms),
            after=_measured(after, after.latency_ms),
            machine=measure.machine(),
            method=measure.method(found.measure, _said(sets.evaluate, evaluate is not None)),
        )
        progress("write and sign the bundle")
        return write_bundle(target, draft, files, measurements, signer)

    return gate(box.policy, parent, box.call("compress", found.digest, Context()), payload, box.journal, work)


def _recipe(path: Path, foreign: tuple[str, ...]) -> Recipe:
    try:
        with path.open(encoding="utf-8") as file:
            return Recipe.parse(file.read(1_000_000), foreign)
    except OSError as error:
        raise RecipeError("recipe_not_found", f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RecipeError("recipe_text", f"{path} is no UTF-8") from None


def _data(found: Source, calibrate: Texts | None, evaluate: Texts | None) -> Data:
    if found.text is None:
        return Data(calibrate=found.examples(CALIBRATE, 1), evaluate=found.examples(EVALUATE, 2))
    measured = data.texts(measure.evaluation_texts()) if evaluate is None else _texts(evaluate)
    return Data(calibrate=_NOTHING if calibrate is None else _texts(calibrate), evaluate=measured)


def _texts(given: Texts) -> Items:
    return data.read_texts(Path(given)) if isinstance(given, str | os.PathLike) else data.texts(given)


def _measured(result: Result, latency_ms: float) -> Measured:
    return Measured(size_bytes=result.size_bytes, latency_ms=latency_ms, fidelity=result.fidelity.score.low)


def _said(items: Items, given: bool) -> str:
    if given:
        return f"{len(items.items)} items that the user gave"
    kind = (
        "English passages from the standard library"
        if items.items and isinstance(items.items[0], str)
        else "inputs made up from the shapes of the model, seeded: they show that it computes the same, not that it is right"
    )
    return f"{len(items.items)} {kind}"
