"""Press a model: source, gate, search or one recipe, measurement, signed bundle, report."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Collection, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from compliance.crypto import Signer
from toolkit.box import Box
from toolkit.bundle import Bundle, BundleError, BundleManifest, Entities, Measurements, write_bundle
from toolkit.compress import labelled, measure
from toolkit.compress.ancestry import texts_of
from toolkit.compress.budget import Budget
from toolkit.compress.calibration import Texts
from toolkit.compress.choice import chosen_of, refusal, steps_of
from toolkit.compress.combine import Candidate
from toolkit.compress.data import Items
from toolkit.compress.engine import Press
from toolkit.compress.errors import SourceError
from toolkit.compress.figures import figures
from toolkit.compress.ladder import NAMES as RECIPES
from toolkit.compress.ladder import default_of, ladder_of, only
from toolkit.compress.plan import Plan, planned
from toolkit.compress.results import Diagnosis, Result, Run, Trial
from toolkit.compress.search import Ladder, Limits, nearest, search
from toolkit.compress.source import Generates, Source
from toolkit.compress.task import SEED, Given, Task
from toolkit.compress.trials import Trials
from toolkit.compress.versions import versions
from toolkit.modification import Modification, Spent
from toolkit.runtime.inputs import ImageInput

if TYPE_CHECKING:
    import torch

__all__ = ["RECIPES", "TRIALS", "compress", "diagnose", "handed_out", "plan"]

TRIALS = 24

# Before torch is loaded: its threads wait for each other spinning, and where the machine serves meanwhile, they spin
# through the time of the one that they wait for. A text then took MiniLM 0.64 s instead of 0.02.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def _silent(_: str) -> None:
    pass


def compress(
    source: str | os.PathLike[str] | torch.nn.Module,
    *,
    example: object = None,
    image: ImageInput | None = None,
    labels: Sequence[str] = (),
    budget: str | None = None,
    recipe: str | os.PathLike[str] | None = None,
    calibrate: Given | None = None,
    evaluate: Given | None = None,
    out: str | os.PathLike[str] | None = None,
    licence: str | None = None,
    data_licence: str | None = None,
    licence_until: date | None = None,
    parents: Sequence[str] = (),
    trials: int = TRIALS,
    minutes: float | None = None,
    memory: int | None = None,
    resume: bool = False,
    settings: str | os.PathLike[str] | None = None,
    progress: Callable[[str], None] = _silent,
) -> Bundle:
    """Press a model to a signed bundle at `out` (default: NAME.bundle), and return it.

    `source` is a Hugging Face or timm directory, an ONNX or GGUF file, "timm:NAME:FILE" or "torchvision:NAME:FILE", or
    a torch.nn.Module. A module comes with an `example` of its inputs, whose first dimension is the batch: a tensor,
    several in the order of `forward`, or by name; items to calibrate and to evaluate may be given the same way. `image`
    says that it takes images, and how they become its tensor; `labels` name its classes.

    `budget`, such as "size<=20MB, fidelity>=0.99, latency<=0.4x", is what the bundle must keep to: the smallest that
    does is looked for, in at most `trials` trials, none begun after `minutes`. `recipe` is the name of one or the path
    of a TOML file, and alone is tried then; without both it is "int8". `calibrate` and `evaluate` are items (texts,
    images as bytes or paths, tensors by name), or the path of a file of them (toolkit.compress.data); no item may stand
    in both. A run that would take more than `memory` bytes is not begun.

    Every trial and the report lie in OUT.run beside the bundle, also when nothing is handed out; `resume` goes on with
    it. The licence comes from the source's own papers; `licence`, an SPDX identifier, only fills a gap, and counts
    until before `licence_until` (default: a year). `data_licence`
    is that of the data to calibrate on ("LicenseRef-own" for one's own), and `parents` hold, as "NAME=LICENCE" or
    "NAME=./FOLDER", what the source was made from: each model that its papers name has to be among them. The bundle may
    be used for what all of them allow. They must allow derivatives, else Denied, on record.

    Raises SourceMissing, SourceError, LicenceError, ParentError, RecipeError, ItemsError, BudgetError,
    CompressionError, BundleError.
    """
    box = Box.embedded(settings)
    bound = Budget() if budget is None else Budget.parse(budget)
    one = None if recipe is None else _alone(recipe, calibrate, box)
    _refuse_existing(out)
    signer = box.bundle_signer()
    task = Task.of(
        source,
        box=box,
        calibrate=calibrate,
        evaluate=evaluate,
        licence=licence,
        data_licence=data_licence,
        licence_until=licence_until,
        parents=parents,
        progress=progress,
        example=example,
        image=image,
        labels=labels,
        memory=memory,
    )
    found, data, spdx = task.source, task.data, task.licence
    if one is None and budget is None:
        one = _alone(default_of(found), calibrate, box)
    ladder = Ladder((one,)) if one is not None else ladder_of(found, data)
    _refuse_larger(planned(found, spdx, data, ladder, trials), memory)
    target = Path(out) if out is not None else Path(f"{found.name}.bundle")
    _refuse_existing(target)

    def work(press: Press) -> Bundle:
        origin = {"source": found.digest, "data": data.digests(), "versions": versions(), "machine": measure.machine()}
        kept = Trials(target.with_suffix(".run"), {**origin, "budget": budget or ""}, resume=resume)
        tried = search(press, ladder, bound, Limits(trials=trials, minutes=minutes), kept, progress)
        return handed_out(press, task, kept, tried, target, signer, budget or "", measured=evaluate is not None)

    return task.gated({"budget": budget or "", "recipe": [] if one is None else one.recipe.plain()}, work)


def handed_out(
    press: Press,
    task: Task,
    kept: Trials,
    tried: Sequence[Trial],
    target: Path,
    signer: Signer,
    budget: str,
    *,
    measured: bool,
) -> Bundle:
    """The report of a run, and the signed bundle of the best of its trials that keeps to the budget. `measured`: on
    items that the user gave.

    Raises CompressionError where none does, BundleError, Failed.
    """
    found, data, foreign = task.source, task.data, task.box.settings.compress.steps
    bound = Budget.parse(budget) if budget else Budget()
    method = measure.method(found.measure, _said(found, data.evaluate, measured))
    if isinstance(found, Generates) and found.generation.rounded:
        method["source"] = (
            f"the weights came in few bits already ({found.generation.rounded}): what stands here as FP32 and as the "
            "original are these weights made floats, which few bits in like blocks come near more easily"
        )
    chosen, result = chosen_of(press, kept, tried, bound, foreign)
    shown = chosen or nearest(tried, bound)
    task.progress("write the report")
    kept.report(
        _run(
            press,
            kept,
            tried,
            shown,
            licence=task.licence,
            budget=budget,
            method=method,
            chosen=chosen,
            foreign=foreign,
        )
    )
    if chosen is None or result is None:
        raise refusal(tried, shown, bound)
    model = kept.model(chosen)
    read = press.texts(steps_of(chosen, foreign))
    draft = _manifest(press, task, chosen, result, model, read)
    files = {"model.onnx": model, **texts_of(task.lineage, task.texts)}
    if found.tokenizer is not None:
        files["tokenizer.json"] = read.tokenizer if read else found.tokenizer
    measurements = Measurements(
        before=figures(press.before, result.latency_before_ms, sliced=False),
        after=figures(result, result.latency_ms, sliced=True),
        machine=measure.machine(),
        method=method,
    )
    task.progress("write and sign the bundle")
    return write_bundle(target, draft, files, measurements, signer, _modification(press, chosen, result, budget))


def plan(
    source: str | os.PathLike[str],
    *,
    budget: str | None = None,
    recipe: str | os.PathLike[str] | None = None,
    calibrate: Given | None = None,
    evaluate: Given | None = None,
    licence: str | None = None,
    data_licence: str | None = None,
    licence_until: date | None = None,
    parents: Sequence[str] = (),
    trials: int = TRIALS,
    memory: int | None = None,
    settings: str | os.PathLike[str] | None = None,
    progress: Callable[[str], None] = _silent,
) -> Plan:
    """What `compress` would do with the same arguments, without doing it: nothing is loaded, run or written.

    Raises what `compress` raises before it loads the model.
    """
    box = Box.embedded(settings)
    Budget() if budget is None else Budget.parse(budget)
    one = None if recipe is None else _alone(recipe, calibrate, box)
    task = Task.of(
        source,
        box=box,
        calibrate=calibrate,
        evaluate=evaluate,
        licence=licence,
        data_licence=data_licence,
        licence_until=licence_until,
        parents=parents,
        progress=progress,
        memory=memory,
    )
    if one is None and budget is None:
        one = _alone(default_of(task.source), calibrate, box)
    ladder = Ladder((one,)) if one is not None else ladder_of(task.source, task.data)
    found = planned(task.source, task.licence, task.data, ladder, trials)
    _refuse_larger(found, memory)
    return replace(found, stated_until=task.stated_until)


def diagnose(
    source: str | os.PathLike[str],
    *,
    recipe: str | os.PathLike[str] | None = None,
    calibrate: Given | None = None,
    evaluate: Given | None = None,
    licence: str | None = None,
    data_licence: str | None = None,
    licence_until: date | None = None,
    parents: Sequence[str] = (),
    settings: str | os.PathLike[str] | None = None,
    progress: Callable[[str], None] = _silent,
) -> Diagnosis:
    """Where a recipe hurts a model, layer by layer. Nothing is handed out; that it was done is on record.

    `recipe` is a name or a TOML file; without one it is "int8-static" where there is anything to calibrate on, else
    "int8". Raises what `compress` raises for the same arguments.
    """
    box = Box.embedded(settings)
    chosen = _alone(recipe or ("int8" if calibrate is None else "int8-static"), calibrate, box)
    task = Task.of(
        source,
        box=box,
        calibrate=calibrate,
        evaluate=evaluate,
        licence=licence,
        data_licence=data_licence,
        licence_until=licence_until,
        parents=parents,
        progress=progress,
    )
    asked = {"diagnose": chosen.name, "recipe": chosen.recipe.plain()}
    return task.gated(asked, lambda press: press.diagnosis(chosen.name, chosen.recipe))


def _refuse_larger(expected: Plan, memory: int | None) -> None:
    if memory is not None and expected.memory_bytes > memory:
        told = f"the run takes about {expected.memory_bytes} bytes, and may take {memory}"
        raise SourceError("source_too_large", told)


def _alone(recipe: str | os.PathLike[str], calibrate: Given | None, box: Box) -> Candidate:
    found = only(recipe, box.settings.compress.steps)
    if calibrate is None:
        found.recipe.refuse_unlearned()
    return found


def _refuse_existing(out: str | os.PathLike[str] | None) -> None:
    if out is not None and Path(out).exists():
        raise BundleError("bundle_exists", f"{out} exists already")


def _said(source: Source, items: Items, given: bool) -> str:
    if given:
        return f"{len(items.items)} items that the user gave"
    if source.measure == "tokens":
        return f"{len(items.items)} sentences with made-up names: they show that two models find the same, no more"
    if isinstance(items.items[0], str):
        return f"{len(items.items)} English passages from pydoc_data.topics, Python {platform.python_version()}"
    return f"{len(items.items)} inputs that were made up: they show that two models compute the same, no more"


def _run(
    press: Press,
    kept: Trials,
    tried: Sequence[Trial],
    shown: Trial | None,
    *,
    licence: str,
    budget: str,
    method: dict[str, str],
    chosen: Trial | None,
    foreign: Collection[str],
) -> Run:
    model = None if shown is None else kept.model(shown)
    return Run(
        name=press.source.name,
        source=press.source.digest,
        task=press.source.task,
        licence=licence,
        budget=budget,
        machine=measure.machine(),
        method=method,
        versions=versions(),
        data=press.data.digests(),
        export_error=press.export_error,
        before=press.before,
        trials=tuple(tried),
        chosen=None if chosen is None else chosen.number,
        nearest=None if shown is None else shown.number,
        sizes=() if model is None else press.sizes(model),
        layers=() if model is None or shown is None else press.layers(model, steps_of(shown, foreign)),
        worst=() if shown is None or shown.result is None else press.worst(shown.result.fidelity),
    )


def _manifest(
    press: Press, task: Task, trial: Trial, result: Result, model: bytes, read: Texts | None
) -> BundleManifest:
    found = press.source
    text = read.input if read else found.text
    generation = read.generation if read else found.generation if isinstance(found, Generates) else None
    inputs, outputs = press.form(model)
    sparse = {name for step in trial.steps for name in step.zeros}
    method = f"{labelled.METHOD}; {len(press.data.evaluate.items)} texts that the user gave" if result.kinds else ""
    entities = Entities(languages=found.languages, kinds=result.kinds, method=method)
    return BundleManifest(
        format=1,
        name=f"{found.name}-{trial.name}",
        version="1",
        digest="",
        task=found.task,
        licence=task.licence,
        inputs=inputs,
        outputs=outputs,
        lineage=task.lineage,
        stated=task.stated,
        text=text or UNSET,
        image=found.image or UNSET,
        generation=generation or UNSET,
        labels=found.labels or UNSET,
        entities=entities if found.measure == "tokens" else UNSET,
        data=press.data.digests(),
        seed=SEED,
        zeros=press.zeros(model, sparse) or UNSET,
        recipe=trial.recipe,
        spent=_spent(trial),
        versions=versions(),
        files={},
    )


def _modification(press: Press, trial: Trial, result: Result, budget: str) -> Modification:
    fidelity = result.fidelity
    return Modification.of(
        press.source.digest,
        tuple(step.kind for step in trial.steps),
        budget,
        Budget.parse(budget).fidelity if "fidelity" in budget else None,
        {"all": fidelity.score.low, **{one.name: one.score.low for one in fidelity.slices}},
        _spent(trial),
    )


def _spent(trial: Trial) -> Spent | UnsetType:
    spent = [step.spent for step in trial.steps if step.spent is not None]
    if not spent:
        return UNSET
    return Spent(flops=sum(one.flops for one in spent), cpu_s=round(sum(one.cpu_s for one in spent), 3))
