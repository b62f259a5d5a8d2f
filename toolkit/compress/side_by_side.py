"""Bundles run side by side on the same items, each under a grant of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from policies.gate import Grant, charge, gate
from policies.payload import Payload
from toolkit.box import Box, Context
from toolkit.bundle import Bundle
from toolkit.compress import labelled, measure
from toolkit.compress.comparison import Case, Compared, Comparison
from toolkit.compress.data import Items, Kind, gathered, read_items, shown
from toolkit.compress.errors import ComparisonError
from toolkit.compress.quiet import quiet
from toolkit.compress.source import Measure
from toolkit.compress.task import EXAMPLES, SEED
from toolkit.extras import needs
from toolkit.runtime.inputs import TextInput
from toolkit.runtime.lane import reader_of
from toolkit.runtime.session import Feeds, ModelError, Session
from toolkit.sealed import opened

__all__ = ["SideBySide"]

CASES = 10


class SideBySide(Struct, frozen=True, kw_only=True):
    """Bundles that were read, found to be for the same, and not run yet. `kind` is what they take."""

    box: Box
    bundles: tuple[Bundle, ...]
    kind: Kind
    measure: Measure
    items: Items
    given: bool

    @classmethod
    def of(
        cls,
        bundles: Sequence[str | os.PathLike[str]],
        *,
        data: str | os.PathLike[str] | None = None,
        settings: str | os.PathLike[str] | None = None,
    ) -> SideBySide:
        """`bundles` are paths, the first is the reference; `data` is a file of items (toolkit.compress.data). Without
        it, what a compression would measure on without any is taken.

        Raises BundleMissing, BundleError, SealedError, ComparisonError, ItemsError, InputError, SourceError
        "source_examples", SettingsError.
        """
        if len(bundles) < 2:
            raise ComparisonError("compare_few", f"{len(bundles)} bundles were named")
        box = Box.embedded(settings)
        read = tuple(opened(Path(path), box) for path in bundles)
        first, *others = read
        for other in others:
            if apart := _apart(first, other):
                raise ComparisonError("compare_different", f"{other.path} and {first.path} differ in their {apart}")
        manifest = first.manifest
        kind: Kind = "text" if manifest.text else "image" if manifest.image else "tensors"
        how = _measure(first)
        items = _made_up(first, how) if data is None else read_items(Path(data), kind)
        return cls(box=box, bundles=read, kind=kind, measure=how, items=items, given=data is not None)

    @property
    def runs(self) -> int:
        """How often a model will be run in all."""
        return len(self.bundles) * (len(self.items.items) + measure.WARM_UP + measure.ROUNDS)

    def run(self, progress: Callable[[int], None] = lambda _: None) -> Comparison:
        """Run every bundle on every item, and then all in turn on one batch to find how long that takes.

        `progress` hears of each run. All of it is on record, as the action "measure" on each of the bundles. Raises
        Denied, InputError, ModelError, JournalError.
        """
        payload, in_force = _payload(self.items, self.kind), self.box.policy

        def under(grants: tuple[Grant, ...]) -> Comparison:
            if len(grants) == len(self.bundles):
                return self._compared(grants, in_force.digest, progress)
            bundle = self.bundles[len(grants)]
            call = self.box.call("measure", bundle.manifest.digest, Context(), bundle.signer, in_force)
            # one grant inside of the other, so that each of them ends whatever happens
            return gate(
                in_force, bundle.manifest, call, payload, self.box.journal, lambda grant: under((*grants, grant))
            )

        return under(())

    def _compared(self, grants: Sequence[Grant], in_force: str, progress: Callable[[int], None]) -> Comparison:
        sides = [
            _Side(bundle, grant, in_force, self.measure) for bundle, grant in zip(self.bundles, grants, strict=True)
        ]
        for side in sides:
            for _ in self.items.items:
                side.answer()
                progress(1)
        given = measure.stacked(self.measure, [answer for side in sides for answer in side.answers])
        reference, *others = np.split(given, len(sides))
        tokens = min(side.tokens for side in sides)
        for side in sides:
            side.cut(tokens)
        for _ in range(measure.WARM_UP + measure.ROUNDS):
            for side in sides:
                side.time()
                progress(1)
        labels = self.bundles[0].manifest.labels or ()
        scores = [measure.scores(self.measure, reference, answers, labels) for answers in others]
        found = [None, *map(measure.interval, scores)]
        compared = [
            self._one(bundle, side, agreement, answers)
            for bundle, side, agreement, answers in zip(self.bundles, sides, found, (reference, *others), strict=True)
        ]
        return Comparison(
            task=self.bundles[0].manifest.task,
            measure=self.measure,
            batch=f"1 x {tokens} tokens" if self.kind == "text" else "one item",
            machine=measure.machine(),
            method=measure.method_in_turn(self.measure, self._said()),
            data=self.items.digest,
            items=len(self.items.items),
            bundles=tuple(compared),
            cases=self._cases(np.stack(scores), (reference, *others)),
        )

    def _one(self, bundle: Bundle, side: _Side, agreement: Any, answers: NDArray[np.float32]) -> Compared:
        return Compared(
            bundle=bundle.path.name,
            name=bundle.manifest.name,
            version=bundle.manifest.version,
            digest=bundle.manifest.digest,
            steps=tuple(str(step.get("kind")) for step in bundle.manifest.recipe),
            size_bytes=len(bundle.model),
            transport_bytes=measure.transport_bytes(bundle.model),
            latency_ms=1000 * float(np.median(side.times[measure.WARM_UP :])),
            agreement=agreement,
            recorded=bundle.measurements.after.fidelity,
            task=measure.task_metrics(answers, self.items, bundle.manifest.labels or ()),
        )

    def _cases(self, scores: NDArray[np.float64], answers: Sequence[NDArray[np.float32]]) -> tuple[Case, ...]:
        """`scores` are (bundles but the first, items). What is the same for all is no case."""
        lowest = np.where(np.isnan(scores), -np.inf, scores).min(axis=0)
        labels = self.bundles[0].manifest.labels or ()
        return tuple(
            Case(
                number=int(number),
                shown=shown(self.items.items[number]),
                scores=tuple(map(float, scores[:, number])),
                classes=tuple(labels[int(one[number].argmax())] for one in answers)
                if self.measure == "agreement"
                else (),
            )
            for number in np.argsort(lowest, kind="stable")[:CASES]
            if lowest[number] < 1
        )

    def _said(self) -> str:
        if self.given:
            return f"{len(self.items.items)} items that the user gave"
        return f"{len(self.items.items)} items that come with sealpress or were made up"


class _Side:
    """A bundle in a session of one thread, which runs under its grant batch by batch, as it is asked to."""

    def __init__(self, bundle: Bundle, grant: Grant, in_force: str, how: Measure) -> None:
        """Raises ModelError."""
        manifest = bundle.manifest
        text = manifest.text or None
        # token by token and cut, as in a compression, where what is asked in the end is for entities
        if text is not None and how == "tokens":
            text = replace(text, pooling="none")
        self._reader = reader_of(
            manifest.inputs,
            text,
            manifest.image or None,
            bundle.tokenizer,
            () if how == "tokens" else manifest.labels or (),
        )
        self._text: TextInput | None = text
        self._grant = grant
        self._session = Session(bundle.model, manifest.digest)
        self._names = tuple(tensor.name for tensor in self._session.inputs)
        self._made: Feeds = {}
        self._one: Feeds = {}
        self._running = self._session.run_together([grant], in_force, self._feeds)
        self.answers: list[NDArray[np.float32]] = []
        self.times: list[float] = []

    @property
    def tokens(self) -> int:
        """How many tokens the batch has that the latency is taken on, 0 where it has none. After all answers."""
        return 0 if self._text is None else int(self._one["attention_mask"].shape[1])

    def answer(self) -> None:
        """Run on the next item. Raises Ungated, InputError, ModelError."""
        outputs = self._next()
        self.answers.append(self._reader.answers(outputs, self._made))
        charge(self._grant, **self._reader.usage(self._made))

    def cut(self, tokens: int) -> None:
        """Let the batch that the latency is taken on have so many tokens."""
        if self._text is not None:
            self._one = {name: array[:, :tokens] for name, array in self._one.items()}

    def time(self) -> None:
        """Run on the one batch, after all items. Raises ModelError."""
        start = perf_counter()
        self._next()
        self.times.append(perf_counter() - start)

    def _next(self) -> list[NDArray[Any]]:
        outputs = next(self._running)
        if isinstance(outputs, ModelError):
            raise outputs
        return outputs

    def _feeds(self, payloads: Sequence[Payload]) -> Iterator[Feeds]:
        [payload] = payloads
        items = self._reader.items(payload)
        # before the last answer, so that all that is asked after it is there
        self._one = self._reader.feeds([" ".join(items)] if self._text is not None else items[:1])
        self.cut(measure.TOKENS)
        for item in items:
            self._made = self._reader.feeds([item])
            yield self._taken(self._made)
        while True:
            yield self._taken(self._one)

    def _taken(self, made: Feeds) -> Feeds:
        return {name: made[name] for name in self._names}


def _apart(first: Bundle, other: Bundle) -> str:
    """What two bundles differ in that can then not be compared; nothing where they can."""
    one, two = first.manifest, other.manifest
    pairs = {
        "tasks": (one.task, two.task),
        "kinds of input": ((bool(one.text), bool(one.image)), (bool(two.text), bool(two.image))),
        "inputs": (one.inputs, two.inputs),
        "outputs": (one.outputs, two.outputs),
        "labels": (one.labels, two.labels),
    }
    return next((name for name, (here, there) in pairs.items() if here != there), "")


def _measure(bundle: Bundle) -> Measure:
    """How the answers are held against each other, as in a compression of such a model."""
    manifest = bundle.manifest
    if manifest.text and manifest.text.pooling == "tokens":
        return "tokens"
    if manifest.labels:
        return "agreement"
    if manifest.text or manifest.image:
        return "cosine"
    with quiet(), needs("compress"):
        from toolkit.compress.sources import onnx_checks
    return "divergence" if onnx_checks.classifies(onnx_checks.parsed(bundle.model)) else "correlation"


def _made_up(bundle: Bundle, how: Measure) -> Items:
    manifest = bundle.manifest
    if how == "tokens":
        return gathered(labelled.naming_texts(EXAMPLES), "text")
    if manifest.text:
        return gathered(measure.evaluation_texts()[:EXAMPLES], "text")
    if manifest.image:
        from toolkit.compress.sources.pictures import made_up_pictures

        return made_up_pictures(manifest.image, EXAMPLES, SEED)
    with quiet(), needs("compress"):
        from toolkit.compress.made_up import made_up
        from toolkit.compress.sources import onnx_checks
    return made_up(onnx_checks.parsed(bundle.model), EXAMPLES, SEED)


def _payload(items: Items, kind: Kind) -> Payload:
    """The items as a call brings them. Raises InputError."""
    if kind == "text":
        return Payload.checked({"texts": list(items.items)})
    if kind == "image":
        blobs = {f"{number}": item for number, item in enumerate(items.items)}
        return Payload.checked({"images": list(blobs)}, blobs)
    tensors: list[dict[str, Any]] = []
    blobs = {}
    for number, item in enumerate(items.items):
        tensors.append({})
        for place, (name, array) in enumerate(item.items()):
            blob = f"{number}.{place}"
            tensors[-1][name] = {"dtype": str(array.dtype), "shape": list(array.shape), "blob": blob}
            little = array.dtype.newbyteorder("<")
            blobs[blob] = np.ascontiguousarray(array).astype(little, copy=False).tobytes()
    return Payload.checked({"tensors": tensors}, blobs)
