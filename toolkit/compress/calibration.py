"""What a step may learn from: calibration inputs, and the one way in which a step runs a model, under its grant."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from msgspec import Struct
from numpy.typing import NDArray

from policies.gate import Grant, covers
from policies.payload import Payload
from toolkit.runtime.inputs import TextInput
from toolkit.runtime.session import Feeds, Session
from toolkit.train.place import Place

__all__ = ["Calibration", "Texts"]

T = TypeVar("T")


class Texts(Struct, frozen=True):
    """How a model that answers each text as a whole reads it: its tokenizer.json, and how that is used. `items` are
    texts to learn from."""

    tokenizer: bytes
    input: TextInput
    items: tuple[str, ...] = ()


class Calibration:
    """Batches of inputs by name; never those that the result is measured on. Holds the grant of the run.

    `texts` are what the batches were made from, with the tokenizer; None for models that take no text, or do not answer
    a text as a whole. With `make`, the batches are what it makes of each of them, anew in every pass: a thousand
    photos as tensors are gigabytes. `parent` is the FP32 ONNX file that was brought, where it takes the same batches;
    `progress` is told how far a long step has come, and `place` is where steps train.
    """

    def __init__(
        self,
        grant: Grant,
        in_force: str,
        batches: Sequence[Any],
        texts: Texts | None = None,
        make: Callable[[Any], Feeds] | None = None,
        *,
        parent: bytes | None = None,
        progress: Callable[[str], None] = lambda _: None,
        place: Place = Place(),  # noqa: B008 - it is frozen
    ) -> None:
        self.texts = texts
        self.parent = parent
        self.progress = progress
        self.place = place
        self._grant = grant
        self._in_force = in_force
        self._batches = batches
        self._make = make
        self._known: dict[str, Any] = {}

    def __len__(self) -> int:
        """How many batches there are."""
        return len(self._batches)

    def feeds(self) -> Iterator[Feeds]:
        """The batches themselves."""
        return iter(self._batches) if self._make is None else map(self._make, self._batches)

    def once(self, key: str, make: Callable[[], T]) -> T:
        """What `make` gives, made once for a key that says all it depends on but the data."""
        if key not in self._known:
            self._known[key] = make()
        value: T = self._known[key]
        return value

    def first(self, count: int) -> Calibration:
        """The same with the first batches alone."""
        some = self._batches[:count]
        return Calibration(
            self._grant,
            self._in_force,
            some,
            self.texts,
            self._make,
            parent=self.parent,
            progress=self.progress,
            place=self.place,
        )

    def outputs(self, model: bytes) -> Iterator[dict[str, NDArray[Any]]]:
        """What an ONNX file gives for each batch in turn, by the names of its outputs; one batch is held at a time.

        A step that wants to see a tensor inside makes it an output first. Raises Ungated, ModelError.
        """
        digest = hashlib.sha256(model).hexdigest()
        covers(self._grant, digest)
        session = Session(model, digest)
        names = [tensor.name for tensor in session.outputs]
        for batch in self.feeds():
            [given] = session.run(self._grant, self._in_force, partial(_only, batch))
            yield dict(zip(names, given, strict=True))


def _only(batch: Feeds, _: Payload) -> list[Feeds]:
    return [batch]
