"""What the gate, the scan, the journal and the receipt take of a call, inside the process and between real inferences.

SETTINGS BUNDLE ROUNDS CALLS, run by benchmarks.serving.cpu as a process of its own. Thread CPU time, by watches round
the functions that do the work; what a watch itself takes is measured and taken off.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnxruntime as ort

from benchmarks.serving.servers import TEXTS
from compliance.journal.writer import Journal
from policies import gate
from policies.cedar import Engine
from policies.payload import Payload
from toolkit.box import Box, Context
from toolkit.bundle import Bundle
from toolkit.model import Answer, Asked, Model
from toolkit.runtime.readers import TextReader

TOGETHER = 4  # as many as a lane takes at once (serve.queue: BURST)
# what a bare loop does as well
BARE = [(ort.InferenceSession, "run"), (TextReader, "feeds"), (TextReader, "answers")]
PARTS = {
    "facts of the call": (Box, "call"),
    "scan": (gate, "categories"),
    "decide": (Engine, "decide"),
    "record of the intent": (Journal, "opened"),
    "record of the outcome": (Journal, "closed"),
    "receipt": (Journal, "receipt"),
}


class Watches:
    """Replaces functions by ones that add up what they take, in nanoseconds."""

    def __init__(self) -> None:
        self.spent: defaultdict[str, int] = defaultdict(int)
        self.uses: defaultdict[str, int] = defaultdict(int)
        self._inside, self._outside = self._own()

    def of(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        spent, uses, clock = self.spent, self.uses, time.thread_time_ns

        def watched(*args: Any, **kwargs: Any) -> Any:
            start = clock()
            try:
                return work(*args, **kwargs)
            finally:
                spent[name] += clock() - start
                uses[name] += 1

        return watched

    def took(self, name: str) -> float:
        """Without what the watch itself adds to it."""
        return self.spent[name] - self.uses[name] * self._inside

    def overhead(self) -> float:
        """What all watches added to what is around them."""
        return sum(self.uses.values()) * self._outside

    def reset(self) -> None:
        self.spent.clear()
        self.uses.clear()

    def _own(self) -> tuple[float, float]:
        """What a watch round nothing shows, and what it takes in all."""
        nothing, count = self.of("nothing", lambda: None), 20_000
        start = time.thread_time_ns()
        for _ in range(count):
            nothing()
        outside = (time.thread_time_ns() - start) / count
        inside = self.spent["nothing"] / count
        self.reset()
        return inside, outside


@contextmanager
def replaced(
    places: list[tuple[Any, str]], by: Callable[[str, Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    before = [(owner, name, getattr(owner, name)) for owner, name in places]
    for owner, name, work in before:
        setattr(owner, name, by(name, work))
    try:
        yield
    finally:
        for owner, name, work in before:
            setattr(owner, name, work)


def ask(model: Model, asked: list[Asked]) -> None:
    """As a lane does it."""
    for answer in model.answers(asked):
        if not isinstance(answer, Answer):
            raise RuntimeError(f"a call ended with {answer!r}")
        model.receipt(answer)


def measured(model: Model, together: int, calls: int, *, parts: bool) -> dict[str, float]:
    """Microseconds of a call that are the server's own; with `parts`, what they are made of."""
    context = Context(purpose="search", actor="benchmark")
    asked = [Asked(Payload.checked({"texts": [text]}), context) for text in TEXTS]
    groups = [asked[at : at + together] for at in range(0, len(asked), together)]
    rounds = max(1, calls // len(asked))
    watches = Watches()
    names = {place[1]: label for label, place in PARTS.items()}
    places = [*BARE, *(PARTS.values() if parts else ())]
    with replaced(places, lambda name, work: watches.of(names.get(name, name), work)):
        for group in groups:
            ask(model, group)
        watches.reset()
        start, others = time.thread_time_ns(), time.process_time_ns()
        for _ in range(rounds):
            for group in groups:
                ask(model, group)
        whole = time.thread_time_ns() - start
        beside = time.process_time_ns() - others - whole
    count = rounds * len(asked) * 1e3
    bare = sum(watches.took(name) for _, name in BARE)
    shown = {name: watches.took(name) / count for name in PARTS if parts}
    own = (whole - bare - watches.overhead()) / count
    return {"own": own, "beside": beside / count, **shown}


def answered_at_once(_: str, work: Callable[..., Any]) -> Callable[..., Any]:
    """A session that gives an answer that it gave before, so that nothing leaves the processor's caches."""
    known: dict[tuple[int, ...], Any] = {}

    def run(session: Any, names: Any, feeds: Any) -> Any:
        shape = feeds["input_ids"].shape
        if shape not in known:
            known[shape] = work(session, names, feeds)
        return known[shape]

    return run


def main() -> None:
    settings, bundle = map(Path, sys.argv[1:3])
    rounds, calls = map(int, sys.argv[3:5])
    box = Box(settings)
    model = Model(Bundle.read(bundle, box.trusted()), box)
    found: defaultdict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for label, together in (("one call at a time", 1), (f"{TOGETHER} calls at a time", TOGETHER)):
            one = measured(model, together, calls, parts=False)
            found[label].append(one["own"])
            found[f"{label}: the thread that syncs and signs"].append(one["beside"])
            detailed = measured(model, together, calls, parts=True)
            for name in PARTS:
                found[f"{label}: {name}"].append(detailed[name])
            found[f"{label}: the rest"].append(detailed["own"] - sum(detailed[name] for name in PARTS))
        with replaced([(ort.InferenceSession, "run")], answered_at_once):
            found["one call at a time, no inference between"].append(measured(model, 1, calls, parts=False)["own"])
    box.journal.close()
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
