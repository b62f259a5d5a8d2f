"""What is found out about one request on its way."""

from __future__ import annotations

import traceback
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path

from litestar.types import Scope

from policies.facts import Obligation
from serve.answering import Answering
from serve.caller import Caller
from serve.obligations import headers
from serve.queue import Job
from toolkit.box import Context

__all__ = ["Trace", "trace_of", "where"]


class Trace:
    """Who asks, under what, and how it ended. `served` is the name of the model and `model` its digest, `job` its place
    in the queue, or its answer in the making, once it has one; `leave` is called when the request is over."""

    __slots__ = (
        "call", "caller", "code", "context", "detected", "gone", "job", "key", "leave", "model", "obligations",
        "reason", "receipt", "refused_by", "said", "served",
    )  # fmt: skip

    def __init__(self, gone: Callable[[], bool]) -> None:
        self.gone = gone  # whether the client hung up
        self.key: str | None = None
        self.caller: Caller | None = None
        self.said: dict[str, str] = {}
        self.leave: Callable[[], None] | None = None
        self.context = Context()
        self.served: str | None = None
        self.model: str | None = None
        self.job: Job | Answering | None = None
        self.call: str | None = None
        self.code: str | None = None
        self.reason: str | None = None
        self.receipt: bytes | None = None
        self.detected: frozenset[str] = frozenset()
        self.refused_by: tuple[str, ...] = ()
        self.obligations: tuple[Obligation, ...] = ()

    def headers(self) -> dict[str, str]:
        """The call as it is on record, its receipt, the digest of the model, what the detector found in the input, and
        what the answer has to carry, as far as it came to that."""
        found: dict[str, str] = {}
        if self.call is not None:
            found |= {"X-Decision-Id": self.call, "X-Request-Id": self.call}
        if self.receipt is not None:
            found["X-Receipt"] = urlsafe_b64encode(self.receipt).decode()
        if self.detected:
            found["X-Detected"] = ", ".join(sorted(self.detected))
        if self.model is not None:
            found["X-Model-Digest"] = self.model
        return found | headers(self.obligations)


def trace_of(scope: Scope) -> Trace:
    """The trace of the request that is being answered."""
    trace: Trace = scope["state"]["trace"]
    return trace


def where(error: BaseException) -> str:
    """The type and the place of an error only: a message might hold something of a payload."""
    places = traceback.extract_tb(error.__traceback__)
    at = f" at {Path(places[-1].filename).name}:{places[-1].lineno}" if places else ""
    return f"{type(error).__name__}{at}"
