"""Train a model by a recipe: under a gate of its own, in a folder that outlasts an interruption."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
from msgspec import Struct

from compliance.disk import put
from policies.privacy.scanner import THRESHOLD, scan
from toolkit.box import Box, Context
from toolkit.bundle import Bundle, BundleError
from toolkit.compress import handed_out, measure
from toolkit.compress.budget import Budget
from toolkit.compress.combine import Candidate
from toolkit.compress.data import Items
from toolkit.compress.engine import Press
from toolkit.compress.ladder import only
from toolkit.compress.plan import Plan, planned
from toolkit.compress.recipe import Recipe
from toolkit.compress.results import Trial
from toolkit.compress.search import Ladder
from toolkit.compress.task import Given, Task
from toolkit.compress.trials import Trials
from toolkit.compress.versions import versions
from toolkit.train.errors import TrainingError, TrainingHalted
from toolkit.train.place import Place

__all__ = ["Personal", "foreseen", "train"]

MOST = 64  # processes that the cost model divides by: a step names no more


class Personal(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The personal data that the scan finds in the texts of a training set: how often by kind, in how many of them.
    Images and tensors cannot be looked at: `scanned` does not count them."""

    format: int = 1
    items: int
    scanned: int
    personal: int
    kinds: dict[str, int]


def train(
    source: str | os.PathLike[str],
    recipe: str | os.PathLike[str],
    *,
    calibrate: Given,
    context: Context,
    evaluate: Given | None = None,
    budget: str | None = None,
    out: str | os.PathLike[str] | None = None,
    place: Place = Place(),  # noqa: B008 - it is frozen
    licence: str | None = None,
    data_licence: str | None = None,
    licence_until: date | None = None,
    parents: Sequence[str] = (),
    memory: int | None = None,
    resume: bool = False,
    settings: str | os.PathLike[str] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Bundle | None:
    """Follow a recipe that trains, and hand out a signed bundle at `out` (default: NAME-trained.bundle), as
    toolkit.compress.compress does; None on a host that takes part in the training of another.

    It stands under the action "train": the licences of the source and of the data have to allow it, the `context` names
    the purpose, and a legal basis where the scan finds personal data in the texts (`calibrate`, and `evaluate`).
    `place.folder` (default: OUT.run) holds run.json (what the run is made of), personal.json, the trial with its model,
    the report, and below training/ for each training its checkpoint, its log and its curves; `resume` goes on with it.
    What misses the `budget` (as in `compress`) is not handed out; a run that would take more than `memory` bytes is not
    begun.

    Raises Denied, what `compress` raises, TrainingError, and TrainingHalted where the training can be gone on with.
    """
    box = Box.embedded(settings)
    one = _training(recipe, box)
    if out is not None:
        _refuse_existing(Path(out))
    if budget is not None:
        Budget.parse(budget)
    signer = box.bundle_signer()
    task = _task(source, box, calibrate, evaluate, licence, data_licence, licence_until, parents, context, progress)
    found = task.source
    target = Path(out) if out is not None else Path(f"{found.name}-trained.bundle")
    _refuse_existing(target)
    _plan(task, one, place, memory)
    folder = place.folder or target.with_suffix(".run")
    steps = one.recipe.plain()
    personal = _personal(task.data.calibrate)

    def work(press: Press) -> Bundle | None:
        origin = {
            "source": found.digest,
            "data": task.data.digests(),
            "versions": versions(),
            "machine": measure.machine(),
            "recipe": steps,
            "bfloat16": place.bfloat16,
        }
        kept = Trials(folder, origin, resume=resume)
        put(folder / "personal.json", msgspec.json.format(msgspec.json.encode(personal)) + b"\n")
        trial = kept.known(one.recipe)
        if trial is None:
            trial, model = _followed(press, one)
            if not place.leads:
                return None
            kept.keep(trial, model)
        return handed_out(press, task, kept, [trial], target, signer, budget or "", measured=evaluate is not None)

    asked = {"recipe": steps, "personal": personal.kinds, "processes": place.processes or 1, "hosts": place.hosts}
    return task.gated(asked, work, msgspec.structs.replace(place, folder=folder / "training"))


def foreseen(
    source: str | os.PathLike[str],
    recipe: str | os.PathLike[str],
    *,
    calibrate: Given,
    context: Context,
    evaluate: Given | None = None,
    place: Place = Place(),  # noqa: B008 - it is frozen
    licence: str | None = None,
    data_licence: str | None = None,
    licence_until: date | None = None,
    parents: Sequence[str] = (),
    memory: int | None = None,
    settings: str | os.PathLike[str] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Plan, Personal]:
    """What `train` would do with the same arguments, how long it would take and how much memory, by the cost model of
    toolkit.compress.plan; and what the scan finds. Nothing is loaded, run or written.

    Raises what `train` raises before it asks the gate.
    """
    box = Box.embedded(settings)
    one = _training(recipe, box)
    task = _task(source, box, calibrate, evaluate, licence, data_licence, licence_until, parents, context, progress)
    return _plan(task, one, place, memory), _personal(task.data.calibrate)


def _training(recipe: str | os.PathLike[str], box: Box) -> Candidate:
    one = only(recipe, box.settings.compress.steps)
    if not any("epochs" in step for step in one.recipe.plain()):
        raise TrainingError("train_recipe", f"no step of {one.name} learns in epochs")
    return one


def _task(
    source: str | os.PathLike[str],
    box: Box,
    calibrate: Given,
    evaluate: Given | None,
    licence: str | None,
    data_licence: str | None,
    licence_until: date | None,
    parents: Sequence[str],
    context: Context,
    progress: Callable[[str], None],
) -> Task:
    return Task.of(
        source,
        box=box,
        calibrate=calibrate,
        evaluate=evaluate,
        licence=licence,
        data_licence=data_licence,
        licence_until=licence_until,
        parents=parents,
        progress=progress,
        training=context,
    )


def _plan(task: Task, one: Candidate, place: Place, memory: int | None) -> Plan:
    """With the processes of the place in those steps that train. Raises TrainingHalted "train_memory"."""
    count = min(MOST, (place.processes or 0) * place.hosts)
    steps: list[dict[str, Any]] = [
        {**step, "processes": count} if count and "epochs" in step else step for step in one.recipe.plain()
    ]
    recipe = Recipe.of(steps, task.box.settings.compress.steps)
    ladder = Ladder((Candidate(name=one.name, recipe=recipe),))
    plan = planned(task.source, task.licence, task.data, ladder, 1)
    if memory is not None and plan.memory_bytes > memory:
        told = f"the training takes about {plan.memory_bytes} bytes, and may take {memory}"
        raise TrainingHalted("train_memory", told)
    return msgspec.structs.replace(plan, stated_until=task.stated_until)


def _followed(press: Press, one: Candidate) -> tuple[Trial, bytes]:
    """A training that fails is no trial: what it says is told as it is, and it can be gone on with."""
    started = monotonic()
    made = press.follow(one.recipe)
    trial = Trial(
        number=1,
        name=one.name,
        recipe=one.recipe.plain(),
        steps=made.reports,
        digest=made.digest,
        result=press.result(made.model, one.recipe.steps),
        missed=(),
        seconds=round(monotonic() - started, 2),
    )
    return trial, made.model


def _personal(items: Items) -> Personal:
    texts = [item for item in (*items.items, *items.answers) if isinstance(item, str)]
    found = [_kinds(text) for text in texts]
    return Personal(
        items=len(items.items),
        scanned=len(texts),
        personal=sum(bool(kinds) for kinds in found),
        kinds=dict(sorted(sum(found, Counter()).items())),
    )


def _kinds(text: str) -> Counter[str]:
    return Counter(one.category for one in scan(text) if one.confidence >= THRESHOLD)


def _refuse_existing(out: Path) -> None:
    if out.exists():
        raise BundleError("bundle_exists", f"{out} exists already")
