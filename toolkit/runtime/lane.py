"""A lane: one reader and one session on one thread, which turns the items of a grant into answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.facts import Tensor
from policies.gate import Grant, charge
from policies.payload import Payload
from toolkit.runtime.entities import EntityReader
from toolkit.runtime.images import ImageReader
from toolkit.runtime.inputs import ImageInput, TextInput
from toolkit.runtime.readers import Reader, TextReader
from toolkit.runtime.session import Feeds, ModelError, Session
from toolkit.runtime.tensors import TensorReader

__all__ = ["Lane", "reader_of"]


def reader_of(
    inputs: Sequence[Tensor],
    text: TextInput | None,
    image: ImageInput | None,
    tokenizer: bytes | None,
    labels: Sequence[str] = (),
) -> Reader:
    """What turns the inputs of a person into those of a model, and what `labels` name into entities.

    Raises ModelError.
    """
    if text is not None:
        if tokenizer is None:
            raise ModelError("model_malformed", "a model of texts comes without its tokenizer")
        return EntityReader(tokenizer, text, labels) if text.pooling == "tokens" else TextReader(tokenizer, text)
    return TensorReader(inputs) if image is None else ImageReader(inputs, image)


class Lane:
    """Not shared between threads; each lane runs one item at a time.

    An int8 answer changes with the items that share its batch (their range sets the scale), so an item is run alone
    and gives the same answer whoever else is asking.
    """

    def __init__(self, model: bytes, digest: str, reader: Reader, *, threads: int = 1) -> None:
        """Raises ModelError when the model cannot be taken."""
        self.reader = reader
        self.session = Session(model, digest, threads=threads)

    def answers(self, grant: Grant, in_force: str) -> NDArray[Any]:
        """The answers (n, ...) to the items in the grant's payload. Raises Ungated, InputError, ModelError."""
        batches: list[Feeds] = []

        def feeds(payload: Payload) -> Iterable[Feeds]:
            for item in self.reader.items(payload):
                batches.append(self.reader.feeds([item]))
                yield {tensor.name: batches[-1][tensor.name] for tensor in self.session.inputs}

        outputs = self.session.run(grant, in_force, feeds)
        for batch in batches:
            charge(grant, **self.reader.usage(batch))
        return np.concatenate(
            [self.reader.answers(given, batch) for given, batch in zip(outputs, batches, strict=True)]
        )
