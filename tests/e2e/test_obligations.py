"""Masked, attributed, announced: by the command, embedded, and over HTTP to an unchanged client."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sealpress as front
from policies.privacy.redaction import MASK
from tests.e2e.served import MODEL, Served, bearer, command, holds, problem, records, verified
from toolkit.box import Context

Run = Callable[..., "subprocess.CompletedProcess[str]"]
CANARY = "jane.canary@example.org"
TEXT = f"write to {CANARY} about the ward"
ATTRIBUTION = (
    "all-MiniLM-L6-v2-int8, made from all-MiniLM-L6-v2; licence: Apache-2.0, "
    "https://www.apache.org/licenses/LICENSE-2.0"
)
NOTICE = "Sie sprechen mit einem KI-System. F\u00fcr alle."
ENCODED = '%"Sie sprechen mit einem KI-System. F%c3%bcr alle."'
PARAMETERS = f"""
[policy.parameters.base]
redact = ["search"]

[policy.parameters.gdpr]
pseudonymise = ["classification"]

[policy.parameters.ai-act]
assessed = ["search", "assistance", "classification"]
persons = ["assistance"]
informed = ["assistance"]
ai_notice = "{NOTICE}"
"""


@pytest.fixture(scope="module")
def place(pressed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A box that masks for searching, makes pseudonyms for classification, and tells persons for assistance."""
    folder = tmp_path_factory.mktemp("obliged")
    shutil.copytree(pressed.with_name("box-auditor"), folder / "box-auditor")
    box = Path(shutil.copytree(pressed, folder / "box"))
    settings = box / "sealpress.toml"
    text = settings.read_text("utf-8").replace('"licence"]', '"licence", "ai-act"]')
    settings.write_text(text + PARAMETERS, "utf-8")
    return box


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Served]:
    with Served(place) as server:
        yield server


def payloads(box: Path) -> list[Any]:
    auditor = box.with_name("box-auditor") / "auditor.key"
    read = json.loads(command(box, "journal", "read", "--auditor-key", auditor))["records"]
    return [one["payload"]["value"] for one in read if one["kind"] == "allowed" and one.get("payload")]


def test_a_masked_call_over_http(server: Served) -> None:
    key = server.key("--purpose", "search")
    answer = server.embed(key, [TEXT, "the ward"])
    assert answer.status_code == 200
    assert answer.headers["X-Redacted"] == "email"
    assert answer.headers["X-Attribution"] == answer.json()["attribution"] == ATTRIBUTION
    assert "X-AI-Notice" not in answer.headers
    assert "ai_notice" not in answer.json()
    masked = server.embed(key, [f"write to {MASK} about the ward", "the ward"])
    assert answer.json()["data"] == masked.json()["data"]  # the model saw this and nothing else
    assert "X-Redacted" not in masked.headers

    opened, closed = records(server.box)[answer.headers["X-Decision-Id"]]
    assert opened["call"]["data"] == []
    assert opened["call"]["sanitised"] == {"kind": "redact", "data": ["email"]}
    assert [one["kind"] for one in opened["obligations"]] == ["redact", "attribution"]
    assert closed["outcome"]["ok"]
    assert payloads(server.box)[-2]["texts"] == [f"write to {MASK} about the ward", "the ward"]
    assert holds(server.box, CANARY) == []
    assert not any(CANARY in line for line in server.log)
    assert CANARY not in server.metrics()


def test_an_unchanged_client_finds_it_in_the_raw_response(server: Served) -> None:
    with server.client(server.key("--purpose", "search")) as client:
        raw = client.embeddings.with_raw_response.create(model=MODEL, input=TEXT)
    assert raw.headers["X-Redacted"] == "email"
    assert len(raw.parse().data) == 1


def test_a_refusal_is_one_and_carries_nothing(server: Served) -> None:
    key = server.key("--purpose", "search")
    for one, context in ((key, {"x_data": "health"}), (server.key("--purpose", "product"), {})):
        answer = server.embed(one, TEXT, **context)
        problem(answer, 403, "denied")
        assert not {"x-redacted", "x-attribution", "x-ai-notice"} & set(answer.headers)
    refused = problem(server.embed(key, TEXT, x_data="health"), 403, "denied")
    assert {one["rule"] for one in refused["findings"] if not one["ok"]} == {"gdpr.special", "privacy.redact"}
    assert CANARY not in json.dumps(refused)


def test_where_persons_meet_the_system_the_answer_says_so(server: Served) -> None:
    answer = server.embed(server.key("--purpose", "assistance"), "where is the ward?")
    assert answer.headers["X-AI-Notice"] == ENCODED
    assert answer.headers["X-Attribution"] == ATTRIBUTION
    assert (answer.json()["ai_notice"], answer.json()["attribution"]) == (NOTICE, ATTRIBUTION)


def test_the_other_protocols_say_it_in_the_body_too(server: Served) -> None:
    asked = bearer(server.key("--purpose", "assistance"))
    given = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["where is the ward?"]}]}
    infer = server.http.post(f"/v2/models/{MODEL}/infer", json=given, headers=asked)
    predict = server.http.post(f"/v1/models/{MODEL}/predict", json={"inputs": "where is the ward?"}, headers=asked)
    said = {"attribution": ATTRIBUTION, "ai_notice": NOTICE}
    assert infer.json()["parameters"] == said, infer.text[:200]
    assert {name: predict.json()[name] for name in said} == said, predict.text[:200]


def test_pseudonyms_over_http_need_a_person_and_a_basis(server: Served) -> None:
    key = server.key("--purpose", "classification")
    context = {"x_legal_basis": "contract", "x_subject": "patient-7"}
    answer = server.embed(key, TEXT, **context)
    assert answer.status_code == 200, answer.text
    assert answer.headers["X-Pseudonymised"] == "email"
    (text,) = payloads(server.box)[-1]["texts"]
    assert text.startswith("write to \u27e8email:")
    nobody = problem(server.embed(key, TEXT, x_legal_basis="contract"), 403, "denied")
    assert [one["rule"] for one in nobody["findings"] if not one["ok"]] == ["gdpr.pseudonymise"]
    baseless = problem(server.embed(key, TEXT, x_subject="patient-7"), 403, "denied")
    assert {one["rule"] for one in baseless["findings"] if not one["ok"]} == {"gdpr.pseudonymise", "privacy.basis"}


def test_the_command_and_the_embedded_call_do_the_same(server: Served, sealpress: Run) -> None:
    box = server.box
    run = ("run", "minilm.bundle", "--text", TEXT, "--purpose")
    said = sealpress(*run, "search", cwd=box)
    assert said.returncode == 0, said.stderr
    assert "Masked before the model ran: email" in said.stdout
    assert f"Attribution: {ATTRIBUTION}" in said.stdout
    found = json.loads(command(box, *run, "assistance", "--basis", "contract"))
    assert found["obligations"] == [
        {"kind": "attribution", "text": ATTRIBUTION},
        {"kind": "ai_notice", "text": NOTICE},
    ]
    model = front.load(box / "minilm.bundle", box / "sealpress.toml")
    answer = model.ask({"texts": [TEXT]}, Context(purpose="search"))
    assert [(one.kind, one.text) for one in answer.obligations] == [("redact", "email"), ("attribution", ATTRIBUTION)]
    masked = model.embed(f"write to {MASK} about the ward", purpose="search")
    assert np.array_equal(answer.outputs["embedding"], masked)
    with pytest.raises(front.Denied):
        model.embed(TEXT, purpose="product")
    assert holds(box, CANARY) == []


def test_the_journal_holds_and_the_report_counts(server: Served, sealpress: Run) -> None:
    key = server.key("--purpose", "search")
    assert server.embed(key, TEXT).status_code == 200
    assert server.end() == 0
    assert not any(CANARY in line for line in server.log)
    assert verified(server.box)["ok"]
    auditor = server.box.with_name("box-auditor") / "auditor.key"
    out = server.box.parent / "report"
    assert sealpress("audit", "report", "--auditor-key", auditor, "--out", out, cwd=server.box).returncode == 0
    page = (out / "report.html").read_text("utf-8")
    assert "email (masked)" in page
    assert "email (pseudonyms)" in page
    assert CANARY not in page
