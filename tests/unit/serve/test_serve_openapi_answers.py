"""Real answers of the application, held to what the OpenAPI document says of them, with no field beside."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx
import jsonschema_rs
import pytest
from PIL import Image

from compliance.crypto import Signer
from compliance.journal.errors import JournalError
from serve.openapi.document import document
from tests import kinds
from tests.serving import Running, serving
from toolkit.box import Box
from toolkit.new_box import create_box

DOCUMENT = json.loads(json.dumps(document()))


def closed(schema: Any) -> Any:
    """The same schema, which takes no field that it does not name."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(value) for name, value in schema.items()}
    if "properties" in found and "title" in found and "additionalProperties" not in found:
        found["additionalProperties"] = False
    return found


CLOSED = closed(DOCUMENT["components"]["schemas"])


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    folder = tmp_path_factory.mktemp("answers")
    create_box(folder / "box")
    box = Box(folder / "box" / "sealpress.toml")
    signer: Signer = box.bundle_signer()
    for draft in (kinds.EMBEDDER, kinds.CLASSIFIER, kinds.PICTURES, kinds.NUMBERS):
        kinds.write(box.folder, draft, signer)
    yield box
    box.journal.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolkit.plan.RUN_S", 0.01)


def must_fit(operation: str, answer: httpx.Response, status: int = 200) -> None:
    """An answer has the status, the type, the fields and the headers that the document has for it."""
    assert answer.status_code == status, answer.text
    method, path = operation.split()
    described = DOCUMENT["paths"][path][method.lower()]["responses"][str(status)]
    media = answer.headers["content-type"].partition(";")[0]
    schema = described["content"][media]["schema"]
    if "allOf" in schema:
        # each part alone would refuse the fields of the other
        schema = {"allOf": schema["allOf"]}
    value = answer.json() if media.endswith("json") else answer.text
    validator = jsonschema_rs.Draft202012Validator({**schema, "components": {"schemas": CLOSED}})
    assert [error.message for error in validator.iter_errors(value)] == []
    own = {name for name in answer.headers if name.startswith("x-") and name != "x-content-type-options"}
    assert own <= {name.lower() for name in described.get("headers", {})}


def picture() -> str:
    file = BytesIO()
    Image.new("RGB", (5, 3), (250, 20, 3)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_every_route_answers_as_is_said(box: Box) -> None:
    async def scenario(server: Running) -> None:
        async def get(path: str) -> httpx.Response:
            return await server.http.get(path, headers=server.headers)

        async def post(path: str, body: object = None) -> httpx.Response:
            return await server.http.post(path, json=body, headers=server.headers)

        for encoding in ("float", "base64"):
            body = {"model": "embedder", "input": ["where ward", "is"], "encoding_format": encoding}
            embedded = await post("/v1/embeddings", body)
            must_fit("POST /v1/embeddings", embedded)
        must_fit("GET /v1/models", await get("/v1/models"))
        must_fit("GET /v1/models/{name}", await get("/v1/models/pictures"))
        inputs: dict[str, Any] = {
            "embedder": "where ward",
            "classifier": ["where ward", "is"],
            "pictures": picture(),
            "numbers": {dtype: [[1, 0], [0, 1]] for dtype in kinds.DTYPES},
        }
        inputs["numbers"]["bool"] = [[True, False], [False, True]]
        for model, one in inputs.items():
            must_fit("POST /v1/models/{name}/predict", await post(f"/v1/models/{model}/predict", {"inputs": one}))
            for path in (f"/v2/models/{model}", f"/v2/models/{model}/versions/1"):
                about = await get(path)
                must_fit("GET /v2/models/{name}", about)
                must_fit("GET /v2/models/{name}/ready", await get(f"{path}/ready"))
        tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["where"]}
        for wanted in ({}, {"outputs": [{"name": "logits", "parameters": {"classification": 2}}]}, {"id": "i"}):
            answer = await post("/v2/models/classifier/infer", {"inputs": [tensor], **wanted})
            must_fit("POST /v2/models/{name}/infer", answer)
        must_fit("GET /v2", await get("/v2"))
        must_fit("POST /v2/repository/index", await post("/v2/repository/index"))
        must_fit("POST /v2/repository/models/{name}/unload", await post("/v2/repository/models/numbers/unload"))
        must_fit("POST /v2/repository/models/{name}/load", await post("/v2/repository/models/numbers/load", {}))
        while (redeemed := await get("/receipts?record=shard-000/0")).status_code == 409:
            await asyncio.sleep(0.02)  # a head that holds it is signed within a second
        must_fit("GET /receipts", redeemed)
        for path in ("/v2/health/live", "/v2/health/ready", "/livez", "/readyz", "/startupz", "/metrics"):
            must_fit(f"GET {path}", await get(path))
        for path in ("/openapi.json", "/docs"):
            must_fit(f"GET {path}", await get(path))

    serving(box, scenario)


def test_every_kind_of_refusal_is_as_is_said(box: Box) -> None:
    async def scenario(server: Running) -> None:
        async def post(path: str, body: object, **headers: str) -> httpx.Response:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return await server.http.post(path, json=body, headers={**server.headers, **named})

        asked = {"model": "embedder", "input": "where ward"}
        for answer, status in (
            (await server.http.post("/v1/embeddings", json=asked), 401),
            (await post("/v1/embeddings", asked, x_purpose="nothing"), 403),
            (await post("/v1/embeddings", {**asked, "model": "none"}), 404),
            (await post("/v1/embeddings", {**asked, "more": 1}), 400),
            (await post("/v1/embeddings", asked, content_encoding="br"), 415),
            (await post("/v1/embeddings", {**asked, "input": ["a"] * 3000}), 413),
        ):
            must_fit("POST /v1/embeddings", answer, status)
        must_fit("GET /v2", await server.http.get("/v2"), 401)
        must_fit("POST /v2/models/{name}/infer", await post("/v2/models/none/infer", {"inputs": []}), 400)
        await post("/v2/repository/models/numbers/unload", {})
        must_fit("GET /v2/models/{name}", await server.http.get("/v2/models/numbers", headers=server.headers), 503)
        await post("/v2/repository/models/numbers/load", {})
        late = await server.http.get("/receipts?record=shard-000/999999", headers=server.headers)
        must_fit("GET /receipts", late, 409)
        server.service.health.stopped(JournalError("journal_write", "canary"))
        must_fit("GET /readyz", await server.http.get("/readyz"), 503)

    serving(box, scenario)


def test_the_page_has_a_policy_of_its_own_and_the_document_is_what_was_made(box: Box) -> None:
    async def scenario(server: Running) -> None:
        page = await server.http.get("/docs")
        assert "style-src 'sha256-" in page.headers["content-security-policy"]
        assert page.headers["x-content-type-options"] == "nosniff"
        assert (await server.http.get("/openapi.json")).json() == DOCUMENT

    serving(box, scenario)
