"""The OpenAPI document and the server say the same: routes, codes with their statuses, bodies, answers and headers."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import schemathesis

from compliance.journal.errors import JournalError, NotReadable
from compliance.keys import KeyFault
from compliance.state.errors import StateError
from compliance.witness.errors import WitnessError
from policies.errors import Fault
from serve.head import ASKING, asked_at
from serve.openapi.document import document
from serve.openapi.operations import OPERATIONS
from serve.openapi.page import POLICY, page
from serve.openapi.schemas import mirrored
from serve.problems import STATUSES, status_for
from serve.protocols.forms import Said
from tests.bundles import put_bundle, trusting_box
from tests.serving import Running, serving

DOCUMENT = json.loads(json.dumps(document()))
SCHEMAS = DOCUMENT["components"]["schemas"]
# of these any code may come, since they keep records from being written; the document says so
UNRECORDED = (JournalError, StateError, KeyFault)
ELSEWHERE = {
    *NotReadable.hints.keys() - {"record_unsigned"},  # only who has the key of an auditor meets them
    "api_key_replaced", "api_key_taken", "api_key_terms",  # on the command line
    "method_unknown", "request_head",  # of what is on no route
}  # fmt: skip


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def contents(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every body of an operation, those of problems included."""
    yield from operation.get("requestBody", {}).get("content", {}).items()
    for response in operation["responses"].values():
        yield from response.get("content", {}).items()


def validator(schema: dict[str, Any], schemas: dict[str, Any] = SCHEMAS) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator({**schema, "components": {"schemas": schemas}})


def test_the_document_is_one_of_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    schemathesis.openapi.from_dict(DOCUMENT).validate()


def test_every_schema_is_one_of_json_schema() -> None:
    for schema in SCHEMAS.values():
        jsonschema_rs.meta.validate(schema)


def test_the_document_has_the_routes_of_the_server_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolkit.plan.RUN_S", 0.01)
    box = trusting_box(tmp_path)
    put_bundle(box.folder / "small.bundle", name="small")
    found: list[frozenset[str]] = []

    async def scenario(server: Running) -> None:
        found.append(server.routes)
        for route, operation in operations():
            method, path = route.split()
            answer = await server.http.request(method, path.format(name="small", version="1"))
            # who asks without a key is refused exactly where the document says so
            assert (answer.status_code == 401) == bool(operation["security"]), route

    serving(box, scenario)
    box.journal.close()
    assert found == [{route for route, _ in operations()}]


def test_ids_are_unique() -> None:
    ids = [operation["operationId"] for _, operation in operations()]
    assert len(ids) == len(set(ids))


def test_every_code_stands_at_the_status_that_it_is_answered_with() -> None:
    for _, operation in operations():
        for status, response in operation["responses"].items():
            for content in response["content"].values():
                for reference in content.get("examples", {}).values():
                    example = DOCUMENT["components"]["examples"][reference["$ref"].rpartition("/")[2]]["value"]
                    assert int(status) == example["status"]


def test_every_code_of_every_family_that_is_answered_is_described() -> None:
    described = {code for operation in OPERATIONS.values() for code in operation.codes}
    families = {family for family in STATUSES if isinstance(family, type)} - {Fault, WitnessError, *UNRECORDED}
    known = {code for family in families for code in family.hints}
    assert known - ELSEWHERE - described == set()
    assert {status_for(family, code) for family in UNRECORDED for code in family.hints} == {503}
    # what the table names beside families is a code of one of them
    by_code = {code for code in STATUSES if isinstance(code, str)}
    assert by_code - described - ELSEWHERE - set(WitnessError.hints) == set()


def test_every_example_fits_its_schema() -> None:
    checked = 0
    for route, operation in operations():
        for media, content in contents(operation):
            examples = [content["example"]] if "example" in content else []
            for name in content.get("examples", {}).values():
                examples.append(DOCUMENT["components"]["examples"][name["$ref"].rpartition("/")[2]]["value"])
            for example in examples:
                checked += 1
                errors = [error.message for error in validator(content["schema"]).iter_errors(example)]
                assert errors == [], (route, media)
    assert checked > 200


def test_every_reference_leads_somewhere() -> None:
    references = re.findall(r'"\$ref": "#/components/(\w+)/([^"]+)"', json.dumps(DOCUMENT))
    assert references
    for section, name in references:
        assert name in DOCUMENT["components"][section]


def test_every_body_that_comes_in_has_a_word_on_each_field_and_takes_no_other() -> None:
    waiting = [
        content["schema"]
        for _, operation in operations()
        for content in operation.get("requestBody", {}).get("content", {}).values()
        if "schema" in content
    ]
    seen: set[str] = set()
    while waiting:
        text = json.dumps(waiting.pop())
        for name in set(re.findall(r"#/components/schemas/(\w+)", text)) - seen:
            seen.add(name)
            schema = SCHEMAS[name]
            assert schema["additionalProperties"] is False, name
            assert [field for field, value in schema["properties"].items() if not value.get("description")] == [], name
            waiting.append(schema)
    assert len(seen) > 10


def test_a_field_without_a_word_is_found() -> None:
    words = dict.fromkeys(Said.__struct_fields__, "A word.")
    mirrored(Said, "Same", "The same.", **words)
    for wrong in ({**words, "more": "A word."}, {name: words[name] for name in [*words][1:]}):
        with pytest.raises(ValueError, match="other fields"):
            mirrored(Said, "Other", "Another.", **wrong)


def test_the_headers_of_the_context_are_those_that_are_read() -> None:
    taken = DOCUMENT["components"]["parameters"]
    assert [name.removeprefix("X-").lower().replace("-", "_") for name in taken if name.startswith("X-")] == [
        *Said.__struct_fields__,
        "timeout_ms",
    ]


class Page(HTMLParser):
    """What a browser would make of the page."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src"):
                self.links.append(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def shown() -> Page:
    found = Page()
    found.feed(page().decode())
    return found


def test_the_page_shows_every_route_and_every_code(shown: Page) -> None:
    for route, operation in operations():
        assert operation["operationId"] in shown.ids
        assert " ".join(route.split()) in shown.text
    for name in DOCUMENT["components"]["examples"]:
        assert f"code-{name.partition('.')[2]}" in shown.ids
    assert len(shown.ids) == len(set(shown.ids))


def test_the_page_loads_nothing_runs_nothing_and_its_links_lead_somewhere(shown: Page) -> None:
    assert shown.tags & {"script", "link", "img", "iframe", "object", "form", "base"} == set()
    assert [name for name in shown.attributes if name.startswith("on") or name == "style"] == []
    for link in shown.links:
        assert link == "/openapi.json" or link.removeprefix("#") in shown.ids
    assert "url(" not in page().decode()
    assert "@import" not in page().decode()


def test_the_policy_of_the_page_lets_its_own_style_in_and_nothing_else() -> None:
    (style,) = re.findall(r"<style>(.*?)</style>", page().decode(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    said = dict(part.strip().split(" ", 1) for part in POLICY.split(";"))
    assert said["default-src"] == "'none'"
    assert said["style-src"] == f"'sha256-{digest}'"
    assert "unsafe" not in POLICY


def test_a_route_whose_queue_may_be_full_is_known_to_what_refuses_with_the_head() -> None:
    paths = {route.split()[1] for route, one in OPERATIONS.items() if "queue_full" in one.codes}
    found = {path: asked_at(path.replace("{name}", "a").encode()) for path in paths if "/versions/" not in path}
    assert found == {path: path.replace("{name}", "{name:str}") for path in found}
    assert set(found.values()) == set(ASKING.values())
    for path in (b"/v1/chat/embedding", b"/completions", b"/v1/models/completions", b"/", b""):
        assert asked_at(path) is None
