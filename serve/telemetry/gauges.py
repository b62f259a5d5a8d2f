"""What Prometheus is told of the state of the server: queues, models, the journal, memory.

It is looked up when somebody asks; where several processes serve, each also writes it down once a second, for those of
the others that are asked.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, get_args

from prometheus_client import Gauge
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from compliance.journal.writer import Journal
from policies.errors import Fault
from serve.places import Places
from serve.queue import Queue
from serve.telemetry.metrics import Metrics
from toolkit.models import Models, State

__all__ = ["Gauges"]

EVERY_S = 1.0
_STATM: Final = Path("/proc/self/statm")


class Gauges:
    """Of this process, in the metrics of all."""

    def __init__(
        self,
        metrics: Metrics,
        queues: Callable[[], Collection[Queue]],
        models: Models,
        journal: Journal,
        signing_days: Callable[[], int | None],
        quotas: Callable[[], Mapping[str, int]],
        places: Callable[[], Collection[Places]],
        workers: int = 1,
    ) -> None:
        """`signing_days` tells for how many the journal can be signed, `quotas` how many calls are left to accounts,
        `workers` is how many processes there should be."""
        self._metrics = metrics
        self._queues = queues
        self._places = places
        self._models = models
        self._journal = journal
        self._signing_days = signing_days
        self._workers = workers
        self._named: set[str] = set()
        self._answering: set[str] = set()
        # the sum or the most of those processes that live
        self._depth = self._of("queue_depth", "Requests that wait for a lane.", "livesum", "model")
        self._lanes = self._of("lanes", "Lanes of a model that was asked.", "livesum", "model")
        self._promise = self._of(
            "queue_promise_seconds", "How long a request that is taken waits at most.", "livemax", "model"
        )
        self._awaiting = self._of("answers_waiting", "Answers that wait for a place.", "livesum", "model")
        self._making = self._of("answers_running", "Answers that are being made.", "livesum", "model")
        self._held = self._of("tokens_held", "Tokens that answers which run or wait may take.", "livesum", "model")
        self._states = self._of("models", "Bundles by state.", "livemax", "state")
        self._behind = self._of("journal_unsigned_records", "Records that no signed head covers yet.", "livesum")
        self._lag = self._of("journal_lag_seconds", "How long the oldest of them has waited for one.", "livemax")
        self._days = self._of("signing_days", "Days from today on for which a key can sign the journal.", "livemin")
        metrics.add(_Quotas(quotas))
        self._memory = self._of("memory_bytes", "Resident memory of a process.", "livesum", "worker")

    async def upkeep(self) -> None:
        """Once a second, where other processes tell of this one."""
        while self._metrics.shared:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(EVERY_S)

    def text(self) -> bytes:
        """All metrics, as they are now. Takes milliseconds."""
        self.look()
        return self._metrics.text()

    def warnings(self) -> dict[str, str]:
        """Whether some of the processes do not serve."""
        living = self._metrics.living()
        return {"workers": f"{living} of {self._workers}"} if living < self._workers else {}

    def look(self) -> None:
        """Look up the state of this process."""
        self._look_at_queues()
        self._look_at_places()
        states = Counter(entry.state for entry in self._models.entries.values())
        for state in get_args(State):
            self._states.labels(state).set(states[state])
        behind, lag = self._journal.lag
        self._behind.set(behind)
        self._lag.set(lag)
        with suppress(OSError):
            pages = int(_STATM.read_text().split()[1])
            self._memory.labels(self._metrics.worker).set(pages * os.sysconf("SC_PAGE_SIZE"))
        if (days := self._signing_days()) is not None:
            self._days.set(days)

    def _look_at_queues(self) -> None:
        # models that are served no more are told with nothing in them: a name cannot be taken back from a file
        found: dict[str, tuple[float, float, float]] = dict.fromkeys(self._named, (0.0, 0.0, 0.0))
        for queue in [*self._queues()]:
            name = queue.model.manifest.name
            depth, lanes, promise = found.get(name, (0.0, 0.0, 0.0))
            found[name] = depth + queue.waiting, lanes + queue.lanes, max(promise, queue.promise_s)
        for name, (depth, lanes, promise) in found.items():
            self._depth.labels(name).set(depth)
            self._lanes.labels(name).set(lanes)
            self._promise.labels(name).set(promise)
        self._named.update(found)

    def _look_at_places(self) -> None:
        found: dict[str, tuple[int, int, int]] = dict.fromkeys(self._answering, (0, 0, 0))
        for places in [*self._places()]:
            name = places.model.manifest.name
            waiting, running, held = found.get(name, (0, 0, 0))
            found[name] = waiting + places.waiting, running + places.running, held + places.held
        for name, (waiting, running, held) in found.items():
            self._awaiting.labels(name).set(waiting)
            self._making.labels(name).set(running)
            self._held.labels(name).set(held)
        self._answering.update(found)

    def _of(self, name: str, text: str, mode: Literal["livesum", "livemax", "livemin"], *labels: str) -> Gauge:
        return Gauge(f"sealpress_{name}", text, labels, registry=self._metrics.registry, multiprocess_mode=mode)


class _Quotas(Collector):
    """What is left to accounts, which lies in a store that all processes share: looked up when somebody asks."""

    def __init__(self, quotas: Callable[[], Mapping[str, int]]) -> None:
        self._quotas = quotas

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily("sealpress_quota_left", "Calls that are left to an account.", labels=["account"])
        with suppress(Fault):
            for account, left in self._quotas().items():
                family.add_metric([account], left)
        yield family
