"""The real `openai` package, unchanged, against a real server: what is allowed, what is refused, and why."""

from __future__ import annotations

import base64
import json
import re
import shutil
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

from compliance.keys import from_text
from compliance.verify.receipt import verify_receipt
from compliance.verify.statements import Head, Promise
from tests.e2e.served import Served, bearer, command, problem, records, verified
from toolkit.settings import read_settings

NAME = "all-MiniLM-L6-v2-int8"
PERSONAL = "please write to jane.doe@example.org about her visit"


@pytest.fixture(scope="module")
def server(pressed: Path, pressed_nc: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    box = tmp_path_factory.mktemp("served") / "box"
    shutil.copytree(pressed_nc, box)
    shutil.copytree(pressed.with_name("box-auditor"), box.with_name("box-auditor"))
    with Served(box) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Served) -> Iterator[openai.OpenAI]:
    """A client whose key is for searching."""
    with server.client(server.key("--purpose", "search")) as client:
        yield client


@pytest.fixture(scope="module")
def bare(server: Served) -> Iterator[openai.OpenAI]:
    """A client whose key has no defaults."""
    with server.client(server.key()) as client:
        yield client


def redeemed(server: Served, key: dict[str, Any], names: list[str]) -> bytes:
    """The proof that the server gives for these records, as soon as a head covers them."""
    for _ in range(100):
        answer = server.http.get("/receipts", params={"record": names}, headers=bearer(key))
        if answer.status_code == 200:
            return answer.content
        problem(answer, 409, "record_unsigned")
        time.sleep(0.1)
    raise AssertionError("no head covers the records")


def served_as(box: Path, bundle: str) -> str:
    """The name of a bundle where another one has the same."""
    digest = json.loads(command(box, "show", bundle))["manifest"]["digest"]
    return f"{NAME}@{digest[:12]}"


@pytest.fixture(scope="module")
def model(server: Served) -> str:
    return served_as(server.box, "minilm.bundle")


@pytest.fixture(scope="module")
def noncommercial_model(server: Served) -> str:
    return served_as(server.box, "nc.bundle")


def against(refusal: openai.APIStatusError) -> list[str]:
    return [finding["rule"] for finding in refusal.response.json()["findings"] if not finding["ok"]]


def test_every_bundle_beside_the_settings_is_served(
    server: Served, client: openai.OpenAI, model: str, noncommercial_model: str
) -> None:
    listed = {found.id: found for found in client.models.list()}
    assert sorted(listed) == server.announced["models"] == sorted([model, noncommercial_model])
    one = client.models.retrieve(model)
    assert one == listed[model]
    assert one.object == "model"
    shown = json.loads(command(server.box, "show", "minilm.bundle"))
    assert one.model_extra is not None
    assert one.model_extra["digest"] == shown["manifest"]["digest"]


def test_an_unchanged_client_works_with_the_default_purpose_of_its_key(client: openai.OpenAI, model: str) -> None:
    answer = client.embeddings.create(model=model, input=["where is the ward?", "on the third floor"])
    embeddings = np.array([row.embedding for row in answer.data])
    assert [row.index for row in answer.data] == [0, 1]
    assert embeddings.shape == (2, 384)
    assert np.linalg.norm(embeddings, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert answer.model == model
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 13


def test_the_answer_is_that_of_the_embedded_call(client: openai.OpenAI, server: Served, model: str) -> None:
    run = json.loads(command(server.box, "run", "minilm.bundle", "--text", "the ward", "--purpose", "search"))
    answer = client.embeddings.create(model=model, input="the ward")
    assert np.array([answer.data[0].embedding]) == pytest.approx(np.array(run["embeddings"]), abs=1e-6)


def test_float_and_base64_say_the_same(client: openai.OpenAI, model: str) -> None:
    # the package asks for base64 by itself, and decodes it
    packed = client.embeddings.create(model=model, input="the ward", encoding_format="base64")
    floats = client.embeddings.create(model=model, input="the ward", encoding_format="float")
    decoded = np.frombuffer(base64.b64decode(str(packed.data[0].embedding)), "<f4")
    assert decoded.tolist() == floats.data[0].embedding


def test_the_answer_says_under_which_id_and_by_which_model(client: openai.OpenAI, model: str) -> None:
    raw = client.embeddings.with_raw_response.create(model=model, input="the ward")
    call = raw.headers["x-decision-id"]
    assert raw.request_id == call
    assert raw.headers["x-model-digest"] == (client.models.retrieve(model).model_extra or {})["digest"]


def test_a_call_for_no_purpose_is_refused(bare: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.PermissionDeniedError) as caught:
        bare.embeddings.create(model=model, input="the ward")
    assert caught.value.code == "denied"
    assert against(caught.value) == ["purpose.stated"]


def test_a_purpose_that_is_not_declared_is_refused(bare: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.PermissionDeniedError) as caught:
        bare.embeddings.create(model=model, input="the ward", extra_headers={"X-Purpose": "marketing"})
    assert "purpose.declared" in against(caught.value)


def test_personal_data_without_a_basis_is_refused_and_with_one_allowed(client: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client.embeddings.create(model=model, input=PERSONAL)
    assert caught.value.code == "denied"
    assert against(caught.value) == ["privacy.basis"]
    assert "jane" not in caught.value.response.text
    allowed = client.embeddings.create(model=model, input=PERSONAL, extra_headers={"X-Legal-Basis": "contract"})
    assert len(allowed.data) == 1


def test_a_basis_that_the_purpose_does_not_permit_is_refused(client: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client.embeddings.create(model=model, input=PERSONAL, extra_headers={"X-Legal-Basis": "vital_interests"})
    assert "basis.permitted" in against(caught.value)


def test_the_default_basis_of_a_key_counts(server: Served, model: str) -> None:
    with server.client(server.key("--purpose", "search", "--basis", "contract")) as client:
        assert client.embeddings.create(model=model, input=PERSONAL).data


def test_a_commercial_purpose_needs_a_licence_that_allows_it(
    client: openai.OpenAI, model: str, noncommercial_model: str
) -> None:
    commercial = {"X-Purpose": "product"}
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client.embeddings.create(model=noncommercial_model, input="the ward", extra_headers=commercial)
    assert against(caught.value) == ["licence.commercial"]
    assert client.embeddings.create(model=noncommercial_model, input="the ward").data
    assert client.embeddings.create(model=model, input="the ward", extra_headers=commercial).data


def test_an_unknown_key_and_an_unknown_model_are_the_clients_own_errors(server: Served, client: openai.OpenAI) -> None:
    with (
        server.client({"key": "sp_0000000000000000_" + "0" * 64}) as other,
        pytest.raises(openai.AuthenticationError) as unknown,
    ):
        other.models.list()
    assert unknown.value.code == "api_key_unknown"
    assert unknown.value.response.headers["www-authenticate"].startswith("Bearer")
    with pytest.raises(openai.NotFoundError) as missing:
        client.embeddings.create(model="gpt-9", input="the ward")
    assert (missing.value.code, missing.value.param) == ("model_unknown", "model")


def test_each_answer_and_each_refusal_is_on_record_with_its_context(server: Served, model: str) -> None:
    key = server.key("--purpose", "search")
    context = {"x_legal_basis": "contract", "x_subject": "patient-7", "x_consent": "receipt-9"}
    allowed = server.embed(key, PERSONAL, model, **context)
    refused = server.embed(key, PERSONAL, model)
    problem(refused, 403, "denied")

    assert allowed.status_code == 200
    root = from_text(read_settings(server.box / "sealpress.toml").journal.root)
    for answer, count in ((allowed, 2), (refused, 1)):
        promise = verify_receipt(urlsafe_b64decode(answer.headers["x-receipt"]), root)
        assert isinstance(promise.statement, Promise)
        assert len(promise.records) == count
        names = [record.name for record in promise.records]
        proved = verify_receipt(redeemed(server, key, names), root)
        assert isinstance(proved.statement, Head)
        assert [(one.name, one.leaf) for one in proved.records] == [(one.name, one.leaf) for one in promise.records]
    server_records = records(server.box)
    opened, closed = server_records[allowed.headers["x-decision-id"]]
    assert opened["allowed"]
    assert {name: opened["call"][name] for name in ("actor", "purpose", "basis", "consent")} == {
        "actor": key["id"], "purpose": "search", "basis": "contract",
        "consent": "receipt-9",
    }  # fmt: skip
    assert re.fullmatch("[0-9a-f]{32}", opened["call"]["subject"])  # a pseudonym
    assert closed["outcome"]["ok"]
    assert closed["outcome"]["usage"]["texts"] == 1
    (opened,) = server_records[refused.headers["x-decision-id"]]
    assert not opened["allowed"]
    assert [finding["rule"] for finding in opened["against"]] == ["privacy.basis"]


def test_the_metrics_count_requests_and_refusals(server: Served, client: openai.OpenAI, model: str) -> None:
    client.embeddings.create(model=model, input="the ward")
    with pytest.raises(openai.PermissionDeniedError):
        client.embeddings.create(model=model, input=PERSONAL)
    metrics = server.metrics()
    lines = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if not line.startswith("#"))
    assert float(lines['sealpress_requests_total{route="/v1/embeddings",status="200"}']) >= 1
    assert float(lines['sealpress_refusals_total{rule="privacy.basis"}']) >= 1
    assert float(lines['sealpress_request_seconds_count{route="/v1/embeddings"}']) >= 2
    name = model.partition("@")[0]
    assert float(lines[f'sealpress_lanes{{model="{name}"}}']) >= 1
    assert float(lines[f'sealpress_queue_depth{{model="{name}"}}']) == 0
    assert server.http.get("/metrics").headers["content-type"].startswith("text/plain")


def test_the_journal_verifies_while_the_server_runs(server: Served) -> None:
    assert verified(server.box)["ok"]


@pytest.mark.parametrize("route", ["/v1/models", "/v1/models/any", "/v1/embeddings"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_nothing_under_v1_is_to_be_had_without_a_key(server: Served, route: str, method: str) -> None:
    answer = server.http.request(method, route)
    if answer.status_code != 405 and method != "OPTIONS":
        problem(answer, 401, "api_key_missing")
    assert answer.status_code in (401, 405)
    assert server.http.request(method, route, headers=bearer(server.key())).status_code != 401


def test_no_page_of_documentation_loads_from_elsewhere(server: Served) -> None:
    for path in ("/", "/schema", "/schema/swagger"):
        problem(server.http.get(path), 404, "route_unknown")
    page = server.http.get("/docs").text
    assert "<script" not in page
    assert not re.search(r"(?:src|url\(|<link[^>]*href)=?[\"'(]?https?:", page)
