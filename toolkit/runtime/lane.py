"""A lane: one reader and one session, which turn the items of grants into answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.errors import Fault
from policies.facts import Tensor
from policies.gate import Grant, charge
from policies.payload import InputError, Payload
from toolkit.runtime.decoding import DecoderReader
from toolkit.runtime.entities import EntityReader
from toolkit.runtime.images import ImageReader
from toolkit.runtime.inputs import Generation, ImageInput, TextInput
from toolkit.runtime.readers import Outputs, Reader, TextReader
from toolkit.runtime.session import Feeds, ModelError, Session
from toolkit.runtime.tensors import TensorReader

__all__ = ["Lane", "reader_of"]

WINDOW = 8  # batches whose tensors are in memory at a time


def reader_of(
    inputs: Sequence[Tensor],
    text: TextInput | None,
    image: ImageInput | None,
    tokenizer: bytes | None,
    labels: Sequence[str] = (),
    generation: Generation | None = None,
) -> Reader:
    """What turns the inputs of a person into those of a model, and what `labels` name into classes or entities.
    `generation` says how a model generates that takes the pooling "next".

    Raises ModelError.
    """
    if text is not None:
        if tokenizer is None:
            raise ModelError("model_malformed", "a model of texts comes without its tokenizer")
        if text.pooling == "next":
            if generation is None:
                raise ModelError("model_malformed", "the manifest does not say how the model generates")
            return DecoderReader(tokenizer, generation, inputs)
        if text.pooling == "tokens":
            return EntityReader(tokenizer, text, labels)
        return TextReader(tokenizer, text, classes=bool(labels))
    return TensorReader(inputs) if image is None else ImageReader(inputs, image, classes=bool(labels))


class _Item(NamedTuple):
    """What is run, with the grant that it belongs to, and its place among the items of that grant."""

    owner: int
    place: int
    size: int
    given: Any


class Lane:
    """Safe for threads: they share the session, and each runs its own batch.

    With a `batch` of 1 an item is run alone and gives the same answer whoever else is asking; an int8 answer may change
    with the items that share its batch, since their range sets the scale.
    """

    def __init__(self, model: bytes, digest: str, reader: Reader, *, threads: int = 1, batch: int = 1) -> None:
        """Raises ModelError when the model cannot be taken."""
        self.reader = reader
        self.session = Session(model, digest, threads=threads)
        self.batch = batch if reader.together else 1

    def run(
        self, grants: Sequence[Grant], in_force: str, go_on: Callable[[int], None] = lambda _: None
    ) -> list[Outputs | Fault]:
        """The answers to the items of each grant's payload, in their order, or why there are none.

        What goes wrong with one grant is no matter of the others. `go_on` is called before a batch with the place of
        each grant that is in it, and raises a Fault for one that need not be run any more. Raises Ungated.
        """
        failed: dict[int, Fault] = {}
        rows: list[dict[int, Outputs]] = [{} for _ in grants]
        names = [tensor.name for tensor in self.session.outputs]
        made: deque[_Batch] = deque()

        def feeds(payloads: Sequence[Payload]) -> Iterator[Feeds]:
            for some in _windows(self._batches(self._items(payloads, failed))):
                # made one after the other, then run one after the other: what does the making is in the caches then
                made.extend(batch for items in some for batch in self._made(items, failed))
                while made:
                    if made[0].wanted(go_on, failed):
                        yield {tensor.name: made[0].feeds[tensor.name] for tensor in self.session.inputs}
                    else:
                        made.popleft()

        for outputs in self.session.run_together(grants, in_force, feeds):
            batch = made.popleft()
            if isinstance(outputs, ModelError):
                failed.update((item.owner, outputs) for item in batch.items)
                continue
            named = self.reader.named(dict(zip(names, outputs, strict=True)), batch.feeds)
            for row, item in enumerate(batch.items):
                # a batch of one is no cut: what a model of tensors gives need not have a row for each item
                one, fed = (named, batch.feeds) if len(batch.items) == 1 else (_cut(named, row), _cut(batch.feeds, row))
                rows[item.owner][item.place] = one
                charge(grants[item.owner], **self.reader.usage(fed))
        return [failed.get(owner) or _joined(some) for owner, some in enumerate(rows)]

    def _items(self, payloads: Sequence[Payload], failed: dict[int, Fault]) -> list[_Item]:
        items: list[_Item] = []
        for owner, payload in enumerate(payloads):
            try:
                given = self.reader.items(payload)
            except InputError as error:
                failed[owner] = error
            else:
                items.extend(_Item(owner, place, self.reader.size(one), one) for place, one in enumerate(given))
        return items

    def _batches(self, items: list[_Item]) -> Iterable[list[_Item]]:
        """Items of about one size together, since all of a batch are padded to the longest."""
        if self.batch == 1:
            return ([item] for item in items)
        ordered = sorted(items, key=lambda item: item.size)
        return (ordered[at : at + self.batch] for at in range(0, len(ordered), self.batch))

    def _made(self, items: list[_Item], failed: dict[int, Fault]) -> Iterator[_Batch]:
        """The tensors of a batch. What cannot be taken fails its own grant, and no other in the batch."""
        items = [item for item in items if item.owner not in failed]
        if not items:
            return
        try:
            yield _Batch(items, self.reader.feeds([item.given for item in items]))
        except InputError as error:
            owners = {item.owner for item in items}
            if len(owners) == 1:
                failed[items[0].owner] = error
                return
            for owner in owners:
                yield from self._made([item for item in items if item.owner == owner], failed)


class _Batch(NamedTuple):
    items: list[_Item]
    feeds: Feeds

    def wanted(self, go_on: Callable[[int], None], failed: dict[int, Fault]) -> bool:
        """Whether any of its grants is still to be run."""
        for owner in {item.owner for item in self.items} - failed.keys():
            try:
                go_on(owner)
            except Fault as fault:
                failed[owner] = fault
        return any(item.owner not in failed for item in self.items)


def _windows(batches: Iterable[list[_Item]]) -> Iterator[list[list[_Item]]]:
    running = iter(batches)
    while some := list(islice(running, WINDOW)):
        yield some


def _cut(arrays: Feeds, row: int) -> dict[str, NDArray[Any]]:
    return {name: array[row : row + 1] for name, array in arrays.items()}


def _joined(rows: dict[int, Outputs]) -> Outputs | Fault:
    """The answers to the items of one grant, in their order."""
    if len(rows) == 1:
        return rows[0]
    try:
        return {name: np.concatenate([rows[place][name] for place in range(len(rows))]) for name in rows[0]}
    except ValueError:
        return ModelError("model_inputs", "the items give answers of several shapes: run them one at a time")
