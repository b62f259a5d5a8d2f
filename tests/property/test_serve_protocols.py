"""Whatever bytes come in, a protocol makes a request of them that a model takes, or refuses them by a stable code."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from tritonclient.http import InferenceServerClient, InferInput

from policies.errors import Fault
from policies.payload import InputError
from serve.problems import RequestError
from serve.protocols import openai, predict
from serve.protocols.oip.inference import read
from serve.service import Read
from tests.kinds import CLASSIFIER, DTYPES, EMBEDDER, NUMBERS, PICTURES
from toolkit.bundle import BundleManifest
from toolkit.runtime.images import ImageReader
from toolkit.runtime.readers import Reader, checked_texts
from toolkit.runtime.tensors import TensorReader

LENGTH = b"inference-header-content-length"
MODELS = [EMBEDDER, CLASSIFIER, PICTURES, NUMBERS]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
SIZES = st.integers(-2, 40) | st.sampled_from([2**31 - 1, 2**31, 2**63, 2**64, 1.5, True, None, "4"])
DATA = st.lists(st.floats() | st.integers() | st.booleans() | st.text(max_size=4), max_size=6)
NAMES = st.sampled_from(["text", "image", *DTYPES, "other", ""])
TENSOR = st.fixed_dictionaries(
    {
        "name": NAMES | JSON,
        "shape": st.lists(SIZES, max_size=3) | JSON,
        "datatype": st.sampled_from(["BYTES", "FP32", "INT8", "BOOL", "FP16", "UINT64", "BF16", ""]) | JSON,
    },
    optional={
        "data": DATA | st.lists(DATA, max_size=3) | JSON,
        "parameters": st.fixed_dictionaries({"binary_data_size": SIZES}) | JSON,
    },
)
HEADER = st.fixed_dictionaries(
    {"inputs": st.lists(TENSOR, max_size=3) | JSON},
    optional={
        "id": st.text(max_size=5) | JSON,
        "parameters": st.dictionaries(st.sampled_from(["purpose", "binary_data_output", "x"]), JSON) | JSON,
        "outputs": st.lists(
            st.fixed_dictionaries({"name": st.sampled_from(["logits", "embedding", "label"]) | JSON},
                                  optional={"parameters": JSON}),
            max_size=2,
        ) | JSON,
    },
)  # fmt: skip


def reader(manifest: BundleManifest) -> Callable[[Any], object]:
    """What the runtime makes of a payload, as far as it can fail on one."""
    if manifest.text:
        return lambda payload: checked_texts(payload.value["texts"])
    of: Reader = ImageReader(manifest.inputs, manifest.image) if manifest.image else TensorReader(manifest.inputs)
    return of.items


def taken_or_refused(ask: Callable[[], Read]) -> None:
    try:
        asked = ask()
    except (RequestError, InputError):
        return
    for manifest in MODELS:
        try:
            payload = asked.payload(manifest)
        except (RequestError, InputError):
            continue
        try:
            reader(manifest)(payload)
        except InputError as fault:
            # what only the numbers themselves can tell
            assert fault.code in ("input_number", "input_type")  # noqa: PT017 - it may also be taken


@given(body=st.binary() | JSON.map(lambda value: json.dumps(value).encode()), length=st.integers(-1, 80) | st.none())
@example(body=b"{}", length=0)
def test_any_bytes(body: bytes, length: int | None) -> None:
    headers = {} if length is None else {LENGTH: str(length).encode()}
    taken_or_refused(lambda: read("m", None, body, headers))
    taken_or_refused(lambda: predict.read("m", body, headers))
    taken_or_refused(lambda: openai.read(body, headers))


@given(header=HEADER, tail=st.binary(max_size=40), off=st.sampled_from([0, 0, 0, -1, 1, 5, -20]))
def test_any_tensors_with_any_bytes_behind_them(header: object, tail: bytes, off: int) -> None:
    written = json.dumps(header).encode()
    taken_or_refused(lambda: read("m", None, written + tail, {LENGTH: str(len(written) + off).encode()}))


@given(inputs=JSON | st.dictionaries(NAMES, DATA | JSON), parameters=JSON)
def test_any_inputs_of_our_own_route(inputs: object, parameters: object) -> None:
    taken_or_refused(lambda: predict.read("m", json.dumps({"inputs": inputs}).encode(), {}))
    body = json.dumps({"inputs": inputs, "parameters": parameters}).encode()
    taken_or_refused(lambda: predict.read("m", body, {}))


def sent(*texts: str) -> tuple[bytes, int]:
    array = np.array([text.encode() for text in texts], object)
    tensor = InferInput("text", [len(texts)], "BYTES").set_data_from_numpy(array)
    body, length = InferenceServerClient.generate_request_body([tensor], request_id="7", parameters={"purpose": "care"})
    return body, length


@given(
    texts=st.lists(st.text(min_size=1, max_size=6).filter(str.strip), min_size=1, max_size=4),
    at=st.integers(0, 2**16),
    put=st.binary(max_size=4),
    cut=st.integers(0, 4),
    packed=st.booleans(),
)
def test_what_was_sent_and_altered_on_the_way(texts: list[str], at: int, put: bytes, cut: int, packed: bool) -> None:
    body, length = sent(*texts)
    headers: Mapping[bytes, bytes] = {LENGTH: str(length).encode()}
    assert read("m", None, body, headers).payload(EMBEDDER).value == {"texts": texts}
    if packed:
        body, headers = gzip.compress(body, 1), {**headers, b"content-encoding": b"gzip"}
    at %= len(body)
    taken_or_refused(lambda: read("m", None, body[:at] + put + body[at + cut :], headers))


@given(st.lists(st.binary(max_size=20), max_size=8), st.integers(-4, 4), st.integers(0, 10))
def test_elements_are_those_that_were_sent_or_none(elements: list[bytes], off: int, shape: int) -> None:
    tail = b"".join(len(one).to_bytes(4, "little") + one for one in elements)
    tensor = {
        "name": "image",
        "shape": [shape],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(tail) + off},
    }
    written = json.dumps({"inputs": [tensor]}).encode()
    try:
        payload = read("m", None, written + tail, {LENGTH: str(len(written)).encode()}).payload(PICTURES)
    except Fault:
        assert off or shape != len(elements) or not elements
        return
    assert [*payload.blobs.values()] == elements
    assert (off, shape) == (0, len(elements))
