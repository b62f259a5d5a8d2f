"""The document as a page: no script, nothing from elsewhere, its one style known to the policy by its hash."""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping
from functools import cache
from html import escape
from importlib import resources
from typing import Any

from serve.openapi.asking import JSON
from serve.openapi.document import document
from serve.openapi.operation import Operation
from serve.openapi.operations import OPERATIONS
from serve.openapi.rows import Row, rows
from serve.problems import MEDIA_TYPE

__all__ = ["POLICY", "page"]

BOX = "http://127.0.0.1:8000"
NAMED = {"name": "all-MiniLM-L6-v2-int8", "version": "1"}

_STYLE = resources.files(__package__).joinpath("page.css").read_text("utf-8")
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@cache
def page() -> bytes:
    """The page in HTML, UTF-8."""
    about = document()["info"]
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_text(about["title"])}: interface</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{_STYLE}</style></head><body><main>",
        f"<h1>{_text(about['title'])}</h1><p>{_text(about['summary'])}</p>",
        *(f"<p>{_marked(paragraph)}</p>" for paragraph in about["description"].strip().split("\n\n")),
        '<p>The same for programs: <a href="/openapi.json">/openapi.json</a>, OpenAPI 3.1.</p>',
        *_contents(),
        *_keys(),
    ]
    tag = None
    for route, operation in OPERATIONS.items():
        if operation.tag != tag:
            tag = operation.tag
            parts.append(f"<h2>{_text(tag)}</h2>")
        parts.extend(_operation(route, operation))
    parts.extend(_codes())
    return "".join((*parts, "</main></body></html>\n")).encode()


def _contents() -> Iterator[str]:
    yield "<nav><ul>"
    for route, operation in OPERATIONS.items():
        yield f'<li><a href="#{operation.id}">{_route(route)}</a></li>'
    yield '<li><a href="#codes">All codes</a></li></ul></nav>'


def _keys() -> Iterator[str]:
    yield "<h2>Who may ask</h2><table><thead><tr><th>How</th><th></th></tr></thead><tbody>"
    for scheme in document()["components"]["securitySchemes"].values():
        how = "<code>Authorization: Bearer KEY</code>" if scheme["type"] == "http" else "TLS client certificate"
        yield f"<tr><td>{how}</td><td>{_marked(scheme['description'])}</td></tr>"
    yield "</tbody></table>"


def _operation(route: str, operation: Operation) -> Iterator[str]:
    method, path = route.split()
    described = document()["paths"][path][method.lower()]
    yield f'<section id="{operation.id}"><h3>{_route(route)}</h3>'
    key = "Needs a key." if operation.keyed else "Needs no key."
    yield f"<p>{_marked(' '.join(filter(None, (operation.summary, operation.text, key))))}</p>"
    yield from _table("Parameters", rows_of(described["parameters"]))
    for media, content in described.get("requestBody", {}).get("content", {}).items():
        yield from _body(f"Body, {media}", content)
    yield f"<h4>Example</h4><pre>{_text(_curl(method, path, operation))}</pre>"
    answer = described["responses"]["200"]
    for media, content in answer["content"].items():
        yield from _body(f"Answer, {media}", content)
    yield from _table("Headers of the answer", headers_of(answer.get("headers", {})))
    yield from _refusals(described["responses"])
    yield "</section>"


def rows_of(parameters: list[dict[str, Any]]) -> Iterator[Row]:
    """Parameters as rows."""
    for one in parameters:
        known = document()["components"]["parameters"][one["$ref"].rpartition("/")[2]] if "$ref" in one else one
        place = "" if known["in"] == "header" else f" in the {known['in']}"
        kind = next(iter(rows(known["schema"], document()))).kind
        yield Row(known["name"], f"{kind}{place}", known.get("required", False), known["description"])


def headers_of(headers: Mapping[str, Any]) -> Iterator[Row]:
    """Headers of answers as rows."""
    for name in headers:
        known = document()["components"]["headers"][name]
        yield Row(name, "", False, known["description"])


def _body(title: str, content: Mapping[str, Any]) -> Iterator[str]:
    if "schema" not in content:
        yield f"<h4>{_text(title)}</h4><p>The JSON, and behind it the bytes of tensors, one after the other.</p>"
        return
    found = [row for row in rows(content["schema"], document()) if row.name]
    yield from _table(title, found)
    if not found:
        yield f"<h4>{_text(title)}</h4>"
    if "example" in content:
        example = content["example"]
        shown = example if isinstance(example, str) else json.dumps(example, indent=2, ensure_ascii=False)
        yield f"<pre>{_text(shown)}</pre>"


def _table(title: str, found: Iterator[Row] | list[Row]) -> Iterator[str]:
    listed = list(found)
    if not listed:
        return
    yield f"<h4>{_text(title)}</h4><table><thead><tr><th>Name</th><th>Meaning</th></tr></thead><tbody>"
    for row in listed:
        kind = ", ".join(filter(None, (row.kind, "required" if row.required else "")))
        text = f"{_marked(row.text)} <small>{_text(kind)}</small>"
        yield f"<tr><td><code>{_text(row.name)}</code></td><td>{text}</td></tr>"
    yield "</tbody></table>"


def _refusals(responses: Mapping[str, Any]) -> Iterator[str]:
    yield "<h4>Other answers</h4><table><thead><tr><th>Status</th><th>Codes</th></tr></thead><tbody>"
    for status, response in responses.items():
        if status == "200":
            continue
        examples = response["content"].get(MEDIA_TYPE, {}).get("examples", {})
        told = ", ".join(f'<a href="#code-{code}"><code>{code}</code></a>' for code in examples)
        title, _, said = response["description"].partition(": ")
        yield f'<tr><td><span class="status">{status}</span> {_text(title)}</td><td>{told or _text(said)}</td></tr>'
    yield "</tbody></table>"


def _codes() -> Iterator[str]:
    yield '<h2 id="codes">All codes</h2><table><thead><tr><th>Code</th><th>What to do</th></tr></thead><tbody>'
    found = {name.partition(".")[2]: one["value"] for name, one in document()["components"]["examples"].items()}
    for code, problem in sorted(found.items()):
        status = f'<span class="status">{problem["status"]}</span>'
        yield f'<tr id="code-{code}"><td><code>{code}</code> {status}</td><td>{_marked(problem["hint"])}</td></tr>'
    yield "</tbody></table>"


def _curl(method: str, path: str, operation: Operation) -> str:
    """How to ask it by hand, in the shell of an operator."""
    url = BOX + path.format(**NAMED)
    for name, query in operation.query.items():
        url += f"?{name}={query.example[0]}"
    lines = [f"curl -s {shlex.quote(url) if '?' in url else url}"]
    if operation.keyed:
        lines.append('-H "Authorization: Bearer $KEY"')
    if (content := operation.bodies.get(JSON)) is not None:
        lines += [f'-H "Content-Type: {JSON}"', f"-d {shlex.quote(json.dumps(content.example))}"]
    elif method == "POST":
        lines.append("-X POST")
    return " \\\n    ".join(lines)


def _route(route: str) -> str:
    method, path = route.split()
    return f'<span class="{method.lower()}">{method}</span> <code>{_text(path)}</code>'


def _text(text: str) -> str:
    return escape(text)


def _marked(text: str) -> str:
    """With what stands between backticks as code."""
    return "".join(f"<code>{part}</code>" if odd % 2 else part for odd, part in enumerate(escape(text).split("`")))
