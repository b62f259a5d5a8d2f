"""How a model reads the items of a run: as other numbers, where a step gave it another tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, Protocol

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from policies.gate import Grant
from policies.payload import Payload
from toolkit.compress import likelihood, measure
from toolkit.compress.calibration import Calibration, Prompts, Texts
from toolkit.compress.common_tokens import CommonTokens
from toolkit.compress.data import Data, Items
from toolkit.compress.source import Generates, Source
from toolkit.compress.step import Retokenises, Step
from toolkit.runtime.decoding import DecoderReader
from toolkit.runtime.inputs import Generation
from toolkit.runtime.lane import reader_of
from toolkit.runtime.readers import Reader
from toolkit.runtime.session import Feeds, Session
from toolkit.runtime.slots import PAST, PRESENT
from toolkit.train.place import Place

__all__ = ["Reading", "same_form"]

DIAGNOSED = 4  # items on which the error by layer is found
TOGETHER = 64  # items whose outputs are in memory at once


class Reading:
    """The data of a run as a model takes it: before any step (`reader`), and after some. One that generates is measured
    on a part of each text, and learns from what `long` reads, None for others."""

    def __init__(
        self,
        source: Source,
        data: Data,
        exported: bytes,
        graph: Session,
        grant: Grant,
        in_force: str,
        progress: Callable[[str], None],
        place: Place,
    ) -> None:
        """For the exported file and its graph; steps train at the `place`. Raises ModelError."""
        self._source = source
        self._data = data
        self._exported = exported
        self._graph = graph
        self._progress = progress
        self._place = place
        self._grant = grant
        self._in_force = in_force
        self._after: dict[tuple[str, ...], tuple[Texts, Reader, Reader | None]] = {}
        self._calibrations: dict[tuple[str, ...], Calibration] = {}
        # token by token and cut, where what is asked in the end is for entities
        text = replace(source.text, pooling="none") if source.text and source.measure == "tokens" else source.text
        generation = source.generation if isinstance(source, Generates) else None
        self._texts = (
            Texts(source.tokenizer, text, tuple(data.calibrate.items), generation)
            if text is not None and source.tokenizer is not None and source.measure != "tokens"
            else None
        )
        self.long: Reader | None = None
        if self._texts is None or generation is None:
            self.reader = reader_of(graph.inputs, text, source.image, source.tokenizer, (), generation)
        else:
            self.reader, self.long = self._decoding(self._texts, generation)

    def after(self, steps: Sequence[Step]) -> tuple[Texts | None, Reader, Reader | None]:
        """How the model reads texts after some steps, None where it takes none or answers them token by token; and what
        it reads all items with, and the same for `long`. Raises CompressionError: vocabulary_fixed,
        calibration_missing."""
        changing = [step for step in steps if isinstance(step, Retokenises)]
        if not changing:
            return self._texts, self.reader, self.long
        key = tuple(map(repr, changing))
        if key not in self._after:
            texts = changing[0].retokenised(self._texts)
            for step in changing[1:]:
                texts = step.retokenised(texts)
            self._after[key] = (
                (texts, reader_of(self._graph.inputs, texts.input, None, texts.tokenizer), None)
                if texts.generation is None
                else (texts, *self._decoding(texts, texts.generation))
            )
        return self._after[key]

    def _decoding(self, texts: Texts, generation: Generation) -> tuple[Reader, Reader]:
        every = likelihood.compared(self._graph.outputs, len(self._data.evaluate.items))
        short, long = (
            DecoderReader(texts.tokenizer, generation, self._graph.inputs, every=most)
            for most in (every, likelihood.TOKENS)
        )
        return short, long

    def common(self, steps: Sequence[Step]) -> CommonTokens | None:
        """How texts are read after some steps, held against how they were read before; None where nothing changed, or
        the model does not generate."""
        after = self.after(steps)[0]
        if self._texts is None or after is None or after.generation is None or after == self._texts:
            return None
        return CommonTokens(self._texts, after)

    def calibrated(self, steps: Sequence[Step] = ()) -> Calibration:
        """The calibration data, one item a batch. Empty where no calibration items were given."""
        key = tuple(repr(step) for step in steps if isinstance(step, Retokenises))
        if key not in self._calibrations:
            texts, reader, long = self.after(steps)
            learned, prompts = self._data.calibrate, None
            if texts is not None and texts.generation is not None:
                prompts = Prompts(texts.tokenizer, texts.generation, tuple(learned.items), learned.answers)
            self._calibrations[key] = Calibration(
                self._grant,
                self._in_force,
                self._data.calibrate.items,
                texts,
                partial(self._fed, long or reader),
                parent=None if key else self._exported,
                prompts=prompts,
                labels=self._data.calibrate.labels,
                classes=self._source.labels,
                progress=self._progress,
                place=self._place,
            )
        return self._calibrations[key]

    def some(self, steps: Sequence[Step] = ()) -> Calibration:
        """The first items of the evaluation, to look at what happens inside. Nothing is learned from them."""
        texts, reader, _ = self.after(steps)
        some = [feeds for _, feeds in islice(self.batches(self._data.evaluate, reader), DIAGNOSED)]
        return Calibration(self._grant, self._in_force, some, texts)

    def looked_at(self, steps: Sequence[Step] = ()) -> Calibration:
        """What is looked at to tell where a recipe hurts: the calibration data, where there is any."""
        return self.calibrated(steps) if self._data.calibrate.items else self.some(steps)

    def batches(self, items: Items, reader: Reader) -> Iterator[tuple[Feeds, Feeds]]:
        """One item a batch: all that the reader makes of it, and what of that the model takes."""
        for item in items.items:
            feeds = reader.feeds([item])
            yield feeds, self._taken(feeds)

    def answers(self, model: _Runs, reader: Reader) -> NDArray[np.float32]:
        """What a model answers to the items of the evaluation, (items, ...)."""
        answers: list[NDArray[np.float32]] = []
        batches = self.batches(self._data.evaluate, reader)
        while some := list(islice(batches, TOGETHER)):
            taken = [feeds for _, feeds in some]
            outputs = model.run(self._grant, self._in_force, partial(_all, taken))
            answers += (reader.answers(one, made) for one, (made, _) in zip(outputs, some, strict=True))
        return measure.stacked(self._source.measure, answers)

    def one(self, reader: Reader) -> Feeds:
        """What the latency is measured on: a batch of one item, a text with as many tokens as all texts give, and for a
        model that generates, one token behind others."""
        if self._source.text is None:
            return next(self.batches(self._data.evaluate, reader))[1]
        if self.long is not None:
            return likelihood.one_token(next(self.batches(self._data.evaluate, reader))[1], measure.TOKENS)
        joined = self._taken(reader.feeds([" ".join(self._data.evaluate.items)]))
        return {name: value[:, : measure.TOKENS] for name, value in joined.items()}

    def lengths(self) -> tuple[int, ...]:
        """The tokens of each text of the evaluation; nothing for other items."""
        if self._source.text is None:
            return ()
        return tuple(int(made["attention_mask"].sum()) for made, _ in self.batches(self._data.evaluate, self.reader))

    def _fed(self, reader: Reader, item: Any) -> Feeds:
        return self._taken(reader.feeds([item]))

    def _taken(self, feeds: Feeds) -> Feeds:
        return {tensor.name: feeds[tensor.name] for tensor in self._graph.inputs}


def same_form(one: Session, other: Session, tokens: int | None = None) -> bool:
    """Whether a model takes and gives what another does; of one that generates, caches of fewer layers at most, and
    logits of so many `tokens` where it has other ones."""
    expected = [
        replace(tensor, shape=(*tensor.shape[:-1], tokens)) if tensor.name == "logits" and tokens else tensor
        for tensor in (*other.inputs, *other.outputs)
    ]
    found = [*one.inputs, *one.outputs]
    cached = [
        [tensor for tensor in tensors if not tensor.name.startswith((PAST, PRESENT))] for tensors in (found, expected)
    ]
    return cached[0] == cached[1] and all(tensor in expected for tensor in found)


class _Runs(Protocol):
    def run(
        self, grant: Grant, in_force: str, feeds: Callable[[Payload], Iterable[Feeds]]
    ) -> list[list[NDArray[Any]]]: ...


def _all(batches: list[Feeds], _: Payload) -> list[Feeds]:
    return batches
