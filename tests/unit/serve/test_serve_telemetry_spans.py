"""Traces, to a real collector in this process: what a span says, whose trace it is part of, a dead collector."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from policies.errors import Fault
from serve.queue import Job
from serve.telemetry import spans as module
from serve.telemetry.metrics import Metrics
from serve.telemetry.spans import Spans
from serve.telemetry.trace import Trace
from tests.bundles import put_bundle, trusting_box
from tests.collector import Collector, attributes
from tests.serving import Running, serving
from toolkit.box import Box
from toolkit.settings import TracesSettings

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = {"traceparent": f"00-{TRACE}-{SPAN}-01"}


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY_MS", 50)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture
def box(tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    monkeypatch.setattr("toolkit.plan.RUN_S", 0.01)
    box = trusting_box(tmp_path, f'traces = {{endpoint = "{collector.endpoint}"}}')
    put_bundle(box.folder / "small.bundle", name="small")
    yield box
    box.journal.close()


class Made:
    """Spans without a server, and what was told of them."""

    def __init__(self, endpoint: str, ratio: float = 1.0) -> None:
        self.metrics = Metrics()
        self.failed: list[Fault] = []
        self.spans = Spans(TracesSettings(endpoint=endpoint, ratio=ratio), "box/0", self.metrics, self.failed.append)

    def tell(self, headers: dict[str, str] | None = None, status: int = 200, job: Any = None) -> str | None:
        trace = Trace(lambda: False)
        trace.job = cast(Job, job)
        brought = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        return self.spans.tell(brought, "GET", "/livez", status, (1.0, 1.5), trace)

    def counted(self, state: str) -> float:
        name = f'sealpress_spans_total{{state="{state}"}} '
        return next(
            float(line.removeprefix(name)) for line in self.metrics.text().decode().splitlines() if name in line
        )


def test_a_call_is_a_span_with_its_wait_and_its_run_below_it(box: Box, collector: Collector) -> None:
    answered: dict[str, str] = {}

    async def scenario(server: Running) -> None:
        answered.update((await server.embed(**CALLER)).headers)

    began = time.time_ns()
    serving(box, scenario)
    (span,) = collector.named("POST /v1/embeddings")
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, SPAN)
    assert span.kind == span.SPAN_KIND_SERVER
    assert attributes(span) == {
        "http.request.method": "POST",
        "http.route": "/v1/embeddings",
        "http.response.status_code": 200,
        "sealpress.key.id": attributes(span)["sealpress.key.id"],
        "sealpress.decision.id": answered["x-decision-id"],
        "sealpress.model.digest": answered["x-model-digest"],
    }
    (queue,), (lane,) = collector.named("queue"), collector.named("lane")
    assert {one.parent_span_id for one in (queue, lane)} == {span.span_id}
    assert {one.trace_id.hex() for one in (queue, lane)} == {TRACE}
    times = [span.start_time_unix_nano, queue.start_time_unix_nano, queue.end_time_unix_nano]
    times += [lane.start_time_unix_nano, lane.end_time_unix_nano, span.end_time_unix_nano]
    assert times == sorted(times)
    assert queue.end_time_unix_nano == lane.start_time_unix_nano
    assert began - 10**7 < times[0] < times[-1] < time.time_ns() + 10**7
    assert collector.resources[0] == {"service.name": "sealpress", "service.instance.id": "box/0"}


def test_a_refusal_tells_its_code_and_nothing_that_was_sent_is_told(
    box: Box, collector: Collector, capfd: pytest.CaptureFixture[str]
) -> None:
    async def scenario(server: Running) -> None:
        canaries = {"x_subject": "canary-subject", "user_agent": "canary", "tracestate": "canary=canary", **CALLER}
        assert (await server.embed("canary", **canaries)).status_code == 200
        assert (await server.embed("canary", model="canary", **canaries)).status_code == 404
        assert (await server.embed("canary", x_purpose="canary", **canaries)).status_code == 403
        assert (await server.http.request("CANARY", "/canary?canary=1", headers=CALLER)).status_code == 404

    serving(box, scenario)
    found = [attributes(span) for span in collector.named("POST /v1/embeddings")]
    assert {(one["http.response.status_code"], one.get("sealpress.code")) for one in found} == {
        (200, None),
        (404, "model_unknown"),
        (403, "denied"),
    }
    assert [attributes(span)["sealpress.code"] for span in collector.named("other")] == ["route_unknown"]
    assert all(b"canary" not in request.lower() for request in collector.requests)
    log = capfd.readouterr().err
    assert "canary" not in log.lower()
    # by the id of the trace a line is found in it, and the other way
    traced = [json.loads(line).get("trace") for line in log.splitlines() if "/v1/embeddings" in line]
    assert traced == [TRACE] * 3


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"traceparent": f"00-{'0' * 32}-{SPAN}-01"},
        {"traceparent": f"00-{TRACE}-{'0' * 16}-01"},
        {"traceparent": f"ff-{TRACE}-{SPAN}-01"},
        {"traceparent": f"00-{TRACE.upper()}-{SPAN}-01"},
        {"traceparent": f"00-{TRACE}-{SPAN}-01-more"},
        {"traceparent": "canary" * 1000},
    ],
)
def test_without_a_caller_that_traces_a_trace_begins_here(collector: Collector, headers: dict[str, str]) -> None:
    made = Made(collector.endpoint)
    told = made.tell(headers)
    made.spans.close()
    (span,) = collector.named("GET /livez")
    assert span.trace_id.hex() == told != TRACE
    assert span.parent_span_id == b""


def test_two_callers_are_none(collector: Collector) -> None:
    made = Made(collector.endpoint)
    brought = [(b"traceparent", CALLER["traceparent"].encode())] * 2
    assert made.spans.tell(brought, "GET", "/livez", 200, (1.0, 1.5), Trace(lambda: False)) not in (None, TRACE)
    made.spans.close()


def test_who_does_not_trace_is_not_traced_here(collector: Collector) -> None:
    made = Made(collector.endpoint)
    assert made.tell({"traceparent": f"00-{TRACE}-{SPAN}-00"}) is None
    made.spans.close()
    assert collector.spans == []
    assert made.counted("made") == 0


def test_the_share_is_kept_also_where_callers_say_that_they_trace(collector: Collector) -> None:
    made = Made(collector.endpoint, ratio=0.1)
    ids = Random(7)  # noqa: S311 - ids of a test
    traced = [made.tell({"traceparent": f"00-{ids.getrandbits(128):032x}-{SPAN}-01"}) for _ in range(1000)]
    began = [made.tell() for _ in range(1000)]
    made.spans.close()
    for told in (traced, began):
        assert 50 <= sum(one is not None for one in told) <= 200


def test_a_fault_of_ours_is_an_error(collector: Collector) -> None:
    made = Made(collector.endpoint)
    made.tell(status=503)
    made.spans.close()
    (span,) = collector.named("GET /livez")
    assert span.status.code == span.status.STATUS_CODE_ERROR
    assert attributes(span)["error.type"] == "503"


def test_a_request_that_was_given_up_has_no_run(collector: Collector) -> None:
    made = Made(collector.endpoint)
    made.tell(status=503, job=SimpleNamespace(came=1.0, began=None, ended=1.25))
    made.tell(status=503, job=SimpleNamespace(came=1.0, began=None, ended=None))
    made.spans.close()
    assert sorted(span.name for span in collector.spans) == ["GET /livez", "GET /livez", "queue"]
    (queue,) = collector.named("queue")
    assert queue.end_time_unix_nano - queue.start_time_unix_nano == 250_000_000


def test_a_collector_that_does_not_answer_holds_nobody_up(collector: Collector) -> None:
    collector.go_on.clear()
    made = Made(collector.endpoint)
    began = time.monotonic()
    for _ in range(3 * module.MOST_WAITING):
        made.tell()
    took = time.monotonic() - began
    made.spans.close()
    assert time.monotonic() - began - took < module.CLOSE_S + 10
    assert made.counted("made") == 3 * module.MOST_WAITING
    assert took / (3 * module.MOST_WAITING) < 0.05


@pytest.mark.parametrize("status", [400, 503])
def test_a_collector_that_refuses_is_told_of_once(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEND_S", 0.1)
    with Collector(status) as collector:
        made = Made(collector.endpoint)
        for _ in range(3):
            made.tell()
            collector.named("GET /livez")
            time.sleep(0.1)
        made.spans.close()
    assert [fault.code for fault in made.failed] == ["traces_unsent"]
    assert made.counted("unsent") == 3


def test_no_collector_at_all(
    box: Box, collector: Collector, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEND_S", 0.1)
    text = box.path.read_text("utf-8").replace(collector.endpoint, "http://127.0.0.1:9/v1/traces")
    box.path.write_text(text, "utf-8")
    box.reload()

    async def scenario(server: Running) -> None:
        assert (await server.embed()).status_code == 200
        await asyncio.sleep(0.3)
        assert (await server.embed()).status_code == 200

    began = time.monotonic()
    serving(box, scenario)
    assert time.monotonic() - began < 20
    told = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert sum(line.get("code") == "traces_unsent" for line in told) == 1
