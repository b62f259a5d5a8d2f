"""What a compression would do, how long it would take and how much memory: told before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from msgspec import Struct

from toolkit.compress.data import Data
from toolkit.compress.measure import ROUNDS, WARM_UP
from toolkit.compress.recipe import Recipe
from toolkit.compress.search import Ladder
from toolkit.compress.source import Source
from toolkit.compress.sources.tensorflow_source import TensorflowSource

__all__ = ["Plan", "Planned", "planned"]

# Found with all-MiniLM-L6-v2 and EfficientNet-Lite0 on two shared cores; another machine is another factor.
ITEM_SECONDS = 2.5e-9  # of one item through a model on one thread, a parameter
LOAD_SECONDS = 20.0  # to load the libraries, the weights, and to export and check
STEP_SECONDS = 1e-7  # of any step, a parameter
# runs of the model over the calibration items
PASSES = {
    "adaround": 3,
    "awq": 3,
    "bias-correction": 1,
    "codebook": 3,
    "drop-layers": 3,
    "equalise": 0,
    "gptq": 2,
    "mixed": 10,
}
PASSES |= {
    "prune-channels": 3,
    "prune-heads": 2,
    "prune-neurons": 3,
    "slice": 2,
    "smooth-quant": 1,
    "sparsify": 2,
    "static-int8": 2,
}
TRAINING = 8  # such runs for an item of an epoch: its teacher's, its own, and the way back
# the most memory at once, in the size of the FP32 model, with the original, the export and its session beside the step
LOADED = 5.0
STEP_MEMORY = {"weight-bits": 4.0, "table-bits": 4.0}
OTHER_MEMORY = 6.0
# bytes of the libraries, before they hold any model
LIBRARIES = 300_000_000
TENSORFLOW = 820_000_000
# of a model of TensorFlow, while tf2onnx converts it (ResNet50 took 30), and room for what follows, where the runtime's
# copies come to what the conversion left
CONVERTED = 36.0


class Planned(Struct, frozen=True, kw_only=True):
    """A recipe that would be tried: its steps in order, how long it would take with its measurement, and the memory."""

    name: str
    steps: tuple[str, ...]
    seconds: float
    memory_bytes: int


class Plan(Struct, frozen=True, kw_only=True):
    """`recipes` in the order in which they are tried; where `halves`, more follow between the gentlest and the roughest
    that hold, and where `combines`, some with a step before them that prunes or factorises, up to `trials` in all.
    `stated_until` is the first day on which a licence that somebody stated counts no more, None where papers name it.
    Seconds and bytes are estimates: a factor of two or three is to be expected."""

    name: str
    source: str
    task: str
    licence: str
    parameters: int
    fp32_bytes: int
    calibrate: int
    evaluate: int
    recipes: tuple[Planned, ...]
    halves: bool
    combines: bool
    trials: int
    seconds: float
    memory_bytes: int
    stated_until: date | None = None


def planned(source: Source, licence: str, data: Data, ladder: Ladder, trials: int) -> Plan:
    """The plan of a search, or of the one recipe of a ladder that has no other."""
    item = ITEM_SECONDS * source.parameters
    measuring = item * (len(data.evaluate.items) + (ROUNDS + WARM_UP) * 0.5)
    recipes = tuple(
        Planned(
            name=candidate.name,
            steps=tuple(step["kind"] for step in candidate.recipe.plain()),
            seconds=round(measuring + _seconds(candidate.recipe, source, data, item), 1),
            memory_bytes=_memory(candidate.recipe, source),
        )
        for candidate in ladder.candidates[:trials]
    )
    longest = max((one.seconds for one in recipes), default=0.0)
    further = (4 if ladder.between is not None else 0) + 6 * len(ladder.thinnings)
    more = longest * min(further, trials - len(recipes))
    return Plan(
        name=source.name,
        source=source.digest,
        task=source.task,
        licence=licence,
        parameters=source.parameters,
        fp32_bytes=4 * source.parameters,
        calibrate=len(data.calibrate.items),
        evaluate=len(data.evaluate.items),
        recipes=recipes,
        halves=ladder.between is not None,
        combines=bool(ladder.thinnings),
        trials=trials,
        seconds=round(LOAD_SECONDS + sum(one.seconds for one in recipes) + more, 1),
        memory_bytes=max((one.memory_bytes for one in recipes), default=0),
    )


def _seconds(recipe: Recipe, source: Source, data: Data, item: float) -> float:
    """Each step is followed by a measurement of its own."""
    runs = sum(_passes(step) * len(data.calibrate.items) for step in recipe.plain())
    steps = len(recipe.steps)
    return item * (runs + steps * len(data.evaluate.items)) + steps * STEP_SECONDS * source.parameters


def _passes(step: Mapping[str, Any]) -> float:
    """Runs over the calibration items."""
    runs: float = PASSES.get(step["kind"], 0) + TRAINING * step.get("epochs", 0) / step.get("processes", 1)
    return runs


def _memory(recipe: Recipe, source: Source) -> int:
    times = LOADED + max(STEP_MEMORY.get(step["kind"], OTHER_MEMORY) for step in recipe.plain())
    if isinstance(source, TensorflowSource):
        return TENSORFLOW + int(4 * source.parameters * max(times, CONVERTED))
    return LIBRARIES + int(4 * source.parameters * times)
