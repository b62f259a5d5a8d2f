"""Answers of the Open Inference Protocol, as `tritonclient` reads them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, structs
from tritonclient.http import InferenceServerClient, InferResult

from policies.facts import Tensor
from serve.protocols.oip.answer import Wanted, accepted, packed_for, written
from serve.protocols.oip.datatypes import DATATYPES, joined, parted
from serve.protocols.oip.metadata import inputs_of, outputs_of
from tests.kinds import CLASSIFIER, DTYPES, EMBEDDER, NUMBERS, PICTURES, TOKENS
from toolkit.bundle import BundleManifest
from toolkit.model import Answer
from toolkit.runtime.inputs import Generation

LOGITS = np.array([[0.5, 2, -1], [3, 0, 2.5]], np.float32)
ENTITIES = np.empty(2, object)
ENTITIES[:] = [[{"start": 0, "end": 4, "label": "NAME", "score": 0.5}], []]


def answer(**outputs: Any) -> Answer:
    return Answer(outputs=outputs, usage={"texts": 2}, call="c", written=())


def read(
    found: Answer, *wanted: Wanted, about: BundleManifest = EMBEDDER, encoding: str | None = None, id_: Any = UNSET
) -> InferResult:
    body, headers = packed_for(encoding, *written(id_, wanted, about, found))
    length = headers.get("Inference-Header-Content-Length")
    assert headers["Content-Type"] == ("application/json" if length is None else "application/octet-stream")
    return InferenceServerClient.parse_response_body(
        body, header_length=length, content_encoding=headers.get("Content-Encoding")
    )


def every(dtype: str) -> np.ndarray[Any, Any]:
    return np.arange(6).reshape(3, 2).astype(dtype).T


@pytest.mark.parametrize("binary", [True, False])
def test_numbers_of_every_datatype_are_read_as_they_are(binary: bool) -> None:
    found = read(
        answer(**{f"{dtype}_same": every(dtype) for dtype in DTYPES}),
        *(Wanted(f"{dtype}_same", binary) for dtype in DTYPES),
        about=NUMBERS,
    )
    for dtype in DTYPES:
        output = found.get_output(f"{dtype}_same")
        assert (output["datatype"], output["shape"]) == (DATATYPES[dtype], [2, 3])
        assert found.as_numpy(f"{dtype}_same").tolist() == every(dtype).tolist()


def test_outputs_may_be_wanted_in_either_way() -> None:
    found = read(answer(logits=LOGITS), Wanted("label", False), Wanted("logits", True), about=CLASSIFIER)
    assert found.as_numpy("logits").tolist() == LOGITS.tolist()
    assert found.as_numpy("label").tolist() == ["urgent", "calm"]
    assert found.get_response()["model_name"] == "classifier"
    assert found.get_response()["model_version"] == "1"


@pytest.mark.parametrize("binary", [True, False])
def test_the_best_classes(binary: bool) -> None:
    """The form of Triton's extension: the value, the index and the label."""
    found = read(answer(logits=LOGITS), Wanted("logits", binary, 2), about=CLASSIFIER)
    classes = [["2.000000:1:urgent", "0.500000:0:calm"], ["3.000000:0:calm", "2.500000:2:unclear"]]
    # the client gives texts that came in JSON as texts
    expected = [[one.encode() for one in row] for row in classes] if binary else classes
    assert found.as_numpy("logits").tolist() == expected


def test_no_more_classes_than_there_are() -> None:
    assert read(answer(logits=LOGITS), Wanted("logits", True, 2**31 - 1), about=PICTURES).as_numpy("logits").shape == (
        2,
        3,
    )


@pytest.mark.parametrize("binary", [True, False])
def test_entities_are_json_in_bytes(binary: bool) -> None:
    rows = read(answer(entities=ENTITIES), Wanted("entities", binary), about=TOKENS).as_numpy("entities")
    assert [json.loads(row) for row in rows] == ENTITIES.tolist()


def test_the_id_is_given_back_in_the_body() -> None:
    assert read(answer(embedding=LOGITS), Wanted("embedding", True), id_="4 ü\n").get_response()["id"] == "4 ü\n"
    assert "id" not in read(answer(embedding=LOGITS), Wanted("embedding", True)).get_response()


def test_what_is_not_finite_is_null_in_json_and_itself_as_bytes() -> None:
    odd = np.array([[np.nan, np.inf]], np.float32)
    body, _ = written(UNSET, [Wanted("embedding", False)], EMBEDDER, answer(embedding=odd))
    assert json.loads(body)["outputs"][0]["data"] == [None, None]
    assert np.isnan(read(answer(embedding=odd), Wanted("embedding", True)).as_numpy("embedding")[0, 0])


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_a_large_answer_may_be_packed(encoding: str, binary: bool) -> None:
    large = np.zeros((64, 384), np.float32)
    found = answer(embedding=large)
    assert read(found, Wanted("embedding", binary), encoding=encoding).as_numpy("embedding").tolist() == large.tolist()
    body, headers = packed_for(encoding, *written(UNSET, [Wanted("embedding", binary)], EMBEDDER, found))
    assert headers["Content-Encoding"] == encoding
    assert len(body) < large.nbytes / 10


def test_a_small_answer_is_not_packed() -> None:
    _, headers = packed_for("gzip", b"x" * 1000, None)
    assert "Content-Encoding" not in headers


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        (b"", None),
        (b"identity", None),
        (b"br, zstd", None),
        (b"gzip", "gzip"),
        (b"deflate", "deflate"),
        (b"GZIP , deflate", "gzip"),
        (b"deflate;q=0.5, gzip;q=0", "deflate"),
        (b"gzip; q=0.0", None),
        (b"gzip;q=1.0", "gzip"),
        (b"*", None),
        (b"\xff,,;;q=0", None),
    ],
)
def test_what_a_client_takes(header: bytes | None, expected: str | None) -> None:
    assert accepted({} if header is None else {b"accept-encoding": header}) == expected


@given(st.lists(st.binary()))
def test_elements_lie_behind_their_lengths(elements: list[bytes]) -> None:
    assert parted(memoryview(joined(elements)), len(elements)) == elements


GENERATES = structs.replace(
    CLASSIFIER,
    name="generates",
    labels=UNSET,
    generation=Generation(context=64, ends=(0,)),
    outputs=(Tensor(name="logits", dtype="float32", shape=("batch", "tokens", 263)),),
)


@pytest.mark.parametrize(
    ("about", "inputs", "outputs"),
    [
        (EMBEDDER, [("text", "BYTES", (-1,))], [("embedding", "FP32", (-1, 4))]),
        (CLASSIFIER, [("text", "BYTES", (-1,))], [("logits", "FP32", (-1, 3)), ("label", "BYTES", (-1,))]),
        (PICTURES, [("image", "BYTES", (-1,))], [("logits", "FP32", (-1, 3)), ("label", "BYTES", (-1,))]),
        (GENERATES, [("text", "BYTES", (-1,))], [("logits", "FP32", (-1, 263)), ("label", "BYTES", (-1,))]),
        (TOKENS, [("text", "BYTES", (-1,))], [("entities", "BYTES", (-1,))]),
        (
            NUMBERS,
            [(dtype, DATATYPES[dtype], (-1, 2)) for dtype in DTYPES],
            [(f"{dtype}_same", DATATYPES[dtype], (-1, 2)) for dtype in DTYPES],
        ),
    ],
    ids=lambda value: value.name if isinstance(value, BundleManifest) else "",
)
def test_what_models_take_and_give(about: BundleManifest, inputs: Any, outputs: Any) -> None:
    assert [(one.name, one.datatype, one.shape) for one in inputs_of(about)] == inputs
    assert [(one.name, one.datatype, one.shape) for one in outputs_of(about)] == outputs
