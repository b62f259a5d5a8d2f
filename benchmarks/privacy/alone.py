"""The first tier without its peers, which take hours: what it finds, and what it takes, also on hostile texts.

Times are those of the processor: a scan waits for nothing, and a machine that is shared makes it wait.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from random import Random

from benchmarks.frame import Result, measured
from benchmarks.privacy import LOCALES, ROUNDS, SENTENCES, TIMED, asked, bait, of_kinds, precise, recalled, spans_of
from benchmarks.privacy.hostile import texts
from policies.privacy import categories, scan

GOAL = 5_000  # microseconds for 16 KB of any text
WAYS: dict[str, Callable[[str], object]] = {"categories": lambda text: categories([text]), "scan": scan}
DOES = {"categories": "To tell the categories, as the gate asks", "scan": "To find all there is, also what is doubtful"}


def run() -> list[Result]:
    usual = (
        _result(f"privacy-alone-{name}", f"{DOES[name]}, in one text.", "us", _rounds(way, TIMED), [])
        for name, way in WAYS.items()
    )
    return [_found(), *usual, _hostile()]


def _found() -> Result:
    drawn = asked("presidio", "generate", {"locales": LOCALES, "count": SENTENCES})
    quiet = list(bait(Random(11)))  # noqa: S311 - the same each time
    found = [of_kinds(spans_of(one["text"])) for one in drawn]
    recall, told = recalled(drawn, found)
    shares = {
        "recall": [recall],
        "precision": [precise(drawn, found)],
        "bait left alone": [sum(not spans_of(text) for text in quiet) / len(quiet)],
    }
    what = f"In {len(drawn)} sentences and {len(quiet)} texts of bait, those of privacy-recall and privacy-bait."
    return _result("privacy-alone-found", what, "share", shares, [f"finds: {told}"])


def _hostile() -> Result:
    """The slowest kind of each way stands in the table."""
    hostile = {name: (text, 1) for name, text in texts()}
    figures, notes = {}, ["The goal is 5,000 us for 16 KB of any text. KB are bytes of UTF-8."]
    for name, way in WAYS.items():
        rounds = _rounds(way, hostile)
        order = sorted(rounds, key=lambda kind: -statistics.median(rounds[kind]))
        figures[f"{name}: {order[0]}"] = rounds[order[0]]
        within = sum(statistics.median(taken) <= GOAL for taken in rounds.values())
        slow = ", ".join(f"{kind} {statistics.median(rounds[kind]):,.0f}" for kind in order[:12])
        notes.append(f"{name}: {within} of {len(rounds)} kinds within the goal; slowest: {slow}")
    return _result("privacy-alone-hostile", f"The slowest of {len(hostile)} kinds of 16 KB.", "us", figures, notes)


def _rounds(way: Callable[[str], object], timed: Mapping[str, tuple[str, int]]) -> dict[str, list[float]]:
    """Microseconds of the processor for each text, in turn."""
    rounds: dict[str, list[float]] = {name: [] for name in timed}
    for number in range(ROUNDS):
        for name, (text, runs) in timed.items():
            way(text)
            start = time.process_time()
            for _ in range(runs):
                way(text)
            rounds[name].append((time.process_time() - start) / runs * 1e6)
        print(f"  round {number + 1}/{ROUNDS}", flush=True)
    return rounds


def _result(name: str, what: str, unit: str, rounds: dict[str, list[float]], notes: list[str]) -> Result:
    # the processor's time grows, too, where others use its caches
    load = f"the load of the machine was {os.getloadavg()[0]:.1f}"
    notes = [*notes, f"taken of the first tier alone, beside no peer; {load}"]
    return measured(name, what, unit, next(iter(rounds)), rounds, notes=notes, packages=["msgspec"])
