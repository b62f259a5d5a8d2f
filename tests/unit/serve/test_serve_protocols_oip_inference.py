"""Requests of the Open Inference Protocol: what `tritonclient` sends, in JSON and as bytes, and what is refused."""

from __future__ import annotations

import base64
import gzip
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

from policies.errors import Fault
from policies.payload import Payload
from serve.protocols.oip.inference import Inference, read
from tests.kinds import CLASSIFIER, DTYPES, EMBEDDER, NUMBERS, PICTURES
from toolkit.bundle import BundleManifest
from toolkit.runtime.tensors import TensorReader

LENGTH = b"inference-header-content-length"
TEXTS = ["where is the ward?", "Größe, 病房"]


def asked(header: object, tail: bytes = b"", **headers: bytes) -> Inference:
    """A request of JSON with bytes behind it, and a header that says where it ends."""
    written = json.dumps(header).encode()
    return read("m", None, written + tail, {LENGTH: str(len(written)).encode()} | _named(headers))


def sent(inputs: list[InferInput], outputs: list[InferRequestedOutput] | None = None, **more: Any) -> Inference:
    """What the client would send."""
    body, length = InferenceServerClient.generate_request_body(inputs, outputs=outputs, **more)
    return read("m", None, body, {} if length is None else {LENGTH: str(length).encode()})


def given(name: str, array: np.ndarray, datatype: str, *, binary: bool) -> InferInput:
    tensor = InferInput(name, list(array.shape), datatype)
    return tensor.set_data_from_numpy(array, binary_data=binary)


def text(*texts: str, binary: bool, shape: tuple[int, ...] = (-1,)) -> InferInput:
    return given("text", np.array([one.encode() for one in texts], object).reshape(shape), "BYTES", binary=binary)


def refused(ask: Callable[[], Inference], manifest: BundleManifest = EMBEDDER) -> Fault:
    with pytest.raises(Fault) as caught:
        ask().payload(manifest)
    assert "canary" not in str(caught.value)
    return caught.value


def _named(headers: dict[str, bytes]) -> dict[bytes, bytes]:
    return {name.replace("_", "-").encode(): value for name, value in headers.items()}


def test_the_bytes_that_tritonclient_sends_are_read() -> None:
    """Taken from tritonclient 2.73.0."""
    header = (
        b'{"inputs":[{"name":"text","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":19}}],'
        b'"parameters":{"binary_data_output":true}}'
    )
    body = header + b"\x03\0\0\0one\x08\0\0\0\xc3\xb6\xe7\x97\x85 ok"
    found = read("m", "3", body, {LENGTH: str(len(header)).encode()})
    assert (found.model, found.version, found.said) == ("m", "3", {})
    assert found.payload(EMBEDDER) == Payload.checked({"texts": ["one", "ö病 ok"]})
    made, length = InferenceServerClient.generate_request_body([text("one", "ö病 ok", binary=True)])
    assert (made, length) == (body, len(header))


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_texts(binary: bool, shape: tuple[int, ...]) -> None:
    for manifest in (EMBEDDER, CLASSIFIER):
        found = sent([text(*TEXTS, binary=binary, shape=shape)])
        assert found.payload(manifest) == Payload.checked({"texts": TEXTS})


def test_texts_in_rows() -> None:
    tensor = {"name": "text", "shape": [2, 1], "datatype": "BYTES", "data": [[one] for one in TEXTS]}
    assert asked({"inputs": [tensor]}).payload(EMBEDDER) == Payload.checked({"texts": TEXTS})


def test_images_come_as_bytes_or_as_base64_in_json() -> None:
    files = [b"\x89PNG\xff", b"GIF"]
    expected = Payload.checked({"images": ["0", "1"]}, {"0": files[0], "1": files[1]})
    assert sent([given("image", np.array(files, object), "BYTES", binary=True)]).payload(PICTURES) == expected
    data = [base64.b64encode(file).decode() for file in files]
    tensor = {"name": "image", "shape": [2], "datatype": "BYTES", "data": data}
    assert asked({"inputs": [tensor]}).payload(PICTURES) == expected


def rows(dtype: str) -> np.ndarray:
    if dtype == "bool":
        return np.array([[True, False], [False, True]])
    if dtype.startswith("float"):
        return np.array([[0.1, -2.5], [3e4, 0]], dtype)
    about = np.iinfo(dtype)
    return np.array([[about.min, about.max], [0, 1]], dtype)


DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}


@pytest.mark.parametrize("binary", [True, False])
def test_tensors_of_every_datatype_reach_the_reader_as_they_were_sent(binary: bool) -> None:
    inputs = [given(dtype, rows(dtype), DATATYPES[dtype], binary=binary) for dtype in DTYPES]
    payload = sent(inputs).payload(NUMBERS)
    [item] = TensorReader(NUMBERS.inputs).items(payload)
    for dtype in DTYPES:
        assert item[dtype].dtype == dtype
        assert item[dtype].tolist() == rows(dtype).tolist()


def test_tensors_may_be_nested_in_json() -> None:
    inputs = [
        {"name": dtype, "shape": [2, 2], "datatype": DATATYPES[dtype], "data": rows(dtype).tolist()} for dtype in DTYPES
    ]
    flat = sent([given(dtype, rows(dtype), DATATYPES[dtype], binary=False) for dtype in DTYPES])
    assert asked({"inputs": inputs}).payload(NUMBERS) == flat.payload(NUMBERS)


@pytest.mark.parametrize("how", ["gzip", "deflate"])
def test_a_body_may_be_packed(how: str) -> None:
    body, length = InferenceServerClient.generate_request_body([text(*TEXTS, binary=True)])
    packed = gzip.compress(body) if how == "gzip" else zlib.compress(body)
    found = read("m", None, packed, {LENGTH: str(length).encode(), b"content-encoding": how.encode()})
    assert found.payload(EMBEDDER) == Payload.checked({"texts": TEXTS})


def test_the_parameters_are_the_context() -> None:
    context = {"purpose": "care", "legal_basis": "contract", "subject": "p-1", "data": "health", "override": "o"}
    found = sent([text("a", binary=True)], parameters={**context, "consent": "r", "region": "DE"})
    assert found.said == {
        "purpose": "care",
        "legal_basis": "contract",
        "subject": "p-1",
        "data": "health",
        "override": "o",
        "consent": "r",
        "region": "DE",
    }


TEXT = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["canary"]}
SIZED = {"name": "text", "shape": [1], "datatype": "BYTES"}
ONE = struct.pack("<I", 6) + b"canary"


def sized(size: object, **more: object) -> dict[str, Any]:
    return {"inputs": [{**SIZED, "parameters": {"binary_data_size": size}, **more}]}


@pytest.mark.parametrize(
    ("header", "tail", "code"),
    [
        # what is no request
        ([], b"", "request_type"),
        ({}, b"", "request_type"),
        ({"inputs": []}, b"", "request_type"),
        ({"inputs": [TEXT], "canary": 1}, b"", "request_type"),
        ({"inputs": [{**TEXT, "canary": 1}]}, b"", "request_type"),
        ({"inputs": [TEXT] * 65}, b"", "request_type"),
        ({"inputs": [TEXT, TEXT]}, b"", "request_type"),
        ({"inputs": [TEXT], "id": "x" * 257}, b"", "request_type"),
        ({"inputs": [TEXT], "id": 7}, b"", "request_type"),
        ({"inputs": [TEXT], "parameters": {"sequence_id": 1}}, b"", "request_type"),
        ({"inputs": [TEXT], "parameters": {"purpose": "x" * 257}}, b"", "request_type"),
        ({"inputs": [{**TEXT, "parameters": {"shared_memory_region": "canary"}}]}, b"", "request_type"),
        ({"inputs": [{**TEXT, "shape": [-1]}]}, b"", "request_type"),
        ({"inputs": [{**TEXT, "shape": [2**31]}]}, b"", "request_type"),
        ({"inputs": [{**TEXT, "shape": [1] * 17}]}, b"", "request_type"),
        ({"inputs": [SIZED]}, b"", "request_type"),
        ({"inputs": [{**TEXT, "data": [7]}]}, b"", "request_type"),
        ({"inputs": [{**TEXT, "data": "canary"}]}, b"", "request_type"),
        ({"inputs": [{**TEXT, "data": {"canary": 1}}]}, b"", "request_type"),
        # bytes that do not add up
        (sized(len(ONE)), b"", "tensor_binary"),
        (sized(len(ONE)), ONE[:-1], "tensor_binary"),
        (sized(len(ONE)), ONE + b"canary", "tensor_binary"),
        (sized(0), ONE, "tensor_binary"),
        (sized(2**31 - 1), ONE, "tensor_binary"),
        (sized(-1), ONE, "request_type"),
        (sized(-len(ONE)), ONE, "request_type"),
        (sized(2**63), ONE, "request_type"),
        (sized(True), ONE, "request_type"),
        (sized("10"), ONE, "request_type"),
        (sized(len(ONE), data=["canary"]), ONE, "request_type"),
        ({"inputs": [TEXT]}, ONE, "tensor_binary"),
        # elements that do not fill their tensor
        (sized(len(ONE), shape=[2]), ONE, "tensor_binary"),
        (sized(len(ONE), shape=[0]), ONE, "tensor_binary"),
        (sized(0, shape=[1]), b"", "tensor_binary"),
        (sized(3), b"\1\0\0", "tensor_binary"),
        (sized(10), b"\xff\xff\xff\xffcanary", "tensor_binary"),
        (sized(10), b"\5\0\0\0canary", "tensor_binary"),
        (sized(8), b"\4\0\0\0\xff\xfe\xfd\xfc", "input_unicode"),
        (sized(len(ONE), shape=[2049]), ONE, "input_too_large"),
        (sized(len(ONE), shape=[2**31 - 1]), ONE, "input_too_large"),
        # what the model does not take
        ({"inputs": [{**TEXT, "name": "canary"}]}, b"", "tensor_input"),
        ({"inputs": [{**TEXT, "datatype": "FP32"}]}, b"", "tensor_input"),
        ({"inputs": [TEXT, {**TEXT, "name": "other"}]}, b"", "tensor_input"),
        ({"inputs": [{**TEXT, "shape": []}]}, b"", "tensor_input"),
        ({"inputs": [{**TEXT, "shape": [1, 2]}]}, b"", "tensor_input"),
        ({"inputs": [{**TEXT, "shape": [1, 1, 1]}]}, b"", "tensor_input"),
        ({"inputs": [{**TEXT, "shape": [2]}]}, b"", "tensor_input"),
        ({"inputs": [{**TEXT, "shape": [2, 1], "data": [["a"], ["b", "c"]]}]}, b"", "tensor_input"),
        ({"inputs": [{**TEXT, "shape": [2, 1], "data": [["a"], []]}]}, b"", "tensor_input"),
        ({"inputs": [{**TEXT, "shape": [0], "data": []}]}, b"", "input_empty"),
        ({"inputs": [{**TEXT, "data": [" "]}]}, b"", "input_empty"),
        ({"inputs": [{**TEXT, "data": ["a"] * 5000}]}, b"", "input_too_large"),
        # outputs that it does not give
        ({"inputs": [TEXT], "outputs": [{"name": "canary"}]}, b"", "tensor_output"),
        ({"inputs": [TEXT], "outputs": [{"name": "embedding", "parameters": {"classification": 1}}]}, b"",
         "tensor_output"),
        ({"inputs": [TEXT], "outputs": [{"name": "embedding"}] * 2}, b"", "request_type"),
        ({"inputs": [TEXT], "outputs": [{"name": "embedding", "parameters": {"classification": 0}}]}, b"",
         "request_type"),
    ],
)  # fmt: skip
def test_what_is_refused(header: object, tail: bytes, code: str) -> None:
    assert refused(lambda: asked(header, tail)).code == code


@pytest.mark.parametrize("length", [b"", b"-1", b"0x10", b"canary", b"1e2", b"99999999999", b"\xc2\xb2", b"1 ", b"+5"])
def test_a_header_length_that_is_no_number_in_the_body_is_refused(length: bytes) -> None:
    body = json.dumps({"inputs": [TEXT]}).encode()
    assert refused(lambda: read("m", None, body, {LENGTH: length})).code == "tensor_binary"


@pytest.mark.parametrize("off", [-20, -1, 1, 20])
def test_a_header_length_that_is_off_is_refused(off: int) -> None:
    body = json.dumps(sized(len(ONE))).encode() + ONE
    length = str(len(body) - len(ONE) + off).encode()
    assert refused(lambda: read("m", None, body, {LENGTH: length})).code in ("request_malformed", "tensor_binary")


def test_bytes_need_a_header_that_says_where_they_begin() -> None:
    body = json.dumps(sized(len(ONE))).encode() + ONE
    assert refused(lambda: read("m", None, body, {})).code == "request_malformed"


X = {"name": "float32", "shape": [2, 2], "datatype": "FP32"}


@pytest.mark.parametrize(
    ("change", "tail", "code"),
    [
        ({"data": [1, 2, 3]}, b"", "tensor_input"),
        ({"data": [1, 2, 3, 4, 5]}, b"", "tensor_input"),
        ({"data": [[1, 2, 3, 4]]}, b"", "tensor_input"),
        ({"data": [[1], [2], [3], [4]]}, b"", "tensor_input"),
        ({"data": [[[1, 2], [3, 4]]]}, b"", "input_type"),
        ({"data": ["canary"]}, b"", "input_type"),
        ({"data": [1, 2, 3, 4], "datatype": "FP64"}, b"", "tensor_input"),
        ({"data": [1, 2, 3, 4], "datatype": "BF16"}, b"", "tensor_input"),
        ({"data": [1, 2, 3, 4], "datatype": "BYTES"}, b"", "tensor_input"),
        ({"data": [1, 2, 3, 4], "datatype": "canary"}, b"", "tensor_input"),
        ({"data": [1, 2, 3, 4], "shape": [4]}, b"", "tensor_input"),
        ({"data": [1, 2, 3, 4], "shape": [1, 4]}, b"", "tensor_input"),
        ({"data": [], "shape": [0, 2]}, b"", "tensor_input"),
        ({"data": [1, 2, 3, 4], "name": "canary"}, b"", "tensor_input"),
        ({"data": [0] * 500_001, "shape": [500_001]}, b"", "input_too_large"),
        ({"parameters": {"binary_data_size": 12}}, bytes(12), "tensor_binary"),
        ({"parameters": {"binary_data_size": 16}, "shape": [2**31 - 1] * 16}, bytes(16), "tensor_binary"),
    ],
)
def test_a_tensor_that_is_refused(change: dict[str, Any], tail: bytes, code: str) -> None:
    others = [
        {"name": dtype, "shape": [2, 2], "datatype": DATATYPES[dtype], "data": rows(dtype).tolist()}
        for dtype in DTYPES
        if dtype != "float32"
    ]
    assert refused(lambda: asked({"inputs": [{**X, **change}, *others]}, tail), NUMBERS).code == code


def test_a_tensor_too_few_is_refused_with_the_names_of_all() -> None:
    fault = refused(lambda: asked({"inputs": [{**X, "data": [1, 2, 3, 4]}]}), NUMBERS)
    assert fault.code == "tensor_input"
    assert "float64" in str(fault)


def test_an_image_in_json_that_is_no_base64_is_refused() -> None:
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": ["canary!"]}
    assert refused(lambda: asked({"inputs": [tensor]}), PICTURES).code == "tensor_input"
    tensor["data"] = ["ü"]
    assert refused(lambda: asked({"inputs": [tensor]}), PICTURES).code == "tensor_input"


def test_at_most_256_images_go_into_one_call() -> None:
    tensor = {"name": "image", "shape": [257], "datatype": "BYTES", "data": [""] * 257}
    assert refused(lambda: asked({"inputs": [tensor]}), PICTURES).code == "input_too_large"
