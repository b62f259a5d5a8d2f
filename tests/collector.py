"""A collector of traces: a real HTTP server that decodes what it gets, as the OpenTelemetry protocol has it."""

from __future__ import annotations

import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from types import TracebackType

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

__all__ = ["Collector", "attributes"]


class Collector:
    """`with Collector() as collector`: keeps every span that comes. `go_on` is cleared to let senders wait."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.requests: list[bytes] = []
        self.resources: list[dict[str, str | int]] = []
        self.spans: list[Span] = []
        self.go_on = Event()
        self.go_on.set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                collector.go_on.wait(30)
                collector.take(content, f"{self.path}\n{self.headers}")
                self.send_response(collector.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}/v1/traces"

    def __enter__(self) -> Collector:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()

    def take(self, content: bytes, head: str) -> None:
        self.requests.append(head.encode() + content)
        for of_resource in ExportTraceServiceRequest.FromString(content).resource_spans:
            self.resources.append(attributes(of_resource.resource))
            for scope in of_resource.scope_spans:
                self.spans.extend(scope.spans)

    def named(self, name: str) -> list[Span]:
        """Spans of a name, once there are any; they come in batches."""
        until = time.monotonic() + 20
        while not (found := [span for span in self.spans if span.name == name]):
            assert time.monotonic() < until, [span.name for span in self.spans]
            time.sleep(0.02)
        return found


def attributes(of: object) -> dict[str, str | int]:
    """The attributes of a span or a resource."""
    found = {}
    for one in of.attributes:  # type: ignore[attr-defined] # both have them
        found[one.key] = getattr(one.value, one.value.WhichOneof("value"))
    return found
