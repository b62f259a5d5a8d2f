"""OpenAI's embeddings request: what is taken, what is refused, and that a refusal repeats nothing."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.problems import RequestError
from serve.protocols.openai import read

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def refused(body: bytes) -> RequestError:
    with pytest.raises(RequestError) as caught:
        read(body, {})
    return caught.value


@pytest.mark.parametrize("texts", ["one", ["one", "two"]])
def test_a_text_or_a_list_of_texts(texts: str | list[str]) -> None:
    asked = read(json.dumps({"model": "m", "input": texts}).encode(), {})
    assert (asked.model, asked.input, asked.encoding_format) == ("m", texts, "float")


def test_what_the_openai_package_sends_beside_is_taken() -> None:
    body = {"model": "m", "input": "one", "encoding_format": "base64", "user": "u"}
    assert read(json.dumps(body).encode(), {}).encoding_format == "base64"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"model": "m", "input": NaN}',
        b'{"model": "m", "input": Infinity}',
        b'{"model": "m", "input": "\xff"}',
        b'{"model": "m", "input": "a"} canary',
        b"canary",
    ],
)
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    fault = refused(body)
    assert fault.code == "request_malformed"
    assert "canary" not in str(fault)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "$"),
        ([], "$"),
        ("canary", "$"),
        ({"model": "m"}, "$"),
        ({"input": "canary"}, "$"),
        ({"model": 7, "input": "canary"}, "$.model"),
        ({"model": "m", "input": {"canary": 1}}, "$.input"),
        ({"model": "m", "input": 3.5}, "$.input"),
        ({"model": "m", "input": ["a", 3]}, "$.input[1]"),
        ({"model": "m", "input": [["canary"]]}, "$.input[0]"),
        ({"model": "m", "input": [1, 2, 3]}, "$.input[0]"),
        ({"model": "m", "input": None}, "$.input"),
        ({"model": "m", "input": "a", "encoding_format": "canary"}, "$.encoding_format"),
        ({"model": "m", "input": "a", "canary": 1}, "$"),
        ({"model": "m", "input": "a", "x` - at `$.canary": 1}, "$"),
        # a forged place is at most the name of a field of ours
        ({"model": "m", "input": "a", "canary` - at `$.input": 1}, "$.input"),
    ],
)
def test_what_does_not_fit_is_named_by_its_place(body: object, place: str) -> None:
    fault = refused(json.dumps(body).encode())
    assert fault.code == "request_type"
    assert str(fault) == f"the body does not fit at {place}"


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"model": ' + b"[" * 100_000, b'{"input": "a", "user": ' + b"{" * 100_000]
)
def test_what_is_nested_without_end_is_refused(body: bytes) -> None:
    assert refused(body).code in ("request_malformed", "request_type")


@given(body=JSON | st.fixed_dictionaries({"model": JSON, "input": JSON}), canary=st.just("c4nary"))
def test_no_value_is_ever_repeated(body: object, canary: str) -> None:
    text = json.dumps({"model": canary, "input": body, canary: canary}).encode()
    assert canary not in str(refused(text))


@given(body=st.binary())
def test_no_bytes_get_through_as_something_else(body: bytes) -> None:
    assert refused(body).code in ("request_malformed", "request_type")
