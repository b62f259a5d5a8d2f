"""A real server that has a model of each kind: asked by the real `tritonclient`, unchanged, and at our own route."""

from __future__ import annotations

import base64
import json
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from PIL import Image
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from tests import kinds
from tests.e2e.served import Served, bearer, holds, problem, verified
from tests.kinds import DTYPES, LABELS
from tests.unit.serve.test_serve_protocols_oip_inference import DATATYPES, rows
from toolkit.box import Box
from toolkit.new_box import create_box
from toolkit.plan import planned

PERSONAL = "write to jane.doe@example.org"
CANARY = "CANARYQ7Z"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("oip")
    create_box(folder / "box")
    box = Box(folder / "box" / "sealpress.toml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toolkit.plan.RUN_S", 0.01)  # how well the models run is of no matter here
        signer, cores = box.bundle_signer(), len(os.sched_getaffinity(0))
        for draft in (kinds.EMBEDDER, kinds.CLASSIFIER, kinds.PICTURES, kinds.NUMBERS):
            planned(kinds.write(box.folder, draft, signer), box, cores)
        planned(kinds.write_golden_entities(box.folder, signer), box, cores)
    box.journal.close()
    with Served(box.folder) as server:
        yield server
        assert server.end() == 0
        assert verified(box.folder)["ok"]
        # what a client writes is nowhere, but sealed
        assert server.log
        assert not [line for line in server.log if CANARY in line or "jane" in line]
        assert holds(folder, CANARY) == []


@pytest.fixture(scope="module")
def key(server: Served) -> dict[str, Any]:
    return server.key("--purpose", "search")


@pytest.fixture
def operator(server: Served) -> dict[str, str]:
    """The headers of who may load and unload models."""
    return bearer(server.key("--purpose", "search", "--admin"))


@pytest.fixture
def headers(key: dict[str, Any]) -> dict[str, str]:
    """One's own: the client adds to them, and keeps what it added."""
    return bearer(key)


@pytest.fixture(scope="module")
def client(server: Served) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(server.url.removeprefix("http://")) as client:
        yield client


def texts(*given: str, binary: bool = True) -> list[InferInput]:
    array = np.array([text.encode() for text in given], object)
    return [InferInput("text", [len(given)], "BYTES").set_data_from_numpy(array, binary_data=binary)]


def numbers(binary: bool) -> list[InferInput]:
    return [
        InferInput(dtype, [2, 2], DATATYPES[dtype]).set_data_from_numpy(rows(dtype), binary_data=binary)
        for dtype in DTYPES
    ]


def png(red: int, green: int, blue: int) -> bytes:
    file = BytesIO()
    Image.new("RGB", (5, 3), (red, green, blue)).save(file, "PNG")
    return file.getvalue()


def test_the_server_says_that_it_lives_and_is_ready_to_anyone(client: InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()


def test_the_server_says_what_it_is(client: InferenceServerClient, headers: dict[str, str]) -> None:
    about = client.get_server_metadata(headers=headers)
    assert about["name"] == "sealpress"
    assert "binary_tensor_data" in about["extensions"]


def test_models_say_what_they_take_and_give(client: InferenceServerClient, headers: dict[str, str]) -> None:
    assert client.is_model_ready("embedder", headers=headers)
    assert client.is_model_ready("embedder", "1", headers=headers)
    assert not client.is_model_ready("embedder", "2", headers=headers)
    assert not client.is_model_ready("embedder")
    about = client.get_model_metadata("embedder", headers=headers)
    assert (about["name"], about["versions"], about["platform"]) == ("embedder", ["1"], "onnxruntime_onnx")
    assert about["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert about["outputs"] == [{"name": "embedding", "datatype": "FP32", "shape": [-1, 4]}]
    assert client.get_model_metadata("embedder", "1", headers=headers) == about


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("packed", [None, "gzip", "deflate"])
def test_embeddings(
    client: InferenceServerClient, headers: dict[str, str], binary_in: bool, binary_out: bool, packed: str | None
) -> None:
    answer = client.infer(
        "embedder",
        texts("where ward", "is", binary=binary_in),
        outputs=[InferRequestedOutput("embedding", binary_data=binary_out)],
        request_id="request 7 ü",
        headers=headers,
        request_compression_algorithm=packed,
        response_compression_algorithm=packed,
    )
    assert answer.as_numpy("embedding").tolist() == [[14, 15, 16, 17], [12, 13, 14, 15]]
    assert answer.as_numpy("embedding").dtype == np.float32
    about = answer.get_response()
    assert (about["model_name"], about["model_version"], about["id"]) == ("embedder", "1", "request 7 ü")


def test_a_large_answer_comes_packed(client: InferenceServerClient, headers: dict[str, str]) -> None:
    answer = client.infer("embedder", texts(*["ward"] * 2048), headers=headers, response_compression_algorithm="gzip")
    assert answer.as_numpy("embedding").tolist() == [[20, 21, 22, 23]] * 2048


def test_classes_of_texts(client: InferenceServerClient, headers: dict[str, str]) -> None:
    answer = client.infer("classifier", texts("where", "is"), headers=headers)
    assert answer.as_numpy("logits").tolist() == [[8, 9, 10], [12, 13, 14]]
    assert answer.as_numpy("label").tolist() == [LABELS[2].encode()] * 2
    best = client.infer(
        "classifier",
        texts("where"),
        outputs=[InferRequestedOutput("logits", class_count=2), InferRequestedOutput("label", binary_data=False)],
        headers=headers,
    )
    assert best.as_numpy("logits").tolist() == [[b"10.000000:2:unclear", b"9.000000:1:urgent"]]
    assert best.as_numpy("label").tolist() == ["unclear"]


def test_entities(server: Served, client: InferenceServerClient, headers: dict[str, str]) -> None:
    given = texts("anna is in berlin", "the ward")
    answer = client.infer("golden-entities", given, headers={**headers}, parameters={"legal_basis": "contract"})
    found = [json.loads(one) for one in answer.as_numpy("entities")]
    assert [[(one["start"], one["end"], one["label"]) for one in entities] for entities in found] == [
        [(0, 4, "PER"), (11, 17, "LOC")],
        [],
    ]
    same = predict(server, headers, "golden-entities", ["anna is in berlin", "the ward"], legal_basis="contract")
    assert same.json()["outputs"] == found


def test_images(client: InferenceServerClient, headers: dict[str, str]) -> None:
    files = [png(255, 0, 51), png(0, 255, 0)]
    given = InferInput("image", [2], "BYTES").set_data_from_numpy(np.array(files, object))
    answer = client.infer("pictures", [given], headers=headers)
    assert answer.as_numpy("logits") == pytest.approx(np.array([[1, 0, 0.2], [0, 1, 0]]), abs=1e-6)
    assert answer.as_numpy("label").tolist() == [b"calm", b"urgent"]


@pytest.mark.parametrize("binary", [True, False])
def test_tensors_of_every_datatype(client: InferenceServerClient, headers: dict[str, str], binary: bool) -> None:
    wanted = [InferRequestedOutput(f"{dtype}_same", binary_data=binary) for dtype in DTYPES]
    answer = client.infer("numbers", numbers(binary), outputs=wanted, headers=headers)
    for dtype in DTYPES:
        found = answer.as_numpy(f"{dtype}_same")
        assert (str(found.dtype), found.tolist()) == (dtype, rows(dtype).tolist())


def test_many_calls_at_once(server: Served, headers: dict[str, str]) -> None:
    with InferenceServerClient(server.url.removeprefix("http://"), concurrency=8) as client:
        asked = [client.async_infer("embedder", texts("ward"), headers=headers) for _ in range(32)]
        for one in asked:
            assert one.get_result().as_numpy("embedding").tolist() == [[20, 21, 22, 23]]


def test_the_context_comes_in_the_parameters(client: InferenceServerClient, headers: dict[str, str]) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.infer("embedder", texts(PERSONAL), headers=headers)
    assert caught.value.status() == "403"
    assert "refused: " in caught.value.message()
    assert "jane" not in caught.value.message()
    allowed = client.infer("embedder", texts(PERSONAL), headers=headers, parameters={"legal_basis": "contract"})
    assert allowed.as_numpy("embedding").shape == (1, 4)


@pytest.mark.parametrize(
    ("ask", "status", "said"),
    [
        (lambda client, headers: client.infer(CANARY, texts("a"), headers=headers), "404", "no model of this name"),
        (lambda client, headers: client.infer("../embedder", texts("a"), headers=headers), "404", "at this path"),
        (lambda client, headers: client.infer("embedder", texts("a"), "2", headers=headers), "404", "no model of"),
        (lambda client, headers: client.infer("embedder", numbers(True), headers=headers), "400", "one input, text"),
        (lambda client, headers: client.infer("embedder", texts(" "), headers=headers), "400", "is empty"),
        (lambda client, headers: client.infer("embedder", texts("a")), "401", "brings no key"),
        (lambda client, headers: client.infer("numbers", numbers(True)[1:], headers=headers), "400", "exactly these"),
        (lambda client, headers: client.infer("embedder", texts("a"), priority=7, headers=headers), "400", "fit at $"),
        (lambda client, headers: client.get_model_config("embedder", headers=headers), "404", "at this path"),
        (lambda client, headers: client.load_model("embedder", headers=headers, config="{}"), "400", "fit at $"),
    ],
)  # fmt: skip
def test_the_client_is_told_why_it_is_refused(
    client: InferenceServerClient,
    headers: dict[str, str],
    ask: Callable[[InferenceServerClient, dict[str, str]], object],
    status: str,
    said: str,
) -> None:
    with pytest.raises(InferenceServerException) as caught:
        ask(client, headers)
    assert caught.value.status() == status
    assert said in caught.value.message()
    assert CANARY not in caught.value.message()


def test_models_are_unloaded_and_loaded_again(
    client: InferenceServerClient, headers: dict[str, str], operator: dict[str, str]
) -> None:
    before = client.get_model_repository_index(headers=headers)
    assert sorted(one["name"] for one in before) == ["classifier", "embedder", "golden-entities", "numbers", "pictures"]
    assert {(one["version"], one["state"], one["reason"]) for one in before} == {("1", "READY", "")}
    for change in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException) as forbidden:
            change("classifier", headers=headers)
        assert forbidden.value.status() == "403"
    client.unload_model("classifier", headers=operator)
    assert not client.is_model_ready("classifier", headers=headers)
    index = {one["name"]: one["state"] for one in client.get_model_repository_index(headers=headers)}
    assert index == {one["name"]: "READY" for one in before} | {"classifier": "UNAVAILABLE"}
    with pytest.raises(InferenceServerException) as caught:
        client.infer("classifier", texts("where"), headers=headers)
    assert caught.value.status() == "503"
    client.load_model("classifier", headers=operator)
    assert client.infer("classifier", texts("where"), headers=headers).as_numpy("logits").tolist() == [[8, 9, 10]]
    assert client.get_model_repository_index(headers=headers) == before


def predict(server: Served, headers: dict[str, str], name: str, inputs: object, **parameters: object) -> httpx.Response:
    body = {"inputs": inputs, "parameters": parameters}
    return server.http.post(f"/v1/models/{name}/predict", json=body, headers=headers)


def test_our_own_route_answers_for_every_kind_of_model(server: Served, headers: dict[str, str]) -> None:
    found = predict(server, headers, "embedder", ["where ward", "is"]).json()
    assert found["outputs"] == [[14, 15, 16, 17], [12, 13, 14, 15]]
    assert found["usage"] == {"texts": 2, "tokens": 3}
    classes = predict(server, headers, "classifier", "where", top_k=2)
    assert [one["label"] for one in classes.json()["outputs"][0]] == ["unclear", "urgent"]
    assert classes.json()["digest"] == classes.headers["x-model-digest"]
    assert classes.headers["x-receipt"]
    picture = predict(server, headers, "pictures", base64.b64encode(png(0, 255, 0)).decode()).json()
    assert picture["outputs"][0][0]["label"] == "urgent"
    given = {dtype: rows(dtype).tolist() for dtype in DTYPES}
    same = predict(server, headers, "numbers", given).json()["outputs"]
    assert same == {f"{name}_same": value for name, value in given.items()}


def test_the_context_comes_in_the_parameters_of_our_own_route_too(server: Served, headers: dict[str, str]) -> None:
    refused = problem(predict(server, headers, "embedder", PERSONAL), 403, "denied")
    assert [one["rule"] for one in refused["findings"] if not one["ok"]] == ["privacy.basis"]
    assert predict(server, headers, "embedder", PERSONAL, legal_basis="contract").status_code == 200


@pytest.fixture
def openai_client(server: Served, key: dict[str, Any]) -> Iterator[openai.OpenAI]:
    with server.client(key) as client:
        yield client


def test_the_context_comes_in_the_metadata_of_openai(openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.PermissionDeniedError):
        openai_client.embeddings.create(model="embedder", input=PERSONAL)
    context = {"legal_basis": "contract", "data": "financial"}
    body = {"metadata": context}
    answer = openai_client.embeddings.create(model="embedder", input=PERSONAL, extra_body=body, dimensions=4)
    assert len(answer.data[0].embedding) == 4
    body = {"metadata": {**context, "data": "financial, health"}}
    with pytest.raises(openai.PermissionDeniedError) as caught:
        openai_client.embeddings.create(model="embedder", input=PERSONAL, extra_body=body)
    assert "Special categories" in str(caught.value)


def test_a_header_and_a_body_that_contradict_each_other_are_refused(server: Served, headers: dict[str, str]) -> None:
    said = {**headers, "X-Legal-Basis": "legal_obligation"}
    problem(predict(server, said, "embedder", "ward", legal_basis="contract"), 400, "request_context")


def test_what_the_openai_package_may_ask_that_is_not_given(openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.embeddings.create(model="embedder", input="ward", dimensions=3)
    assert caught.value.code == "request_dimensions"
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.embeddings.create(model="embedder", input=[[1, 2], [3]])
    assert caught.value.code == "request_tokens"


def test_a_picture_of_too_many_pixels_is_refused_by_what_it_states(server: Served, headers: dict[str, str]) -> None:
    size = struct.pack(">II", 30_000, 30_000) + b"\x08\x02\0\0\0"
    chunk = b"IHDR" + size
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    data = zlib.compress(bytes(1000))
    body = struct.pack(">I", len(data)) + b"IDAT" + data + struct.pack(">I", zlib.crc32(b"IDAT" + data))
    problem(predict(server, headers, "pictures", base64.b64encode(head + body).decode()), 413, "input_too_large")
    problem(predict(server, headers, "pictures", base64.b64encode(CANARY.encode()).decode()), 400, "input_type")


def test_numbers_that_are_not_finite_are_refused(client: InferenceServerClient, headers: dict[str, str]) -> None:
    inputs = numbers(binary=True)
    inputs[-1].set_data_from_numpy(np.full((2, 2), np.nan))
    with pytest.raises(InferenceServerException) as caught:
        client.infer("numbers", inputs, headers=headers)
    assert caught.value.status() == "400"
    assert "NaN or infinity" in caught.value.message()


@pytest.mark.parametrize("name", ["classifier", "pictures", "numbers"])
def test_only_embedders_are_asked_for_embeddings(server: Served, headers: dict[str, str], name: str) -> None:
    answer = server.http.post("/v1/embeddings", json={"model": name, "input": "a"}, headers=headers)
    problem(answer, 400, "request_task")


NAMES = [
    CANARY,
    f"..%2f{CANARY}",
    f"%2e%2e/{CANARY}",
    f"..;/{CANARY}",
    f"{CANARY}%00",
    "embedder%00",
    "embedder%20",
    "embedder@",
    "embedder@..",
    "Embedder",
    "%00",
    "%20",
    "%ff%fe",
    "%F0%9F%92%A3",
    "%2e%2e",
    "%7Bname%7D",
    CANARY * 500,
    "%25" * 2000,
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_no_trick_in_a_name_finds_a_model(server: Served, operator: dict[str, str], name: str) -> None:
    asked = [
        ("GET", f"/v1/models/{name}"),
        ("POST", f"/v1/models/{name}/predict"),
        ("GET", f"/v2/models/{name}"),
        ("GET", f"/v2/models/{name}/ready"),
        ("GET", f"/v2/models/embedder/versions/{name}"),
        ("POST", f"/v2/models/{name}/infer"),
        ("POST", f"/v2/models/embedder/versions/{name}/infer"),
        ("POST", f"/v2/repository/models/{name}/load"),
        ("POST", f"/v2/repository/models/{name}/unload"),
    ]
    body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}]}
    for method, path in asked:
        content = b"" if "repository" in path else json.dumps(body if "/v2/" in path else {"inputs": "a"}).encode()
        # the whole target as it is: httpx would take its dots and escapes away
        request = httpx.Request(method, server.url, headers=operator, content=content)
        request.extensions["target"] = path.encode()
        answer = server.http.send(request)
        found = answer.json()
        assert answer.status_code in (404, 405), (path, answer.text)
        assert found["code"] in ("model_unknown", "route_unknown", "method_unknown")
        assert CANARY not in answer.text


@pytest.mark.parametrize("path", ["/v1/models//predict", "/v2/models//infer", "/v2/models/embedder/versions//infer"])
def test_an_empty_name_is_none(server: Served, headers: dict[str, str], path: str) -> None:
    assert server.http.post(path, json={}, headers=headers).status_code in (404, 405)


ROUTES = [
    ("GET", "/v2"),
    ("GET", "/v2/models/embedder"),
    ("GET", "/v2/models/embedder/ready"),
    ("GET", "/v2/models/embedder/versions/1"),
    ("GET", "/v2/models/embedder/versions/1/ready"),
    ("POST", "/v2/models/embedder/infer"),
    ("POST", "/v2/models/embedder/versions/1/infer"),
    ("POST", "/v2/repository/index"),
    ("POST", "/v2/repository/models/embedder/load"),
    ("POST", "/v2/repository/models/embedder/unload"),
    ("POST", "/v1/models/embedder/predict"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_nothing_but_health_is_to_be_had_without_a_key(server: Served, method: str, path: str) -> None:
    problem(server.http.request(method, path), 401, "api_key_missing")


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/models/embedder/predict", "/v2/models/embedder/infer"])
def test_a_bomb_takes_neither_time_nor_memory(
    server: Served, headers: dict[str, str], encoding: str, path: str
) -> None:
    packing = zlib.compressobj(1, wbits=31 if encoding == "gzip" else 15)
    bomb = b"".join(packing.compress(bytes(1_000_000)) for _ in range(40)) + packing.flush()
    before, began = memory_kb(server.pid), cpu_s(server.pid)
    answer = server.http.post(path, content=bomb, headers={**headers, "Content-Encoding": encoding})
    problem(answer, 413, "request_too_large")
    assert cpu_s(server.pid) - began < 1
    assert memory_kb(server.pid) - before < 20_000


INFER, EMBED, PREDICT = "/v2/models/embedder/infer", "/v1/embeddings", "/v1/models/numbers/predict"
TEXT = b'{"inputs":[{"name":"text","shape":[1],"datatype":"BYTES","data":'
FLOAT = b'{"inputs":[{"name":"float32","shape":[1],"datatype":"FP32","data":['
LARGE = {
    "texts": (INFER, TEXT + b"[", b'"a",', b'"a"]}]}'),
    "rows": (INFER, TEXT + b"[", b'["a"],', b'["a"]]}]}'),
    "lists": (INFER, TEXT + b"[", b"[],", b"[]]}]}"),
    "depth": (INFER, TEXT, b"[", b"}]}"),
    "tensors": (INFER, b'{"inputs":[', b'{"name":"a","shape":[1],"datatype":"FP32","data":[]},', b"{}]}"),
    "sizes": (INFER, b'{"inputs":[{"name":"a","shape":[', b"99999,", b'1],"datatype":"FP32","data":[]}]}'),
    "outputs": (INFER, TEXT + b'["a"]}],"outputs":[', b'{"name":"a"},', b"{}]}"),
    "numbers": (INFER.replace("embedder", "numbers"), FLOAT, b"1,", b"1]}]}"),
    "slow numbers": (INFER.replace("embedder", "numbers"), FLOAT, b"1.2345678901234567890123456789e-309,", b"1]}]}"),
    "long numbers": (INFER.replace("embedder", "numbers"), FLOAT, b"9", b"]}]}"),
    "strings": (EMBED, b'{"model":"embedder","input":[', b'"a",', b'"a"]}'),
    "quotes": (EMBED, b'{"model":"embedder","input":["', b'\\"', b'"]}'),
    "categories": (EMBED, b'{"model":"embedder","input":"a","metadata":{"data":[', b'"a",', b'"a"]}}'),
    "names": (PREDICT, b'{"inputs":{', b'"abcdefgh":1,', b'"a":1}}'),
    "base64": (PREDICT.replace("numbers", "pictures"), b'{"inputs":"', b"AAAA", b'"}'),
}


@pytest.mark.parametrize("kind", LARGE)
def test_no_large_body_takes_much_time_or_memory(server: Served, headers: dict[str, str], kind: str) -> None:
    path, head, part, tail = LARGE[kind]
    body = head + part * ((7_990_000 - len(head) - len(tail)) // len(part)) + tail
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")  # the peak begins anew
    before, began = memory_kb(server.pid), cpu_s(server.pid)
    answer = server.http.post(path, content=body, headers=headers)
    assert answer.status_code in (400, 413), answer.text
    assert cpu_s(server.pid) - began < 1
    assert memory_kb(server.pid, "VmHWM") - before < 100_000


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/models/embedder/predict", "/v2/models/embedder/infer"])
def test_a_packing_that_is_not_known_is_refused(server: Served, headers: dict[str, str], path: str) -> None:
    answer = server.http.post(path, content=CANARY.encode(), headers={**headers, "Content-Encoding": "br"})
    problem(answer, 415, "request_encoding")


def memory_kb(pid: int, what: str = "VmRSS") -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what))


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
