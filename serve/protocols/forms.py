"""Bodies as they come in: unpacked within a limit, and JSON that is read strictly, once, in one pass.

What is refused is named by its place, never by what stands there.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from itertools import islice
from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from policies.payload import InputError
from serve.body import MAX_BODY
from serve.problems import RequestError
from toolkit.box import MAX_CONTEXT

__all__ = ["Form", "Said", "bounded", "inflated"]

Kind = TypeVar("Kind")
Text = Annotated[str, Meta(max_length=MAX_CONTEXT)]

# the window of zlib, and whether gzip's header is round it (RFC 9110, 8.4.1: deflate means zlib's header)
_ENCODINGS: Final = {b"gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}
# a string of JSON from quote to quote, or to the end where it has none, so that nothing is looked at twice
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)'
_VALUE = re.compile(_STRING + rb"|[\[{]", re.DOTALL)
_BUT_LISTS = re.compile(_STRING + rb"|\{", re.DOTALL)


class Said(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a body says of the context of its call; `data` are categories with commas between them."""

    purpose: Text | UnsetType = UNSET
    legal_basis: Text | UnsetType = UNSET
    consent: Text | UnsetType = UNSET
    subject: Text | UnsetType = UNSET
    region: Text | UnsetType = UNSET
    data: Text | UnsetType = UNSET
    override: Text | UnsetType = UNSET

    def said(self) -> dict[str, Any]:
        """The fields that are there."""
        found = ((name, getattr(self, name)) for name in Said.__struct_fields__)
        return {name: value for name, value in found if value is not UNSET}


class Form(Generic[Kind]):
    """JSON of one kind. `names` are the fields that a refusal may name: it might quote the body otherwise."""

    def __init__(self, kind: Any, *names: str) -> None:
        self._decoder: msgspec.json.Decoder[Kind] = msgspec.json.Decoder(kind)
        self._place = re.compile(rf" - at `\$((?:\.(?:{'|'.join((*names, '!'))})|\[\d{{1,9}}\])*)`$")

    def read(self, written: bytes | msgspec.Raw, at: str = "$") -> Kind:
        """Raises RequestError: request_malformed, request_type."""
        try:
            return self._decoder.decode(written)
        except msgspec.ValidationError as error:
            said = str(error)
            # the name of a field that is not known is the client's, and may look like a place
            place = None if "unknown field" in said else self._place.search(said)
            raise RequestError("request_type", f"the body does not fit at {at}{place[1] if place else ''}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise RequestError("request_malformed", "the body is no JSON") from None


def inflated(body: bytes, headers: Mapping[bytes, bytes]) -> bytes:
    """The body without its Content-Encoding. Raises RequestError: request_encoding, request_too_large."""
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding == b"identity":
        return body
    if encoding not in _ENCODINGS:
        raise RequestError("request_encoding", "the body has a Content-Encoding that is not read here")
    inflating = zlib.decompressobj(_ENCODINGS[encoding])
    try:
        content = inflating.decompress(body, MAX_BODY + 1)
    except zlib.error:
        raise RequestError("request_encoding", "the body is not what its Content-Encoding says") from None
    if len(content) > MAX_BODY:
        raise RequestError("request_too_large", f"the body has more than {MAX_BODY} bytes when unpacked")
    if not inflating.eof or inflating.unused_data:
        raise RequestError("request_encoding", "the body ends before what is packed in it, or goes on behind it")
    return content


def bounded(written: bytes, most: int, *, lists: bool = True) -> bytes:
    """The same JSON, with at most so many strings and objects in it, and lists. Raises InputError: input_too_large.

    They are counted before they are made: eight megabytes of small ones would be two hundred as objects.
    """
    pattern, marks = (_VALUE, b'"{[') if lists else (_BUT_LISTS, b'"{')
    # a string may hold any of these, so only many of them are a reason to look
    many = sum(written.count(mark) for mark in marks) > most
    if many and next(islice(pattern.finditer(written), most, None), None) is not None:
        raise InputError("input_too_large", f"more than {most} strings, lists and objects in one call")
    return written
