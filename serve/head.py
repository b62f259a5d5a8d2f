"""Requests as they come in: a bounded head, and a problem document for what is no request.

llhttp, under httptools, reads half a millisecond faster than h11 does, but sets no limit to the head of a request, nor
to the trailers behind a body in chunks; so that is done here.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from policies.errors import Fault
from serve.answer import secured
from serve.problems import MEDIA_TYPE, RequestError, document, headers_of, status_of
from serve.telemetry import UNMATCHED, Observed

__all__ = ["BoundedHead", "asked_at"]

INTERIM = b"HTTP/1.1 100 "
MAX_HEAD = 16_384
HEAD_S = 10.0
MAX_CONNECTIONS = 4_096
# the last part of the paths at which models are asked, or the last two, and the routes
ASKING = {
    b"embeddings": "/v1/embeddings",
    b"chat/completions": "/v1/chat/completions",
    b"v1/completions": "/v1/completions",
    b"predict": "/v1/models/{name:str}/predict",
    b"infer": "/v2/models/{name:str}/infer",
}


class BoundedHead(HttpToolsProtocol):
    """uvicorn's protocol, which takes heads with their trailers up to `MAX_HEAD` bytes, and holds no more than that and
    one read of what is not of a body.

    It waits for a head no longer than `HEAD_S`. Over TLS, the state of a request holds the `certificate` of the client
    in DER, if one was brought and verified.
    """

    _beside_body = 0
    _head = 0
    _shed = False  # whether the request was answered with its head
    _late: asyncio.TimerHandle | None = None
    _certificate: bytes | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn narrows it
        super().connection_made(transport)
        secure: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if secure is not None:
            self._certificate = secure.getpeercert(binary_form=True)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        else:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head = 0
        # a lane asks whether the client is gone, from its own thread
        self.scope["state"] |= {
            "certificate": self._certificate,
            "gone": self.transport.is_closing,
            "abort": self.transport.abort,
        }

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._more_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._more_head(len(name) + len(value) + len(": \r\n"))

    def _more_head(self, size: int) -> None:
        """Raising ends the parsing, also of what came in the same read: llhttp calls back before it reads on."""
        self._head += size
        if self._head > MAX_HEAD:
            raise _too_large()

    def on_headers_complete(self) -> None:
        self._head_came()
        if self._shed_now():
            return
        super().on_headers_complete()
        whole = _Whole(self.transport, self.on_response_complete)
        self.cycle.transport = whole  # type: ignore[assignment] # it has what an answer needs of one
        self.cycle.on_response = whole.over

    def data_received(self, data: bytes) -> None:
        if self._late is None and (self.cycle is None or self.cycle.response_complete):
            self._expect_head()
        self._beside_body += len(data)
        super().data_received(data)
        if self._beside_body > MAX_HEAD and not self.transport.is_closing():
            self._refuse(_too_large())

    def on_body(self, body: bytes) -> None:
        self._beside_body = 0
        if not self._shed:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._beside_body = 0
        if not self._shed:
            super().on_message_complete()

    def _shed_now(self) -> bool:
        """Refuse a request to a model where none has a place left, whoever asks: what a refusal takes, it takes from
        the lanes, and this takes a third of what the application would need. What comes of a body is let fall."""
        path = self.url.partition(b"?")[0]
        route = asked_at(path)
        observed: Observed | None = self.app_state.get("observed")
        idle = self.cycle is None or self.cycle.response_complete
        self._shed = False
        if route is None or observed is None or not idle or self.parser.get_method() != b"POST":
            return False
        busy = observed.busy()
        if busy is None:
            return False
        self._shed = True
        keep = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        self._answer(busy, path.decode("ascii", "replace"), route, keep=keep)
        if keep:
            self.on_response_complete()
        return True

    def _expect_head(self) -> None:
        self._late = self.loop.call_later(HEAD_S, self.transport.abort)

    def _head_came(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn for what ends the parsing; `msg` is uvicorn's own and says nothing more."""
        large = self._head > MAX_HEAD
        self._refuse(_too_large() if large else RequestError("request_malformed", "the request is no HTTP"))

    def _refuse(self, fault: Fault) -> None:
        """Answer, unless an answer has begun, and hang up."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self._answer(fault)
        else:
            self._tell(fault, UNMATCHED)
            self.transport.close()

    def _answer(self, fault: Fault, path: str = "/", route: str = UNMATCHED, *, keep: bool = False) -> None:
        """Answer without the application, and hang up unless the connection is to be kept."""
        self._tell(fault, route)
        content, status = document(fault, path), status_of(fault)
        said = {"content-type": MEDIA_TYPE, "content-length": str(len(content)), **headers_of(fault)}
        if not keep:
            said["connection"] = "close"
        own = [(name.lower().encode(), value.encode()) for name, value in said.items()]
        head = b"".join(b"%s: %s\r\n" % header for header in secured(own, https=self.scheme == "https"))
        first = f"HTTP/1.1 {status.value} {HTTPStatus(status).phrase}\r\n"
        self.transport.write(first.encode() + head + b"\r\n" + content)
        if not keep:
            self.transport.close()

    def _tell(self, fault: Fault, route: str) -> None:
        observed: Observed | None = self.app_state.get("observed")
        if observed is not None:
            observed.refused(fault.code, status_of(fault), route)


class _Whole:
    """Sends the head of one answer together with what comes next: by one call of the system, as one packet."""

    __slots__ = ("_complete", "_head", "_transport", "is_closing")

    def __init__(self, transport: asyncio.Transport, complete: Callable[[], None]) -> None:
        self._transport = transport
        self._complete = complete
        self._head: bytes | None = None
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        if self._head is None and not data.startswith(INTERIM):
            self._head = data
        else:
            self._transport.write((self._head or b"") + data)
            self._head = self._head and b""

    def over(self) -> None:
        self._flush()
        self._complete()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        """For an answer without a body."""
        if self._head:
            self._transport.write(self._head)
            self._head = b""


def asked_at(path: bytes) -> str | None:
    """The route of a path where models are asked."""
    before, _, last = path.rpartition(b"/")
    return ASKING.get(last) or ASKING.get(before.rpartition(b"/")[2] + b"/" + last)


def _too_large() -> RequestError:
    return RequestError("request_head", "the head of the request is too large")
