"""Press a model under a grant: export and check it once, then follow recipes and measure what each of them gave."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cached_property, partial
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from policies.gate import Grant, covers, redeem
from policies.payload import Payload
from toolkit.bundle import Found
from toolkit.compress import labelled, measure
from toolkit.compress.calibration import Calibration, Texts
from toolkit.compress.data import Data, Items, shown
from toolkit.compress.energy import joules
from toolkit.compress.errors import CompressionError
from toolkit.compress.kernels import kernels
from toolkit.compress.quiet import quiet
from toolkit.compress.recipe import Recipe
from toolkit.compress.results import Diagnosis, Example, Fidelity, Interval, Kernel, LayerError, Result, TensorSize
from toolkit.compress.source import Original, Source
from toolkit.compress.step import Retokenises, Step, StepReport
from toolkit.extras import needs
from toolkit.runtime.entities import Entity, EntityReader
from toolkit.runtime.lane import Lane, reader_of
from toolkit.runtime.readers import Reader
from toolkit.runtime.session import Feeds, Session

__all__ = ["Followed", "Press", "versions"]

TOLERANCE = 1e-3  # of an export, relative to the largest number that an output holds, where that is above 1
DIAGNOSED = 4  # items on which the error by layer is found
FALL = 20.0  # decibels, below which a layer's output is called bad
PROFILED = 20  # runs, of which the kernels and the energy are found
TOGETHER = 64  # items whose outputs are in memory at once

_VERSIONED = (
    "sealpress",
    "torch",
    "transformers",
    "optimum",
    "onnx",
    "onnx-ir",
    "onnxscript",
    "onnxslim",
    "onnxruntime",
    "keras",
    "tensorflow-cpu",
    "tf2onnx",
    "timm",
    "tokenizers",
    "torchvision",
    "numpy",
    "pillow",
)


class Followed(Struct, frozen=True, kw_only=True):
    """What a recipe made. `digest` is the SHA-256 of `model`, an ONNX file; `reports` those of its steps."""

    model: bytes
    digest: str
    reports: tuple[StepReport, ...]


class Press:
    """One source under one grant: loaded, exported and checked once, whatever is tried on it afterwards.

    `exported` is the FP32 ONNX file, `export_error` the largest difference between it and the original, `reference`
    (items, ...) the answers of the original to the items of the evaluation.
    """

    def __init__(
        self, source: Source, grant: Grant, in_force: str, data: Data, progress: Callable[[str], None]
    ) -> None:
        """Raises Ungated, SourceError, CompressionError, InputError, MissingExtra."""
        redeem(grant, source.digest, in_force)
        self.source = source
        self.data = data
        self._grant = grant
        self._in_force = in_force
        self._progress = progress
        self._made: tuple[tuple[str, ...], list[tuple[bytes, StepReport]]] = ((), [])
        self._fidelities: dict[str, tuple[Fidelity, NDArray[np.float32]]] = {}
        self._read: dict[tuple[str, ...], tuple[Texts, Reader]] = {}
        self._calibrations: dict[tuple[str, ...], Calibration] = {}
        progress("load the libraries and the weights")
        with quiet(), needs("compress"):
            original = source.load()
        progress("export to ONNX")
        self.exported = original.export()
        gc.collect()  # exporters leave whole copies of the model behind that hang together in circles
        digest = hashlib.sha256(self.exported).hexdigest()
        covers(grant, digest)
        inputs = Session(self.exported, digest).inputs
        self._names = tuple(tensor.name for tensor in inputs)
        if self._names != original.names:
            raise CompressionError("export_inputs", f"the model takes {original.names}, the graph takes {self._names}")
        # token by token and cut, where what is asked in the end is for entities
        text = replace(source.text, pooling="none") if source.text and source.measure == "tokens" else source.text
        self._reader = reader_of(inputs, text, source.image, source.tokenizer)
        self._texts = (
            Texts(source.tokenizer, text, tuple(data.calibrate.items))
            if text is not None and source.tokenizer is not None and source.measure != "tokens"
            else None
        )
        self.float = self.lane_of(self.exported)
        progress("check the export against the original")
        self.export_error = self._difference(original)
        self.reference = self._answers(original, self._reader)
        del original
        gc.collect()

    @cached_property
    def calibration(self) -> Calibration:
        """What steps may learn from, one item a batch. Empty where no calibration items were given."""
        return self._calibrated(())

    @cached_property
    def before(self) -> Result:
        """The FP32 export, measured like everything that is made of it."""
        return self.result(self.exported)

    def lane_of(self, model: bytes, steps: Sequence[Step] = ()) -> Lane:
        """A lane for a model that was derived under the grant, by some steps."""
        digest = hashlib.sha256(model).hexdigest()
        covers(self._grant, digest)
        return Lane(model, digest, self._reading(steps)[1])

    def texts(self, steps: Sequence[Step]) -> Texts | None:
        """How the model reads texts after some steps; None where it takes none, or does not answer them as a whole.

        Raises CompressionError: vocabulary_fixed, calibration_missing.
        """
        return self._reading(steps)[0]

    def follow(self, recipe: Recipe) -> Followed:
        """Take the steps of a recipe; those that the recipe before it began with too are not taken again.

        Raises CompressionError: step_failed, calibration_missing.
        """
        if not len(self.calibration):
            recipe.refuse_unlearned()
        steps = tuple(map(repr, recipe.steps))
        known, made = self._made
        shared = next((n for n, pair in enumerate(zip(steps, known, strict=False)) if pair[0] != pair[1]), len(known))
        made = made[: min(shared, len(steps))]
        for number in range(len(made), len(steps)):
            step, kind = recipe.steps[number], recipe.plain()[number]["kind"]
            self._progress(f"step {number + 1} of {len(steps)}: {kind}")
            data = self._calibrated(recipe.steps[:number])
            model, report = step.apply(made[-1][0] if made else self.exported, data)
            low = self.fidelity(model, recipe.steps[: number + 1]).score.low
            made.append((model, replace(report, fidelity=low)))
            self._made = steps[: number + 1], made
        model = made[-1][0]
        return Followed(
            model=model, digest=hashlib.sha256(model).hexdigest(), reports=tuple(report for _, report in made)
        )

    def fidelity(self, model: bytes, steps: Sequence[Step] = ()) -> Fidelity:
        """How near the answers of a model that some steps made are to the original's.

        Raises CompressionError "step_failed" for one that takes or gives something else than the original.
        """
        return self._compared(self.lane_of(model, steps))[0]

    def result(self, model: bytes, steps: Sequence[Step] = ()) -> Result:
        """What a model that some steps made weighs, says and takes; its latency in turn with that of the FP32 export.

        Raises CompressionError "step_failed" for one that takes or gives something else than the original.
        """
        self._progress("measure")
        lane = self.lane_of(model, steps)
        found, answers = self._compared(lane)
        one = self._one(lane.reader)
        before, after = measure.latencies_ms((self.float, lane), one, self._grant, self._in_force)
        ran, memory = self._profile(model, one)
        used = joules(lambda: self._repeat(lane.session, one))
        task, kinds = self._marked(lane.session)
        return Result(
            size_bytes=len(model),
            transport_bytes=measure.transport_bytes(model),
            fidelity=found,
            latency_ms=after,
            latency_before_ms=before,
            task={**measure.task_metrics(answers, self.data.evaluate, self.source.labels), **task},
            kinds=kinds,
            kernels=ran,
            memory_bytes=memory,
            energy_mj=None if used is None else 1000 * used / PROFILED,
        )

    def layers(self, model: bytes, steps: Sequence[Step] = ()) -> tuple[LayerError, ...]:
        """What each layer of a model that some steps made lost, on the first items of the evaluation; nothing where it
        takes other tokens than the original, which layers cannot be compared on."""
        if self.texts(steps) != self._texts:
            return ()
        with quiet(), needs("compress"):
            from toolkit.compress.diagnosis import layer_errors
        return layer_errors(self.exported, model, self._some(()))

    def diagnosis(self, name: str, recipe: Recipe) -> Diagnosis:
        """Where a recipe hurts, whether or not what it makes is faithful. Raises CompressionError "step_failed"."""
        with quiet(), needs("compress"):
            from toolkit.compress.diagnosis import outliers, sensitivities
        made = self.follow(recipe)
        layers = self.layers(made.model, recipe.steps)
        number = next((n for n, step in enumerate(recipe.steps) if hasattr(step, "exclude")), None)
        data = self._looked_at(recipe.steps[: number or 0])
        given = self._made[1][number - 1][0] if number else self.exported
        self._progress("find the sensitivity of each layer")
        found = () if number is None else sensitivities(recipe.steps[number], given, data, self._progress)
        return Diagnosis(
            name=self.source.name,
            recipe=name,
            export_error=self.export_error,
            fidelity=self.fidelity(made.model, recipe.steps).score,
            steps=made.reports,
            layers=layers,
            fall=next((layer for layer in layers if layer.decibels < FALL), None),
            sensitivity=found,
            outliers=outliers(self.exported, self._looked_at(())),
        )

    def sizes(self, model: bytes) -> tuple[TensorSize, ...]:
        """Every stored tensor of a model, the largest first."""
        with quiet(), needs("compress"):
            from toolkit.compress.weights import tensor_sizes
        return tensor_sizes(model)

    def zeros(self, model: bytes, names: Collection[str]) -> dict[str, int]:
        """How many weights of a model are zero, by the names of its nodes, of those with some names that it has."""
        if not names:
            return {}
        with quiet(), needs("compress"):
            from toolkit.compress.sparsity import zeros
        return zeros(model, names)

    def worst(self, found: Fidelity) -> tuple[Example, ...]:
        """The items whose answers came out worst."""
        return tuple(
            Example(number=number, shown=shown(self.data.evaluate.items[number]), score=score)
            for number, score in zip(found.worst, found.worst_scores, strict=True)
        )

    def _reading(self, steps: Sequence[Step]) -> tuple[Texts | None, Reader]:
        """How the model reads what it is given after some steps."""
        changing = [step for step in steps if isinstance(step, Retokenises)]
        if not changing:
            return self._texts, self._reader
        key = tuple(map(repr, changing))
        if key not in self._read:
            texts = changing[0].retokenised(self._texts)
            for step in changing[1:]:
                texts = step.retokenised(texts)
            self._read[key] = texts, reader_of(self.float.session.inputs, texts.input, None, texts.tokenizer)
        return self._read[key]

    def _calibrated(self, steps: Sequence[Step]) -> Calibration:
        """The calibration data as the model reads it after some steps."""
        key = tuple(repr(step) for step in steps if isinstance(step, Retokenises))
        if key not in self._calibrations:
            texts, reader = self._reading(steps)
            items = self.data.calibrate.items
            make = partial(self._fed, reader)
            self._calibrations[key] = Calibration(self._grant, self._in_force, items, texts, make)
        return self._calibrations[key]

    def _some(self, steps: Sequence[Step]) -> Calibration:
        """The first items of the evaluation, to look at what happens inside. Nothing is learned from them."""
        texts, reader = self._reading(steps)
        some = [feeds for _, feeds in islice(self._batches(self.data.evaluate, reader), DIAGNOSED)]
        return Calibration(self._grant, self._in_force, some, texts)

    def _looked_at(self, steps: Sequence[Step]) -> Calibration:
        """What is looked at to tell where a recipe hurts: the calibration data, where there is any."""
        return self._calibrated(steps) if len(self.calibration) else self._some(steps)

    def _profile(self, model: bytes, one: Feeds) -> tuple[tuple[Kernel, ...], int]:
        """What runs for one item, by a session of its own: a profile costs time."""
        digest = hashlib.sha256(model).hexdigest()
        with TemporaryDirectory(prefix="sealpress-") as folder:
            session = Session(model, digest, profile=Path(folder))
            self._repeat(session, one)
            return kernels(session.profiled(), PROFILED)

    def _repeat(self, session: Session, one: Feeds) -> None:
        session.run(self._grant, self._in_force, lambda _: [one] * PROFILED)

    def _compared(self, lane: Lane) -> tuple[Fidelity, NDArray[np.float32]]:
        """Found once for the same bytes."""
        digest = lane.session.digest
        if digest not in self._fidelities:
            if (lane.session.inputs, lane.session.outputs) != (self.float.session.inputs, self.float.session.outputs):
                raise CompressionError("step_failed", "the pressed model takes or gives something else than the model")
            answers = self._answers(lane.session, lane.reader)
            found = measure.fidelity(
                self.source.measure,
                self.reference,
                answers,
                self.data.evaluate,
                self._lengths(),
                self.source.labels,
            )
            self._fidelities[digest] = found, answers
        return self._fidelities[digest]

    def _answers(self, model: _Runs, reader: Reader) -> NDArray[np.float32]:
        """What a model answers to the items of the evaluation, (items, ...)."""
        answers: list[NDArray[np.float32]] = []
        batches = self._batches(self.data.evaluate, reader)
        while some := list(islice(batches, TOGETHER)):
            taken = [feeds for _, feeds in some]
            outputs = model.run(self._grant, self._in_force, partial(_all, taken))
            answers += (reader.answers(one, made) for one, (made, _) in zip(outputs, some, strict=True))
        return measure.stacked(self.source.measure, answers)

    def _marked(self, session: Session) -> tuple[dict[str, Interval], dict[str, Found]]:
        """Precision and recall where a person marked the entities in the items, over all kinds and of each.

        Raises ItemsError "data_format" for marked kinds that the model does not know.
        """
        source, marked = self.source, self.data.evaluate.entities
        if source.text is None or source.measure != "tokens" or not marked:
            return {}, {}
        reader = EntityReader(source.tokenizer or b"", source.text, source.labels)
        found: list[list[Entity]] = []
        for text in self.data.evaluate.items:
            for window in reader.windows(text):
                feeds = reader.feeds([window])
                taken = {name: feeds[name] for name in self._names}
                [given] = session.run(self._grant, self._in_force, partial(_all, [taken]))
                found.extend(reader.answers(given, feeds))
        intervals = {name: measure.ratio(*pair) for name, pair in labelled.counts(found, marked).items()}
        return (
            {name: value for name, value in intervals.items() if value is not None},
            labelled.compared(found, marked, source.labels),
        )

    def _difference(self, original: Original) -> float:
        """The largest difference of the outputs over batches of several sizes and lengths, relative to the largest
        number that an output holds, where that is above 1. What stands on padding is not compared.

        Raises CompressionError "export_differs".
        """
        trials = list(original.trials(self.data.evaluate.items, self._reader))
        expected = original.run(self._grant, self._in_force, lambda _: trials)
        given = self.float.session.run(self._grant, self._in_force, lambda _: trials)
        apart = [
            _apart(a, b, feeds.get("attention_mask"))
            for feeds, left, right in zip(trials, expected, given, strict=True)
            for a, b in zip(left, right, strict=True)
        ]
        largest = float(np.max(apart))  # max() would hide a NaN
        if not largest <= TOLERANCE:
            raise CompressionError("export_differs", f"the graph differs from the model by {largest:.2g}")
        return largest

    def _batches(self, items: Items, reader: Reader) -> Iterator[tuple[Feeds, Feeds]]:
        """One item a batch: all that the reader makes of it, and what of that the model takes."""
        for item in items.items:
            feeds = reader.feeds([item])
            yield feeds, {name: feeds[name] for name in self._names}

    def _fed(self, reader: Reader, item: Any) -> Feeds:
        feeds = reader.feeds([item])
        return {name: feeds[name] for name in self._names}

    def _one(self, reader: Reader) -> Feeds:
        """What the latency is measured on: a batch of one item, a text with as many tokens as all texts give."""
        items = self.data.evaluate.items
        if self.source.text is None:
            return next(self._batches(self.data.evaluate, reader))[1]
        joined = reader.feeds([" ".join(items)])
        return {name: joined[name][:, : measure.TOKENS] for name in self._names}

    def _lengths(self) -> tuple[int, ...]:
        """The tokens of each text of the evaluation; nothing for other items."""
        if self.source.text is None:
            return ()
        return tuple(int(made["attention_mask"].sum()) for made, _ in self._batches(self.data.evaluate, self._reader))


class _Runs(Protocol):
    def run(
        self, grant: Grant, in_force: str, feeds: Callable[[Payload], Iterable[Feeds]]
    ) -> list[list[NDArray[Any]]]: ...


def _all(batches: list[Feeds], _: Payload) -> list[Feeds]:
    return batches


def _apart(expected: NDArray[Any], given: NDArray[Any], mask: NDArray[Any] | None) -> float:
    """NaN where one of the two holds it alone, or where the shapes are not the same."""
    if expected.shape != given.shape:
        return float("nan")
    if mask is not None and expected.ndim > mask.ndim and expected.shape[:2] == mask.shape:
        expected, given = expected[mask.astype(bool)], given[mask.astype(bool)]
    largest = float(np.abs(expected).max(initial=1.0))
    return float(np.abs(expected.astype(np.float64) - given).max(initial=0.0)) / largest


def versions() -> dict[str, str]:
    """The releases that made the bytes; sealpress itself may run from a checkout that was never installed."""
    found = {}
    for package in _VERSIONED:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
