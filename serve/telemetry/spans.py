"""Traces: a span for each request, and below it one for the wait and one for the run, to a collector over OTLP.

They are made when a request is over, from times that are kept anyway. There is no payload in them, no subject and no
header. The trace that a caller began is taken over (W3C Trace Context); where the caller does not trace, neither is
traced here. A collector that is slow or dead costs the spans and nothing else: they wait in a bounded queue for a
thread of their own, and the oldest are dropped.

Sources: https://www.w3.org/TR/trace-context/, and for names https://opentelemetry.io/docs/specs/semconv/http/.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from threading import Thread
from typing import ClassVar

import requests
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import Counter

from policies.errors import Failed, Fault
from serve.telemetry.metrics import Metrics
from serve.telemetry.trace import Trace
from toolkit.settings import TracesSettings

__all__ = ["Spans", "TracesError"]

MOST_WAITING = 2_048
AT_ONCE = 512
EVERY_MS = 2_000
SEND_S = 5.0  # for one batch, attempts and pauses together
CLOSE_S = 2.0


class TracesError(Failed):
    """Spans that did not get to their collector. It is told of once, until one gets there again."""

    hints: ClassVar[Mapping[str, str]] = {
        "traces_unsent": "See whether the collector that [serve.traces] names answers; calls go on without it.",
    }


class Spans:
    """Those of one process, which `service` names. `failed` hears that the collector cannot be reached."""

    def __init__(
        self, settings: TracesSettings, service: str, metrics: Metrics, failed: Callable[[Fault], None]
    ) -> None:
        # what the library has to say is said by the metric, and once in the log
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
        self._counted = Counter(
            "sealpress_spans", "Spans that were made, sent, or could not be.", ["state"], registry=metrics.registry
        )
        session = requests.Session()
        session.trust_env = False  # no proxy is asked, and no file of passwords
        exporter = OTLPSpanExporter(settings.endpoint, timeout=SEND_S, session=session)
        sampled = TraceIdRatioBased(settings.ratio)
        self._provider = TracerProvider(
            # by the id alone, since any caller can say that a trace is one of the few
            sampler=ParentBased(sampled, remote_parent_sampled=sampled),
            # made here, since Resource.create would run what the environment names
            resource=Resource({"service.name": "sealpress", "service.instance.id": service}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                _Told(exporter, self._counted, failed),
                max_queue_size=MOST_WAITING,
                schedule_delay_millis=EVERY_MS,
                max_export_batch_size=AT_ONCE,
            )
        )
        self._tracer = self._provider.get_tracer("sealpress", version("sealpress"))
        self._made = self._counted.labels("made")

    def tell(
        self,
        headers: Iterable[tuple[bytes, bytes]],
        method: str,
        route: str | None,
        status: int,
        times: tuple[float, float],
        trace: Trace,
    ) -> str | None:
        """Trace a request that is over, from when to when on the clock of `time.monotonic`.

        Returns the id of the trace in hexadecimal digits, None for one that is not traced.
        """
        shift = time.time_ns() - time.monotonic_ns()
        began, ended = (shift + int(at * 1e9) for at in times)
        span = self._tracer.start_span(
            method if route is None else f"{method} {route}",
            context=_caller(headers),
            kind=SpanKind.SERVER,
            attributes=_attributes(method, route, status, trace),
            start_time=began,
        )
        if not span.is_recording():
            return None
        if status >= 500:
            span.set_status(StatusCode.ERROR)
        self._tell_of_job(span, shift, trace)
        self._end(span, ended)
        return f"{span.get_span_context().trace_id:032x}"

    def close(self) -> None:
        """Send what is there, as far as the collector takes it within two seconds."""
        closing = Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_S)

    def _tell_of_job(self, span: Span, shift: int, trace: Trace) -> None:
        job, inside = trace.job, set_span_in_context(span, Context())
        if job is None or job.ended is None:
            return
        came, began, ended = (shift + int(at * 1e9) for at in (job.came, job.began or job.ended, job.ended))
        self._end(self._tracer.start_span("queue", inside, start_time=came), began)
        if job.began is not None:
            self._end(self._tracer.start_span("lane", inside, start_time=began), ended)

    def _end(self, span: Span, at: int) -> None:
        span.end(at)
        self._made.inc()


class _Told(SpanExporter):
    """An exporter whose outcomes are counted. Runs in the thread of the processor."""

    def __init__(self, exporter: SpanExporter, counted: Counter, failed: Callable[[Fault], None]) -> None:
        self._exporter = exporter
        self._sent, self._unsent = counted.labels("sent"), counted.labels("unsent")
        self._failed = failed
        self._told = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self._sent.inc(len(spans))
            self._told = False
        else:
            self._unsent.inc(len(spans))
            if not self._told:
                self._failed(TracesError("traces_unsent", "the collector of traces did not take them"))
            self._told = True
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


_PROPAGATOR = TraceContextTextMapPropagator()


def _caller(headers: Iterable[tuple[bytes, bytes]]) -> Context:
    """The span of the caller, where the request names exactly one."""
    named = [value.decode("latin-1") for name, value in headers if name == b"traceparent"]
    return _PROPAGATOR.extract({"traceparent": named[0]}, Context()) if len(named) == 1 else Context()


def _attributes(method: str, route: str | None, status: int, trace: Trace) -> dict[str, str | int]:
    found: dict[str, str | int | None] = {
        "http.request.method": method,
        "http.route": route,
        "http.response.status_code": status or None,
        "error.type": (trace.code or str(status)) if status >= 500 else None,
        "sealpress.code": trace.code,
        "sealpress.key.id": trace.key,
        "sealpress.decision.id": trace.call,
        "sealpress.model.digest": trace.model,
    }
    return {name: value for name, value in found.items() if value is not None}
