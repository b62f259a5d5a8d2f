"""Our own typed route: what goes in for each kind of model, what comes out, and what is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from policies.errors import Fault
from policies.payload import Payload
from serve.protocols.predict import Prediction, read
from tests.kinds import CLASSIFIER, DTYPES, EMBEDDER, NUMBERS, PICTURES, manifest
from tests.unit.serve.test_serve_protocols_oip_inference import rows
from toolkit.bundle import BundleManifest
from toolkit.model import Answer, Model
from toolkit.runtime.tensors import TensorReader

TOKENS = manifest("tokens", EMBEDDER.inputs, EMBEDDER.outputs, text=EMBEDDER.text, task="token-classification")


def asked(inputs: object, **parameters: object) -> Prediction:
    return read("m", json.dumps({"inputs": inputs, "parameters": parameters}).encode(), {})


def answered(asked: Prediction, about: BundleManifest, **outputs: Any) -> Mapping[str, Any]:
    model = cast(Model, SimpleNamespace(manifest=about))
    body, headers = asked.written(model, Answer(outputs=outputs, usage={"texts": 1}, call="c", written=()))
    assert headers == {"Content-Type": "application/json"}
    found: Mapping[str, Any] = json.loads(body)
    assert found.keys() == {"model", "version", "digest", "outputs", "usage"}
    assert (found["model"], found["usage"]) == (about.name, {"texts": 1})
    return found


@pytest.mark.parametrize("texts", ["one", ["one"], ["one", "two"]])
def test_texts(texts: str | list[str]) -> None:
    expected = [texts] if isinstance(texts, str) else texts
    assert asked(texts).payload(EMBEDDER) == Payload.checked({"texts": expected})


def test_images() -> None:
    file = base64.b64encode(b"\x89PNG").decode()
    for inputs in (file, [file]):
        assert asked(inputs).payload(PICTURES) == Payload.checked({"images": ["0"]}, {"0": b"\x89PNG"})


def test_tensors() -> None:
    payload = asked({dtype: rows(dtype).tolist() for dtype in DTYPES}).payload(NUMBERS)
    [item] = TensorReader(NUMBERS.inputs).items(payload)
    assert {name: array.tolist() for name, array in item.items()} == {name: rows(name).tolist() for name in DTYPES}


def test_a_tensor_without_dimensions() -> None:
    about = manifest("scalar", [NUMBERS.inputs[10].__class__(name="x", dtype="float32", shape=())], [], task="other")
    [item] = TensorReader(about.inputs).items(asked({"x": 2.5}).payload(about))
    assert item["x"].tolist() == 2.5


def test_the_parameters_are_the_context() -> None:
    assert asked("one", purpose="care", legal_basis="contract", top_k=2).said == {
        "purpose": "care",
        "legal_basis": "contract",
    }


def test_an_embedding_is_a_list_of_numbers() -> None:
    found = answered(asked("one"), EMBEDDER, embedding=np.array([[1, 2.5]], np.float32))
    assert found["outputs"] == [[1, 2.5]]


def test_classes_come_best_first_with_their_probabilities() -> None:
    logits = np.log(np.array([[1, 6, 3]])).astype(np.float32)
    found = answered(asked("one", top_k=2), CLASSIFIER, logits=logits)
    [[first, second]] = found["outputs"]
    assert (first["label"], second["label"]) == ("urgent", "unclear")
    assert (first["score"], second["score"]) == pytest.approx((0.6, 0.3), abs=1e-6)
    assert len(answered(asked("one"), CLASSIFIER, logits=logits)["outputs"][0]) == 3


def test_entities_are_as_the_model_gives_them() -> None:
    entities = np.empty(1, object)
    entities[0] = [{"start": 0, "end": 3, "label": "NAME", "score": 0.9}]
    assert answered(asked("one"), TOKENS, entities=entities)["outputs"] == entities.tolist()


def test_tensors_come_by_their_names() -> None:
    found = answered(asked({}), NUMBERS, x=np.eye(2), y=np.array([1, 2]))
    assert found["outputs"] == {"x": [[1, 0], [0, 1]], "y": [1, 2]}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "request_malformed"),
        (b"canary", "request_malformed"),
        (b"[]", "request_type"),
        (b"{}", "request_type"),
        (b'{"inputs": "a", "canary": 1}', "request_type"),
        (b'{"inputs": "a", "parameters": {"canary": 1}}', "request_type"),
        (b'{"inputs": "a", "parameters": {"top_k": 0}}', "request_type"),
        (b'{"inputs": 7}', "request_type"),
        (b'{"inputs": [7]}', "request_type"),
        (b'{"inputs": {"canary": 1}}', "request_type"),
        (b'{"inputs": ["\xff"]}', "request_malformed"),
        (b'{"inputs": []}', "input_empty"),
        (b'{"inputs": [""]}', "input_empty"),
        (b'{"inputs": [' + b'"a",' * 2048 + b'"a"]}', "input_too_large"),
        (b'{"inputs": "' + b"a" * 200_001 + b'"}', "input_too_large"),
        (b'{"inputs": ' + b"[" * 100_000 + b"}", "request_malformed"),
    ],
)
def test_what_is_refused_of_texts(body: bytes, code: str) -> None:
    with pytest.raises(Fault) as caught:
        read("m", body, {}).payload(EMBEDDER)
    assert caught.value.code == code
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"canary": [1]}, "tensor_input"),
        ({"float32": "canary"}, "input_type"),
        ({"float32": [["canary", 1]]}, "input_type"),
        ({"float32": [1, 2]}, "tensor_input"),
        ({"float32": [[1, 2], [3]]}, "input_type"),
        ({"float32": [[1, 2, 3]]}, "tensor_input"),
        ({"float32": [[[1, 2]]]}, "input_type"),
        ({"float32": []}, "tensor_input"),
        ({"float32": [[]]}, "tensor_input"),
        ({"uint8": [[256, 0]]}, "input_number"),
        ({"float32": [[0, 0]] * 250_001}, "input_too_large"),
    ],
)
def test_what_is_refused_of_tensors(change: dict[str, object], code: str) -> None:
    with pytest.raises(Fault) as caught:
        asked({**{dtype: rows(dtype).tolist() for dtype in DTYPES}, **change}).payload(NUMBERS)
    assert caught.value.code == code
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("inputs", ["canary!", "ü", ["YQ==", "YQ"], 7, [["YQ=="]]])
def test_what_is_refused_of_images(inputs: object) -> None:
    with pytest.raises(Fault) as caught:
        asked(inputs).payload(PICTURES)
    assert caught.value.code in ("tensor_input", "request_type")
    assert "canary" not in str(caught.value)
