"""Read the metadata of calls, most of which are alike but for id and time, so that the rest of them is read once."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["Alike", "value_of_json"]

_DECODER = json.JSONDecoder()
# how the metadata of calls and of outcomes begin, with an id of 32 characters and a time of 19 digits
_CALL, _AT = b'{"record":"opened","call":{"id":"', b'","at":'
_CLOSED, _OF, _OUTCOME = b'{"record":"closed","at":', b',"call":"', b'","outcome":'
_MODEL = b'},"model":'  # where the call ends and what was decided begins: no text in JSON has a quote within it
_SUBJECT, _USAGE = b',"subject":"', b',"usage":'  # what differs between calls that are else alike
_ZERO = b"0"[0]
_MOST = 4096  # that are remembered


class Alike:
    """What it gives is what json.loads gives of the whole. Raises ValueError, KeyError, TypeError, RecursionError.

    Values that were read from the same bytes are the same object, as long as they are remembered.
    """

    def __init__(self) -> None:
        self._calls: dict[bytes, Any] = {}
        self._decided: dict[bytes, Any] = {}
        self._outcomes: dict[bytes, Any] = {}
        self._last: tuple[bytes, Any] = b"-", {}  # what was decided on the call before, which is often the same

    def opened(self, metadata: bytes) -> tuple[Any, Any, Any, Any, Any]:
        """The kind of the record, the id and the time of a call, all of the call, of which those two may be missing and
        `subject` and `usage` be others, and what was decided on it."""
        id_, at = metadata[33:65], metadata[72:91]
        starts = metadata[:33] == _CALL and metadata[65:72] == _AT and metadata[91:92] == b","
        if starts and id_.isalnum() and at.isdigit() and at[0] != _ZERO:
            rest, decided = self._last
            try:
                if not metadata.endswith(rest):
                    rest = metadata[metadata.find(_MODEL, 92) :]
                    decided = _value(self._decided, b"{", rest[2:])
                    self._last = rest, decided
                call = _value(self._calls, b"{", _shared(metadata[92 : 1 - len(rest)]))
            except ValueError:
                call = decided = {}
            # of two members of one name the last counts, so that these must be the only ones
            if call and "id" not in call and "at" not in call and "call" not in decided and "record" not in decided:
                return "opened", id_.decode(), int(at), call, decided
        value = value_of_json(metadata)
        return value["record"], value["call"]["id"], value["call"]["at"], value["call"], value

    def closed(self, metadata: bytes) -> tuple[Any, Any, Any]:
        """The kind of the record, the id of the call that ended, and how."""
        at, id_ = metadata[24:43], metadata[52:84]
        starts = metadata[:24] == _CLOSED and metadata[43:52] == _OF and metadata[84:96] == _OUTCOME
        if starts and id_.isalnum() and at.isdigit() and at[0] != _ZERO:
            value = _value(self._outcomes, b'{"outcome":', metadata[96:])
            if len(value) == 1:
                return "closed", id_.decode(), value["outcome"]
        value = value_of_json(metadata)
        return value["record"], value["call"], value["outcome"]


def value_of_json(data: bytes) -> Any:
    """The value of JSON with nothing around it: what json.loads does beside takes as long again. Raises ValueError."""
    text = data.decode()
    value, end = _DECODER.raw_decode(text)
    if end != len(text):
        raise ValueError("something stands behind the value")
    return value


def _shared(call: bytes) -> bytes:
    """A call with another subject and usage, which nothing counts. It is JSON where the call is JSON, and nowhere else:
    a text takes the place of a text, and a number that of a number."""
    start = call.find(_SUBJECT) + 12
    end = start + 32
    if start > 11 and call[start:end].isalnum() and call[end : end + 1] == b'"':
        call = call[:start] + call[end:]
    start = call.find(_USAGE) + 9
    if start > 8:
        end = call.find(b",", start)
        digits = call[start:end]
        if digits.isdigit() and digits[0] != _ZERO:
            call = call[:start] + b"0" + call[end:]
    return call


def _value(known: dict[bytes, Any], start: bytes, rest: bytes) -> Any:
    """The value of what stands behind `start`, which is the same for all that are `known` there."""
    value = known.get(rest)
    if value is None:
        value = value_of_json(start + rest)
        if len(known) >= _MOST:
            known.clear()
        known[rest] = value
    return value
