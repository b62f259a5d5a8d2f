"""OpenAI's embeddings request: what is taken, what is refused, and that a refusal repeats nothing."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.errors import Fault
from policies.payload import Payload
from serve.protocols.openai import Embeddings, read
from tests.kinds import CLASSIFIER, EMBEDDER, NUMBERS, PICTURES
from toolkit.bundle import BundleManifest
from toolkit.model import Answer, Model

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def asked(body: Mapping[str, object]) -> Embeddings:
    return read(json.dumps({"model": "m", "input": "one", **body}).encode(), {})


def answered(asked: Embeddings, embedding: Any) -> dict[str, Any]:
    answer = Answer(outputs={"embedding": embedding}, usage={"texts": 1, "tokens": 3}, call="c", written=())
    body, headers = asked.written(cast(Model, SimpleNamespace(manifest=EMBEDDER)), answer)
    assert headers == {"Content-Type": "application/json"}
    found: dict[str, Any] = json.loads(body)
    return found


def refused(body: bytes, manifest: BundleManifest = EMBEDDER) -> Fault:
    with pytest.raises(Fault) as caught:
        read(body, {}).payload(manifest)
    assert "canary" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("texts", ["one", ["one"], ["one", "two"]])
def test_a_text_or_a_list_of_texts(texts: str | list[str]) -> None:
    found = asked({"input": texts})
    assert (found.model, found.version, found.said) == ("m", None, {})
    assert found.payload(EMBEDDER) == Payload.checked({"texts": [texts] if isinstance(texts, str) else texts})


def test_what_the_openai_package_sends_beside_is_taken() -> None:
    body = {"encoding_format": "base64", "user": "u", "dimensions": 4, "metadata": {}}
    assert asked(body).payload(EMBEDDER) == Payload.checked({"texts": ["one"]})


def test_the_metadata_are_the_context() -> None:
    context = {"purpose": "care", "legal_basis": "contract", "subject": "p-1", "data": "health"}
    assert asked({"metadata": context}).said == {
        "purpose": "care",
        "legal_basis": "contract",
        "subject": "p-1",
        "data": "health",
    }


def test_a_body_may_be_packed() -> None:
    body = gzip.compress(b'{"model": "m", "input": "one"}')
    assert read(body, {b"content-encoding": b"gzip"}).payload(EMBEDDER) == Payload.checked({"texts": ["one"]})


def test_the_answer_holds_a_row_for_each_text_and_the_tokens() -> None:
    rows = np.array([[0.5, -1], [0, 2]], np.float32)
    found = answered(asked({"input": ["one", "two"]}), rows)
    assert found == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.5, -1]},
            {"object": "embedding", "index": 1, "embedding": [0, 2]},
        ],
        "model": "m",
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }
    packed = answered(asked({"encoding_format": "base64"}), rows[:1])
    assert packed["data"][0]["embedding"] == "AAAAPwAAgL8="


@pytest.mark.parametrize("manifest", [CLASSIFIER, PICTURES, NUMBERS], ids=lambda one: one.name)
def test_a_model_that_gives_no_embeddings_of_texts_is_refused(manifest: BundleManifest) -> None:
    assert refused(b'{"model": "m", "input": "one"}', manifest).code == "request_task"


def test_embeddings_are_not_made_shorter() -> None:
    fault = refused(b'{"model": "m", "input": "one", "dimensions": 3}')
    assert fault.code == "request_dimensions"
    assert "4 dimensions" in str(fault)


@pytest.mark.parametrize("tokens", [[1, 2], [[1], [2, 3]], [-1], [[]], [["canary"]]])
def test_token_ids_are_refused(tokens: object) -> None:
    assert refused(json.dumps({"model": "m", "input": tokens}, indent=1).encode()).code == "request_tokens"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"model": "m", "input": NaN}',
        b'{"model": "m", "input": Infinity}',
        b'{"model": "m", "input": "\xff"}',
        b'{"model": "m", "input": "\\ud800"}',
        b'{"model": "m", "input": "a"} canary',
        b"canary",
    ],
)
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    assert refused(body).code == "request_malformed"


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
        ({"model": "m", "input": ["a", ["canary"]]}, "$.input[1]"),
        ({"model": "m", "input": None}, "$.input"),
        ({"model": "m", "input": "a", "encoding_format": "canary"}, "$.encoding_format"),
        ({"model": "m", "input": "a", "metadata": {"purpose": 7}}, "$.metadata.purpose"),
        ({"model": "m", "input": "a", "metadata": {"canary": "a"}}, "$"),
        ({"model": "m", "input": "a", "metadata": {"purpose": "canary" * 50}}, "$.metadata.purpose"),
        ({"model": "m", "input": "a", "canary": 1}, "$"),
        ({"model": "m", "input": "a", "x` - at `$.canary": 1}, "$"),
        ({"model": "m", "input": "a", "canary` - at `$.input": 1}, "$"),
    ],
)
def test_what_does_not_fit_is_named_by_its_place(body: object, place: str) -> None:
    fault = refused(json.dumps(body).encode())
    assert fault.code == "request_type"
    assert str(fault) == f"the body does not fit at {place}"


@pytest.mark.parametrize(
    ("texts", "code"),
    [
        ([], "input_empty"),
        ("", "input_empty"),
        (["a", " "], "input_empty"),
        (["a"] * 2049, "input_too_large"),
        ("a" * 200_001, "input_too_large"),
        (["a" * 199_999] * 6, "input_too_large"),
    ],
)
def test_texts_that_are_too_few_or_too_many(texts: object, code: str) -> None:
    assert refused(json.dumps({"model": "m", "input": texts}).encode()).code == code


def test_millions_of_texts_are_refused_before_they_are_made() -> None:
    with pytest.raises(Fault) as caught:
        read(b'{"model": "m", "input": [' + b'"a",' * 1_900_000 + b'"a"]}', {})
    assert caught.value.code == "input_too_large"


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"model": ' + b"[" * 100_000,
        b'{"input": "a", "user": ' + b"{" * 100_000,
        b'{"model": "m", "input": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
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
