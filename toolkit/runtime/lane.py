"""A lane: one reader and one session, which turn the items of grants into answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.facts import Tensor
from policies.gate import Grant, charge
from policies.payload import InputError, Payload
from toolkit.runtime.images import ImageReader
from toolkit.runtime.inputs import ImageInput, TextInput
from toolkit.runtime.readers import Outputs, Reader, TextReader
from toolkit.runtime.session import Feeds, ModelError, Session
from toolkit.runtime.tensors import TensorReader

__all__ = ["Lane", "reader_of"]


def reader_of(
    inputs: Sequence[Tensor],
    text: TextInput | None,
    image: ImageInput | None,
    tokenizer: bytes | None,
    *,
    classes: bool = False,
) -> Reader:
    """What turns the inputs of a person into those of a model; `classes`: it gives logits. Raises ModelError."""
    if text is not None:
        if tokenizer is None:
            raise ModelError("model_malformed", "a model of texts comes without its tokenizer")
        return TextReader(tokenizer, text, classes=classes)
    return TensorReader(inputs) if image is None else ImageReader(inputs, image, classes=classes)


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

    def run(self, grants: Sequence[Grant], in_force: str, go_on: Callable[[], None]) -> list[Outputs | InputError]:
        """The answers to the items of each grant's payload, in their order, or why they could not be taken.

        `go_on` is called before each batch, and raises what ends the run. Raises Ungated, ModelError.
        """
        items: list[_Item] = []
        fed: list[tuple[list[_Item], Feeds]] = []
        failed: dict[int, InputError] = {}

        def feeds(payloads: Sequence[Payload]) -> Iterator[Feeds]:
            for owner, payload in enumerate(payloads):
                given = self.reader.items(payload)
                items.extend(_Item(owner, place, self.reader.size(one), one) for place, one in enumerate(given))
            for batch in self._batches(items):
                for some, made in self._made(batch, failed):
                    go_on()
                    fed.append((some, made))
                    yield {tensor.name: made[tensor.name] for tensor in self.session.inputs}

        outputs = self.session.run_together(grants, in_force, feeds)
        rows: list[dict[int, Outputs]] = [{} for _ in grants]
        names = [tensor.name for tensor in self.session.outputs]
        for (some, made), given in zip(fed, outputs, strict=True):
            named = self.reader.named(dict(zip(names, given, strict=True)), made)
            for row, item in enumerate(some):
                # a batch of one is no cut: what a model of tensors gives need not have a row for each item
                one, part = (named, made) if len(some) == 1 else (_cut(named, row), _cut(made, row))
                rows[item.owner][item.place] = one
                charge(grants[item.owner], **self.reader.usage(part))
        return [failed[owner] if owner in failed else _joined(rows[owner]) for owner in range(len(grants))]

    def _batches(self, items: list[_Item]) -> Iterable[list[_Item]]:
        """Items of about one size together, since all of a batch are padded to the longest."""
        if self.batch == 1:
            return ([item] for item in items)
        ordered = sorted(items, key=lambda item: item.size)
        return (ordered[at : at + self.batch] for at in range(0, len(ordered), self.batch))

    def _made(self, batch: list[_Item], failed: dict[int, InputError]) -> Iterator[tuple[list[_Item], Feeds]]:
        """The tensors of a batch. What cannot be taken fails its own grant, and no other in the batch."""
        batch = [item for item in batch if item.owner not in failed]
        if not batch:
            return
        try:
            yield batch, self.reader.feeds([item.given for item in batch])
        except InputError as error:
            owners = [list(some) for _, some in groupby(sorted(batch), key=lambda item: item.owner)]
            if len(owners) == 1:
                failed[batch[0].owner] = error
                return
            for some in owners:
                yield from self._made(some, failed)


def _cut(arrays: Feeds, row: int) -> dict[str, NDArray[Any]]:
    return {name: array[row : row + 1] for name, array in arrays.items()}


def _joined(rows: dict[int, Outputs]) -> Outputs:
    """The answers to the items of one grant, in their order. Raises ModelError."""
    if len(rows) == 1:
        return rows[0]
    try:
        return {name: np.concatenate([rows[place][name] for place in range(len(rows))]) for name in rows[0]}
    except ValueError:
        raise ModelError("model_inputs", "the items give answers of several shapes: run them one at a time") from None
