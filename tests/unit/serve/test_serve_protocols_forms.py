"""Bodies are unpacked within a limit, and JSON is read strictly; a refusal repeats nothing of either."""

from __future__ import annotations

import gzip
import json
import time
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from policies.payload import InputError
from serve.problems import RequestError
from serve.protocols.forms import Form, Said, bounded, inflated

LARGEST = 8_000_000


class Inner(Struct, forbid_unknown_fields=True):
    known: int


class Outer(Struct, forbid_unknown_fields=True):
    inner: list[Inner]
    texts: dict[str, str] = {}


FORM: Form[Outer] = Form(Outer, "inner", "known", "texts")


@pytest.mark.parametrize("body", [b"", b"plain", b"x" * 100_000])
def test_a_packed_body_is_what_was_packed(body: bytes) -> None:
    assert inflated(body, {}) is body
    assert inflated(body, {b"content-encoding": b"identity"}) is body
    assert inflated(gzip.compress(body), {b"content-encoding": b" GZip "}) == body
    assert inflated(zlib.compress(body), {b"content-encoding": b"deflate"}) == body


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_bomb_is_refused_before_it_goes_off(encoding: str) -> None:
    packing = zlib.compressobj(1, wbits=31 if encoding == "gzip" else 15)
    bomb = b"".join([packing.compress(bytes(1_000_000)) for _ in range(100)]) + packing.flush()
    tracemalloc.start()
    with pytest.raises(RequestError) as caught:
        inflated(bomb, {b"content-encoding": encoding.encode()})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.code == "request_too_large"
    assert peak < 2.5 * LARGEST


def test_what_has_the_largest_size_is_taken() -> None:
    body = bytes(LARGEST)
    assert len(inflated(gzip.compress(body), {b"content-encoding": b"gzip"})) == LARGEST
    with pytest.raises(RequestError):
        inflated(gzip.compress(body + b"\0"), {b"content-encoding": b"gzip"})


# Without the time of day, which pytest would carry into the names of tests.
PACKED = gzip.compress(b'{"canary": 1}', mtime=0)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("br", PACKED),
        ("gzip, gzip", PACKED),
        ("", PACKED),
        ("canary", PACKED),
        ("gzip", b""),
        ("gzip", b"canary"),
        ("gzip", PACKED[:-1]),
        ("gzip", PACKED + b"canary"),
        ("gzip", PACKED + PACKED),
        ("gzip", PACKED[:-8] + bytes(8)),
        ("gzip", zlib.compress(b"{}")),
        ("deflate", PACKED),
        ("deflate", zlib.compress(b"{}")[2:-4]),
    ],
)
def test_what_is_not_as_its_encoding_says_is_refused(encoding: str, body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        inflated(body, {b"content-encoding": encoding.encode()})
    assert caught.value.code == "request_encoding"
    assert "canary" not in str(caught.value)


@given(body=st.binary(), encoding=st.sampled_from([b"gzip", b"deflate"]))
def test_any_bytes_are_unpacked_or_refused(body: bytes, encoding: bytes) -> None:
    try:
        inflated(body, {b"content-encoding": encoding})
    except RequestError as fault:
        assert fault.code == "request_encoding"  # noqa: PT017 - it may also be a body


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ([], "$"),
        ({}, "$"),
        ({"inner": 7}, "$.inner"),
        ({"inner": [{"known": 1}, {"known": "canary"}]}, "$.inner[1].known"),
        ({"inner": [{"canary": 1}]}, "$"),
        ({"inner": [], "texts": {"canary": 1}}, "$"),
        ({"inner": [], "canary": 1}, "$"),
        # the names of fields that look like a place
        ({"inner": [], "x` - at `$.inner[555123456]": 1}, "$"),
        ({"inner": [{"x` - at `$[555123456]": 1}]}, "$"),
        ({"inner": [], "texts": {"x` - at `$[555123456]": 1}}, "$"),
    ],
)
def test_a_refusal_names_a_place_and_nothing_that_stands_there(body: object, place: str) -> None:
    with pytest.raises(RequestError) as caught:
        FORM.read(json.dumps(body).encode())
    assert caught.value.code == "request_type"
    assert str(caught.value) == f"the body does not fit at {place}"


def test_a_part_is_named_by_where_it_stands() -> None:
    with pytest.raises(RequestError) as caught:
        FORM.read(b'{"inner": [1]}', "$.part")
    assert str(caught.value) == "the body does not fit at $.part.inner[0]"


@pytest.mark.parametrize("body", [b"", b"{", b'{"inner": NaN}', b'{"inner": [], "texts": {"a": "\xff"}}', b"[" * 10**6])
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        FORM.read(body)
    assert caught.value.code in ("request_malformed", "request_type")


def test_what_a_body_says_of_its_context() -> None:
    said: Form[Said] = Form(Said)
    body = {"purpose": "care", "legal_basis": "contract", "data": "health,genetic"}
    assert said.read(json.dumps(body).encode()).said() == body
    assert said.read(b"{}").said() == {}


@pytest.mark.parametrize(
    "spoilt",
    [
        {"purpose": "x" * 257},
        {"purpose": 7},
        {"purpose": None},
        {"purpose": ["care"]},
        {"purposes": "care"},
        {"basis": "contract"},
        {"data": ["health"]},
    ],
)
def test_a_context_is_strict(spoilt: dict[str, Any]) -> None:
    said: Form[Said] = Form(Said)
    with pytest.raises(RequestError) as caught:
        said.read(json.dumps(spoilt).encode())
    assert caught.value.code == "request_type"


@given(values=st.lists(st.text() | st.lists(st.text(), max_size=2), max_size=8), most=st.integers(0, 24))
def test_values_are_counted_as_they_are(values: list[str | list[str]], most: int) -> None:
    strings = sum(1 if isinstance(value, str) else len(value) for value in values)
    lists = 1 + sum(isinstance(value, list) for value in values)
    for written in (json.dumps(values).encode(), json.dumps(values, ensure_ascii=False).encode("utf-8", "replace")):
        for counted, count in ((True, strings + lists), (False, strings)):
            if count <= most:
                assert bounded(written, most, lists=counted) is written
            else:
                with pytest.raises(InputError) as caught:
                    bounded(written, most, lists=counted)
                assert caught.value.code == "input_too_large"


def test_objects_are_counted_too() -> None:
    with pytest.raises(InputError):
        bounded(b'[{"a": 1}, {"b": "}{"}]', 4, lists=False)
    assert bounded(b'[{"a": 1}, {"b": "}{"}]', 5, lists=False)


@pytest.mark.parametrize(
    "hostile",
    [
        b'"' + b'\\"' * 4_000_000 + b"\\",
        b'"' + b'\\"' * 4_000_000,
        b'\\"' * 4_000_000,
        b'"a",' * 2_000_000,
        b'"' * 8_000_000,
        b'["' + b'\\"' * 4_000_000 + b'"]',
        b'["' + b"[" * 8_000_000 + b'"]',
        b"[" * 8_000_000,
    ],
)
def test_values_are_counted_in_one_pass(hostile: bytes) -> None:
    began = time.process_time()
    try:
        bounded(hostile, 2048)
    except InputError as fault:
        assert fault.code == "input_too_large"  # noqa: PT017 - one string may also be long
    assert time.process_time() - began < 5  # and hours, if it were not so
