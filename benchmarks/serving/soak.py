"""Ten minutes of mixed load while bundles are swapped, keys come and go, rules change and clients misbehave; then
every answer is looked up in the journal with the auditor's key. About twelve minutes.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from statistics import linear_regression, median
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

from benchmarks.frame import Result, goal, lasting, measured
from benchmarks.serving.boxes import made_box
from benchmarks.serving.changes import Changes, prepare
from benchmarks.serving.load import TIMEOUT_S, Answer, closed, offered
from benchmarks.serving.mischief import MISCHIEF
from benchmarks.serving.mix import BUSY, EXPECTED, Mix
from benchmarks.serving.records import Found, compared
from benchmarks.serving.servers import sealpress

__all__ = ["run"]

SECONDS = 600.0
CONNECTIONS = 16
CALM_S, BURST_S, BURST = 20.0, 2.0, 4  # each calm is followed by a burst of so many times what was answered in it
SWAP_S, KEY_S, RULES_S, MISCHIEF_S, WEIGH_S = 20.0, 15.0, 10.0, 0.25, 2.0
SOME = 5  # weighings that the median is taken of
PACKAGES = ["sealpress", "litestar", "uvicorn", "onnxruntime"]

Weight = tuple[float, float]  # seconds, MB


class Seen:
    """What came back: how often each kind got each status, and which calls were answered how."""

    def __init__(self) -> None:
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.calls: dict[bytes, int] = {}
        self.unnamed = 0  # answers of a model without the id of their call
        self.timeouts = 0

    def take(self, answer: Answer) -> None:
        self.statuses[answer.request.kind, answer.status] += 1
        call = answer.header(b"x-decision-id")
        if call is not None:
            self.calls[bytes.fromhex(call.decode())] = answer.status
        elif answer.status in (200, 403):
            self.unnamed += 1

    def wrong(self) -> dict[tuple[str, int], int]:
        """What nobody should have got, with how often."""
        expected = {**EXPECTED, **MISCHIEF}
        return {(kind, status): n for (kind, status), n in self.statuses.items() if status not in expected[kind]}

    def count(self, first: int, last: int | None = None) -> int:
        """Answers with these statuses."""
        return sum(n for (_, status), n in self.statuses.items() if first <= status <= (last or first))


def run() -> list[Result]:
    box = made_box("serving-soak")
    prepare(box)
    made = box.command("key", "create")
    seen, memory, stop = Seen(), list[Weight](), Event()
    with TemporaryDirectory() as scratch, sealpress(box, made["key"]).serve(Path(scratch) / "log") as server:
        changes = Changes(box, server.port, made)
        began = time.monotonic()

        def weigh() -> None:
            memory.append((time.monotonic() - began, server.pss_mb()))

        def misbehave() -> None:
            seen.statuses[changes.misbehave()] += 1

        timed: list[tuple[float, Callable[[], None]]] = [
            (SWAP_S, changes.swap_the_bundle),
            (KEY_S, changes.replace_the_key),
            (RULES_S, changes.change_the_rules),
            (MISCHIEF_S, misbehave),
            (WEIGH_S, weigh),
        ]
        with ThreadPoolExecutor(len(timed)) as beside:
            tasks = [beside.submit(_every, min(period, lasting(SECONDS) / 6), work, stop) for period, work in timed]
            try:
                _load(server.port, changes.mix, seen, tasks)
            finally:
                stop.set()
        for task in tasks:
            task.result()
        weigh()
        changes.close()
        status = server.end()
    verified = box.command("journal", "verify")
    print("  every answer is looked up in the journal", flush=True)
    found = compared(box, seen.calls)
    notes = [
        ", ".join(f"{name}: {number:,}" for name, number in changes.done.items()) + ".",
        f"Exit status at SIGTERM: {status}. `sealpress journal verify`: {'ok' if verified['ok'] else verified}.",
        f"{found.records:,} records opened, of {found.calls:,} calls; of {found.unanswered:,} the answer never came: "
        "their clients hung up, or were those that saw the changes work.",
    ]
    return [_answers(seen, found, notes), _memory(memory)]


def _load(port: int, mix: Mix, seen: Seen, tasks: Sequence[Future[Any]]) -> None:
    """Calm and bursts in turn. Raises what one of the tasks beside raised."""
    requests = iter(mix)
    until = time.monotonic() + lasting(SECONDS)
    while (left := until - time.monotonic()) > 0:
        calm = closed(port, requests, CONNECTIONS, min(CALM_S, left), seen.take)
        burst = offered(port, requests, BURST * calm.per_s, BURST_S, seen.take)
        seen.timeouts += burst.timeouts
        print(
            f"  {max(0.0, left):4.0f} s left: {calm.per_s:.4g} answers/s, not as expected: {seen.wrong()}", flush=True
        )
        for task in tasks:
            if task.done():
                task.result()


def _every(period_s: float, work: Callable[[], None], stop: Event) -> None:
    while not stop.wait(period_s):
        work()


def _answers(seen: Seen, found: Found, notes: list[str]) -> Result:
    wrong = seen.wrong()
    figures = {
        "200": seen.count(200),
        "403, refused by the policy": seen.count(403),
        "other 4xx": seen.count(400, 499) - seen.count(403),
        f"{BUSY}, busy": seen.count(BUSY),
        "5xx but 503": seen.count(500, 599) - seen.count(BUSY),
        "not as expected": sum(wrong.values()),
        f"no answer within {TIMEOUT_S:g} s": seen.timeouts,
        "without the id of their call": seen.unnamed,
        "without their records": found.missing,
    }
    goals = [
        goal(name, figures[name], most=0)
        for name in ("5xx but 503", "not as expected", "without the id of their call", "without their records")
    ]
    told = [f"Not as expected: {kind}, {status or 'hung up'}: {number}." for (kind, status), number in wrong.items()]
    return measured(
        "serving-soak",
        f"Answers in {lasting(SECONDS):g} s of mixed load with {CONNECTIONS} connections, in bursts {BURST} times as "
        "many, while bundles, keys and rules change and clients misbehave.",
        "answers",
        "200",
        {name: [float(figure)] for name, figure in figures.items()},
        notes=[*goals, *told, *notes],
        packages=PACKAGES,
    )


def _memory(weights: Sequence[Weight]) -> Result:
    second = weights[len(weights) // 2 :]
    middle, end = (median(mb for _, mb in some) for some in (second[:SOME], second[-SOME:]))
    slope, _ = linear_regression(*zip(*second, strict=True))
    return measured(
        "serving-soak-memory",
        f"Memory (PSS, 2^20 bytes) of the server in {lasting(SECONDS):g} s of mixed load.",
        "MB",
        "in the middle",
        {"at first": [weights[0][1]], "in the middle": [middle], "in the end": [end]},
        notes=[
            goal("in the end, times the middle", end / middle, most=1.02),
            f"A line through the second half rises by {slope * 60:.2f} MB a minute; the highest was "
            f"{max(mb for _, mb in weights):.0f} MB.",
        ],
        packages=PACKAGES,
    )
