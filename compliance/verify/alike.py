"""Read the metadata of calls, most of which are alike but for id and time, so that the rest of them is read once."""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["Alike", "value_of_json"]

_DECODER = json.JSONDecoder()
_OPENED = re.compile(rb'\{"record":"opened","call":\{"id":"([^"\\\x00-\x1f]*)","at":(0|[1-9][0-9]*),')
_CLOSED = re.compile(rb'\{"record":"closed","at":(?:0|[1-9][0-9]*),"call":"([^"\\\x00-\x1f]*)","outcome":')
_MOST = 4096  # that are remembered


class Alike:
    """What it gives is what json.loads gives of the whole. Raises ValueError, KeyError, TypeError, RecursionError."""

    def __init__(self) -> None:
        self._known: dict[bytes, Any] = {}

    def opened(self, metadata: bytes) -> tuple[Any, Any, Any]:
        """The id and the time of a call, and all of its metadata, of which those two may be missing."""
        found = _OPENED.match(metadata)
        if found is not None:
            value = self._rest(b'{"record":"opened","call":{', metadata[found.end() :])
            # of two members of one name the last counts, so that these must be the only ones
            if "id" not in value["call"] and "at" not in value["call"]:
                return found[1].decode(), int(found[2]), value
        value = value_of_json(metadata)
        return value["call"]["id"], value["call"]["at"], value

    def closed(self, metadata: bytes) -> tuple[Any, Any, Any]:
        """The kind of the record, the id of the call that ended, and how."""
        found = _CLOSED.match(metadata)
        if found is not None:
            value = self._rest(b'{"outcome":', metadata[found.end() :])
            if value.keys() == {"outcome"}:
                return "closed", found[1].decode(), value["outcome"]
        value = value_of_json(metadata)
        return value["record"], value["call"], value["outcome"]

    def _rest(self, start: bytes, rest: bytes) -> Any:
        value = self._known.get(rest)
        if value is None:
            if len(self._known) >= _MOST:
                self._known.clear()
            value = self._known[rest] = value_of_json(start + rest)
        return value


def value_of_json(data: bytes) -> Any:
    """The value of JSON with nothing around it: what json.loads does beside takes as long again. Raises ValueError."""
    text = data.decode()
    value, end = _DECODER.raw_decode(text)
    if end != len(text):
        raise ValueError("something stands behind the value")
    return value
