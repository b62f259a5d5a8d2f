"""What Prometheus is told of requests. No label holds anything that a client wrote.

Of several processes each keeps its own in files of one private folder, from which any of them tells the sum
(prometheus_client's multiprocess mode). The files have the number of the worker in their names, so that a process goes
on where the one before it left off.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from functools import lru_cache
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory, gettempdir
from typing import Final, NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
    values,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from serve.answering import Answering
from serve.telemetry.trace import Trace

__all__ = ["FOLDER", "METRICS_TYPE", "Metrics", "forget", "shared_folder"]

METRICS_TYPE = CONTENT_TYPE_LATEST
FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # the library's own name for it, in the environment of a worker

LEFT_S: Final = 60
_PREFIX: Final = "sealpress-metrics-"
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_FIRST: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_EACH: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1)
_TOGETHER: Final = (1, 2, 4, 8, 16, 32)


class _OfRoute(NamedTuple):
    requests: Counter
    seconds: Histogram


class _OfModel(NamedTuple):
    queue: Histogram
    lane: Histogram
    together: Histogram


class _OfAnswers(NamedTuple):
    first: Histogram
    each: Histogram
    prompts: Counter
    answers: Counter


class Metrics:
    """Of this process, the `worker` of this number; with `shared`, also of the others whose folder it shares."""

    def __init__(self, worker: int = 0, *, shared: bool = False) -> None:
        self.worker = worker
        self.shared = shared
        # a second series for each, which tells when it began
        disable_created_metrics()  # type: ignore[no-untyped-call] # the library is not typed throughout
        # what values are kept in, by which the library itself tells one mode from the other
        made = values.MultiProcessValue(lambda: worker) if shared else values.MutexValue  # type: ignore[no-untyped-call] # as above
        values.ValueClass = made
        self._registry = CollectorRegistry()
        if shared:
            MultiProcessCollector(self._registry, os.environ[FOLDER])  # type: ignore[no-untyped-call] # as above
        # None: what is in the files would be told twice
        self.registry = None if shared else self._registry
        registry = self.registry
        requests = Counter(
            "sealpress_requests", "Requests by route and status.", ["route", "status"], registry=registry
        )
        seconds = Histogram(
            "sealpress_request_seconds",
            "From the head of a request to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        queue = Histogram(
            "sealpress_queue_seconds", "Time in the queue of a model.", ["model"], buckets=_SECONDS, registry=registry
        )
        lane = Histogram(
            "sealpress_lane_seconds",
            "Time in a lane: gate, run, record and answer, together with what else the lane took.",
            ["model"],
            buckets=_SECONDS,
            registry=registry,
        )
        together = Histogram(
            "sealpress_lane_requests",
            "Requests that a lane took at once.",
            ["model"],
            buckets=_TOGETHER,
            registry=registry,
        )
        first = Histogram(
            "sealpress_first_token_seconds",
            "From when an answer was asked for to its first token.",
            ["model"],
            buckets=_FIRST,
            registry=registry,
        )
        each = Histogram(
            "sealpress_token_seconds",
            "Time of a token behind the first, as the mean of an answer.",
            ["model"],
            buckets=_EACH,
            registry=registry,
        )
        tokens = Counter(
            "sealpress_tokens", "Tokens of prompts and answers that were run.", ["model", "of"], registry=registry
        )
        findings = Counter(
            "sealpress_output_findings",
            "Personal data that was found in what models wrote, by its category and the obligation of the look.",
            ["model", "category", "obligation"],
            registry=registry,
        )
        refusals = Counter(
            "sealpress_refusals",
            "Calls that the gate refused, by the rule that was against.",
            ["rule"],
            registry=registry,
        )
        problems = Counter(
            "sealpress_problems",
            "Requests that were answered with a problem, by its code.",
            ["code"],
            registry=registry,
        )
        # the children are looked up here, in a third of the time that `labels` takes
        self._route: Callable[[str, int], _OfRoute] = lru_cache(maxsize=None)(
            lambda route, status: _OfRoute(requests.labels(route, status), seconds.labels(route))
        )
        self._model: Callable[[str], _OfModel] = lru_cache(maxsize=None)(
            lambda model: _OfModel(queue.labels(model), lane.labels(model), together.labels(model))
        )
        self._answers: Callable[[str], _OfAnswers] = lru_cache(maxsize=None)(
            lambda model: _OfAnswers(
                first.labels(model), each.labels(model), tokens.labels(model, "prompt"), tokens.labels(model, "answer")
            )
        )
        # a category is one that the scan knows, and never what it found
        self._findings: Callable[[str, str, str], Counter] = lru_cache(maxsize=None)(findings.labels)
        self._refusals: Callable[[str], Counter] = lru_cache(maxsize=None)(refusals.labels)
        self._problems: Callable[[str], Counter] = lru_cache(maxsize=None)(problems.labels)

    def count(self, route: str, status: int, seconds: float, trace: Trace) -> None:
        """A request that is over; the status is 0 where no answer went out."""
        of_route = self._route(route, status)
        of_route.requests.inc()
        of_route.seconds.observe(seconds)
        if trace.code is not None:
            self._problems(trace.code).inc()
        for rule in trace.refused_by:
            self._refusals(rule).inc()
        job = trace.job
        if job is None or trace.served is None:
            return
        if isinstance(job, Answering):
            self._count_answer(trace.served, job)
        of_model = self._model(trace.served)
        if job.began is None:
            of_model.queue.observe((job.ended or time.monotonic()) - job.came)
            return
        of_model.queue.observe(job.began - job.came)
        if isinstance(job, Answering):
            return
        if job.ended is not None:
            of_model.lane.observe(job.ended - job.began)
        if job.led:
            of_model.together.observe(job.led)

    def _count_answer(self, model: str, answering: Answering) -> None:
        of_answers, used = self._answers(model), answering.used
        of_answers.prompts.inc(used.get("prompt_tokens", 0))
        made = used.get("answer_tokens", 0)
        of_answers.answers.inc(made)
        stream = answering.stream
        if stream is not None and stream.looked_at is not None:
            for category, count in stream.found.items():
                self._findings(model, category, stream.looked_at).inc(count)
        if answering.first is None:
            return
        of_answers.first.observe(answering.first - answering.came)
        if answering.last is not None and made > 1:
            of_answers.each.observe((answering.last - answering.first) / (made - 1))

    def add(self, collector: Collector) -> None:
        """Tell also of this, which every process sees alike."""
        self._registry.register(collector)

    def living(self) -> int:
        """How many processes tell of themselves: those that start or have ended do not."""
        return len(list(Path(os.environ[FOLDER]).glob("gauge_livesum_*.db"))) if self.shared else 1

    def text(self) -> bytes:
        """All metrics in Prometheus' text format, those of the other workers included. Takes milliseconds."""
        return generate_latest(self._registry)


@contextmanager
def shared_folder() -> Iterator[str]:
    """A private folder for the metrics of several processes, in memory where there is a place for it. Those that were
    left by processes that were killed are removed, but not at once: one that is new may be about to be held."""
    shm = Path("/dev/shm")  # noqa: S108 - the folder that is made in it is the owner's alone
    place = shm if os.access(shm, os.W_OK) else Path(gettempdir())
    for left in place.glob(f"{_PREFIX}*"):
        with suppress(OSError), _held(left):
            if time.time() - left.stat().st_mtime > LEFT_S:
                rmtree(left)
    with TemporaryDirectory(prefix=_PREFIX, dir=place) as folder, _held(Path(folder)):
        yield folder


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Have a folder for this process, as long as it lives. Raises OSError where another has it, or it is another's."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        flock(descriptor, LOCK_EX | LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def forget(worker: int, folder: str) -> None:
    """A worker ended: what it had at that moment is no more, what it has counted stays."""
    mark_process_dead(worker, folder)  # type: ignore[no-untyped-call] # as above
