"""Press a model under a grant: export and check it once, then follow recipes and measure what each of them gave."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Collection, Sequence
from functools import cached_property, partial

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from policies.facts import Tensor
from policies.gate import Grant, covers, redeem
from policies.payload import Payload
from toolkit.bundle import Found
from toolkit.compress import labelled, likelihood, measure
from toolkit.compress.calibration import Calibration, Texts
from toolkit.compress.data import Data, shown
from toolkit.compress.energy import joules
from toolkit.compress.errors import CompressionError, ItemsError
from toolkit.compress.exported import difference
from toolkit.compress.kernels import PROFILED, profiled, repeated
from toolkit.compress.quiet import quiet
from toolkit.compress.reading import Reading, same_form
from toolkit.compress.recipe import Recipe
from toolkit.compress.results import Diagnosis, Example, Fidelity, Interval, LayerError, Result, TensorSize
from toolkit.compress.source import Generates, Source
from toolkit.compress.step import Step, StepReport
from toolkit.extras import needs
from toolkit.runtime.entities import Entity, EntityReader
from toolkit.runtime.lane import Lane
from toolkit.runtime.session import Feeds, Session
from toolkit.train.place import Place

__all__ = ["Followed", "Press"]

FALL = 20.0  # decibels, below which a layer's output is called bad


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
        self,
        source: Source,
        grant: Grant,
        in_force: str,
        data: Data,
        progress: Callable[[str], None],
        place: Place = Place(),  # noqa: B008 - it is frozen
    ) -> None:
        """Steps train at the `place`. Raises Ungated, SourceError, CompressionError, InputError, MissingExtra."""
        redeem(grant, source.digest, in_force)
        self.source = source
        self.data = data
        self._grant = grant
        self._in_force = in_force
        self._progress = progress
        self._made: tuple[tuple[str, ...], list[tuple[bytes, StepReport]]] = ((), [])
        self._fidelities: dict[str, tuple[Fidelity, NDArray[np.float32]]] = {}
        progress("load the libraries and the weights")
        with quiet(), needs("compress"):
            original = source.load()
        progress("export to ONNX")
        self.exported = original.export()
        gc.collect()  # exporters leave whole copies of the model behind that hang together in circles
        digest = hashlib.sha256(self.exported).hexdigest()
        covers(grant, digest)
        graph = Session(self.exported, digest)
        names = tuple(tensor.name for tensor in graph.inputs)
        if names != original.names:
            raise CompressionError("export_inputs", f"the model takes {original.names}, the graph takes {names}")
        self._reading = Reading(source, data, self.exported, graph, grant, in_force, progress, place)
        self.float = self.lane_of(self.exported)
        progress("check the export against the original")
        trials = list(original.trials(data.evaluate.items, self._reading.reader))
        expected, given = (one.run(grant, in_force, lambda _: trials) for one in (original, self.float.session))
        self.export_error = difference(trials, expected, given)
        self.reference = self._reading.answers(original, self._reading.reader)
        del original
        gc.collect()

    @cached_property
    def calibration(self) -> Calibration:
        """What steps may learn from, one item a batch. Empty where no calibration items were given."""
        return self._reading.calibrated()

    @cached_property
    def before(self) -> Result:
        """The FP32 export, measured like everything that is made of it."""
        return self.result(self.exported)

    def lane_of(self, model: bytes, steps: Sequence[Step] = ()) -> Lane:
        """A lane for a model that was derived under the grant, by some steps."""
        digest = hashlib.sha256(model).hexdigest()
        covers(self._grant, digest)
        return Lane(model, digest, self._reading.after(steps)[1])

    def texts(self, steps: Sequence[Step]) -> Texts | None:
        """How the model reads texts after some steps; None where it takes none, or does not answer them as a whole.

        Raises CompressionError: vocabulary_fixed, calibration_missing.
        """
        return self._reading.after(steps)[0]

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
            data = self._reading.calibrated(recipe.steps[:number])
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
        return self._compared(self.lane_of(model, steps), steps)[0]

    def result(self, model: bytes, steps: Sequence[Step] = ()) -> Result:
        """What a model that some steps made weighs, says and takes; its latency in turn with that of the FP32 export.

        Raises CompressionError "step_failed" for one that takes or gives something else than the original.
        """
        self._progress("measure")
        lane = self.lane_of(model, steps)
        found, answers = self._compared(lane, steps)
        one = self._reading.one(lane.reader)
        before, after = measure.latencies_ms((self.float, lane), one, self._grant, self._in_force)
        ran, memory = profiled(model, one, self._grant, self._in_force)
        used = joules(lambda: repeated(lane.session, one, self._grant, self._in_force))
        task, kinds = self._marked(lane.session)
        return Result(
            size_bytes=len(model),
            transport_bytes=measure.transport_bytes(model),
            fidelity=found,
            latency_ms=after,
            latency_before_ms=before,
            task={
                **measure.task_metrics(answers, self.data.evaluate, self.source.labels),
                **task,
                **self._perplexity(lane.session, steps),
                **self._preferred(lane.session, steps),
            },
            kinds=kinds,
            kernels=ran,
            memory_bytes=memory,
            energy_mj=None if used is None else 1000 * used / PROFILED,
        )

    def layers(self, model: bytes, steps: Sequence[Step] = ()) -> tuple[LayerError, ...]:
        """What each layer of a model that some steps made lost, on the first items of the evaluation; nothing where it
        takes other tokens than the original, which layers cannot be compared on."""
        if self.texts(steps) != self.texts(()):
            return ()
        with quiet(), needs("compress"):
            from toolkit.compress.diagnosis import layer_errors
        return layer_errors(self.exported, model, self._reading.some())

    def diagnosis(self, name: str, recipe: Recipe) -> Diagnosis:
        """Where a recipe hurts, whether or not what it makes is faithful. Raises CompressionError "step_failed"."""
        with quiet(), needs("compress"):
            from toolkit.compress.diagnosis import outliers, sensitivities
        made = self.follow(recipe)
        layers = self.layers(made.model, recipe.steps)
        number = next((n for n, step in enumerate(recipe.steps) if hasattr(step, "exclude")), None)
        data = self._reading.looked_at(recipe.steps[: number or 0])
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
            outliers=outliers(self.exported, self._reading.looked_at()),
        )

    def sizes(self, model: bytes) -> tuple[TensorSize, ...]:
        """Every stored tensor of a model, the largest first."""
        with quiet(), needs("compress"):
            from toolkit.compress.weights import tensor_sizes
        return tensor_sizes(model)

    def form(self, model: bytes) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """What a model takes, and what it gives."""
        session = Session(model, hashlib.sha256(model).hexdigest())
        return session.inputs, session.outputs

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

    def _compared(self, lane: Lane, steps: Sequence[Step] = ()) -> tuple[Fidelity, NDArray[np.float32]]:
        """Found once for the same bytes. Of a model that generates with fewer tokens: where both have read as much of a
        text, by the probabilities of the tokens that are left."""
        digest = lane.session.digest
        if digest not in self._fidelities:
            common = self._reading.common(steps)
            if not same_form(lane.session, self.float.session, None if common is None else len(common.rows)):
                raise CompressionError("step_failed", "the pressed model takes or gives something else than the model")
            answers, reference = self._reading.answers(lane.session, lane.reader), self.reference
            if common is not None:
                reference, answers = common.restricted(self.data.evaluate.items, reference, answers)
            found = measure.fidelity(
                self.source.measure,
                reference,
                answers,
                self.data.evaluate,
                self._reading.lengths(),
                self.source.labels,
            )
            self._fidelities[digest] = found, answers
        return self._fidelities[digest]

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
                taken = {tensor.name: feeds[tensor.name] for tensor in session.inputs}
                [given] = session.run(self._grant, self._in_force, partial(_only, taken))
                found.extend(reader.answers(given, feeds))
        intervals = {name: measure.ratio(*pair) for name, pair in labelled.counts(found, marked).items()}
        return (
            {name: value for name, value in intervals.items() if value is not None},
            labelled.compared(found, marked, source.labels),
        )

    def _perplexity(self, session: Session, steps: Sequence[Step]) -> dict[str, Interval]:
        """That of a model that generates, on the texts of the evaluation; nothing for others. Of one with other tokens
        it is that of the tokens that the texts had before, so that both can be compared."""
        long, common = self._reading.after(steps)[2], self._reading.common(steps)
        if long is None:
            return {}
        lost, counts = [], []
        batches = self._reading.batches(self.data.evaluate, long)
        for text, (made, feeds) in zip(self.data.evaluate.items, batches, strict=True):
            [[logits, *_]] = session.run(self._grant, self._in_force, partial(_only, feeds))
            ids = made["input_ids"][0]
            lost.append(likelihood.lost(logits[0], ids))
            counts.append((len(ids) if common is None else common.covered(text, len(ids))) - 1)
        found = likelihood.perplexity(lost, counts)
        # none where no text has two tokens
        return {} if np.isnan(found.mean) else {"perplexity": found}

    def _preferred(self, session: Session, steps: Sequence[Step]) -> dict[str, Interval]:
        """How often a model that generates takes the answer, of the choices of an item, for the most likely one.

        Raises ItemsError "data_format" for an item that is too long, and for a model that does not generate.
        """
        items, reader = self.data.evaluate, self._reading.after(steps)[2]
        if not items.choices:
            return {}
        if reader is None or not isinstance(self.source, Generates):
            raise ItemsError("data_format", "the items have `choices`, and the model does not generate")
        most = min(likelihood.TOKENS, self.source.generation.context)
        right = []
        for number, (text, choices, answer) in enumerate(zip(items.items, items.choices, items.answers, strict=True)):
            begin = reader.feeds([text])["input_ids"][0]
            # the answer comes last: of two that are alike the other one counts
            ordered = [*(choice for choice in choices if choice != answer), answer]
            losses = []
            for choice in ordered:
                feeds = reader.feeds([text + choice])
                ids = feeds["input_ids"][0]
                # where the last tokens of the text go together with the first of the choice they count too
                same = ids[: len(begin)] == begin[: len(ids)]
                shared = max(1, len(same) if same.all() else int(same.argmin()))
                if not shared < len(ids) < most:
                    what = f"item {number + 1}: a choice adds no token, or text and choice have {most} or more"
                    raise ItemsError("data_format", what)
                [[logits, *_]] = session.run(self._grant, self._in_force, partial(_only, feeds))
                losses.append(float(likelihood.lost(logits[0], ids)[shared - 1 :].sum()))
            right.append(ordered[likelihood.preferred(losses, ordered)] == answer)
        return {"accuracy": measure.interval(np.array(right, np.float64))}


def _only(feeds: Feeds, _: Payload) -> list[Feeds]:
    return [feeds]
