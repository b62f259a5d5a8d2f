"""What cannot be read as a request is answered like every other error, and the connection ends."""

from __future__ import annotations

import sys
from http import HTTPStatus

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from serve.problems import MEDIA_TYPE, RequestError, document

__all__ = ["BoundedHead"]


class BoundedHead(H11Protocol):
    """HTTP/1.1 by h11, which bounds the head of a request. It runs before there is a request to be logged."""

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn while it handles h11's error; `msg` is uvicorn's own and says nothing more."""
        error = sys.exception()
        too_large = isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == 431
        fault = (
            RequestError("request_head", "the head of the request is too large")
            if too_large
            else RequestError("request_malformed", "the request is no HTTP")
        )
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            content = document(fault, openai=False)
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if too_large else HTTPStatus.BAD_REQUEST
            headers = [
                (b"content-type", MEDIA_TYPE.encode()),
                (b"content-length", str(len(content)).encode()),
                (b"connection", b"close"),
            ]
            for event in (
                h11.Response(status_code=status, headers=headers, reason=status.phrase.encode()),
                h11.Data(data=content),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
