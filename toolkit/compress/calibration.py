"""What a step may learn from: calibration inputs, and the one way in which a step runs a model, under its grant."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from policies.gate import Grant, charge, covers
from policies.payload import Payload
from toolkit.runtime.inputs import Generation, TextInput
from toolkit.runtime.session import Feeds, Session
from toolkit.train.place import Place

__all__ = ["Calibration", "Prompts", "Texts"]

T = TypeVar("T")


class Texts(Struct, frozen=True):
    """How a model that answers each text as a whole, or goes on with it, reads it: its tokenizer.json, and how that is
    used. `items` are texts to learn from, `generation` is that of a model that goes on."""

    tokenizer: bytes
    input: TextInput
    items: tuple[str, ...] = ()
    generation: Generation | None = None


class Prompts(Struct, frozen=True):
    """How a model that generates is asked, and what: `answers` are those that a person wrote to the prompts `items`,
    none or as many."""

    tokenizer: bytes
    generation: Generation
    items: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()


class Calibration:
    """Batches of inputs by name; never those that the result is measured on. Holds the grant of the run.

    `texts` are what the batches were made from, with the tokenizer; None for models that take no text, or do not answer
    a text as a whole. With `make`, the batches are what it makes of each of them, anew in every pass: a thousand
    photos as tensors are gigabytes. `prompts` are of a model that generates, None for others; `labels` are those that a
    person gave to the items, `classes` what the model tells apart, in its order; both may be none. `parent` is the FP32
    ONNX file that was brought, where it takes the same batches; `progress` is told how far a long step has come, and
    `place` says where steps train.
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
        prompts: Prompts | None = None,
        labels: Sequence[str] = (),
        classes: Sequence[str] = (),
        progress: Callable[[str], None] = lambda _: None,
        place: Place = Place(),  # noqa: B008 - it is frozen
    ) -> None:
        self.texts = texts
        self.prompts = prompts
        self.labels = tuple(labels)
        self.classes = tuple(classes)
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
        some, prompts = self._batches[:count], self.prompts
        if prompts is not None:
            prompts = replace(prompts, items=prompts.items[:count], answers=prompts.answers[:count])
        return Calibration(
            self._grant,
            self._in_force,
            some,
            self.texts,
            self._make,
            parent=self.parent,
            prompts=prompts,
            labels=self.labels[:count],
            classes=self.classes,
            progress=self.progress,
            place=self.place,
        )

    def charge(self, **usage: int) -> None:
        """Add what was used to the outcome that will be on record."""
        charge(self._grant, **usage)

    def outputs(self, model: bytes) -> Iterator[dict[str, NDArray[Any]]]:
        """What an ONNX file gives for each batch in turn, by the names of its outputs; one batch is held at a time.

        A step that wants to see a tensor inside makes it an output first. Raises Ungated, ModelError.
        """
        run = self.runner(model)
        for batch in self.feeds():
            yield run(batch)

    def runner(self, model: bytes) -> Callable[[Feeds], dict[str, NDArray[Any]]]:
        """What gives the outputs of an ONNX file for inputs, where those hang on what it gave before. Raises Ungated,
        ModelError, then and when it is called."""
        digest = hashlib.sha256(model).hexdigest()
        covers(self._grant, digest)
        session = Session(model, digest)
        names = [tensor.name for tensor in session.outputs]

        def run(batch: Feeds) -> dict[str, NDArray[Any]]:
            [given] = session.run(self._grant, self._in_force, partial(_only, batch))
            return dict(zip(names, given, strict=True))

        return run


def _only(batch: Feeds, _: Payload) -> list[Feeds]:
    return [batch]
