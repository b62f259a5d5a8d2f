"""Bad input over HTTP: the right status, a stable code, and nothing of it in an error, in the log, or on disk."""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.served import MODEL, Served, bearer, command, holds, problem

CANARY = "CANARYQ7Z"
CHUNKED = b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer KEY\r\nTransfer-Encoding: chunked\r\n\r\n"
LARGE = 8_000_001


@pytest.fixture(scope="module")
def server(pressed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all of it. In the end nothing that it wrote anywhere holds the canary."""
    folder = tmp_path_factory.mktemp("hostile")
    box = Path(shutil.copytree(pressed, folder / "box"))
    with (box / "sealpress.toml").open("a") as settings:
        settings.write("\n[serve]\nrate_per_s = 1e6\nburst = 1000000\n")
    with Served(box) as server:
        yield server
        assert server.end() == 0
        assert server.log
        assert [line for line in server.log if CANARY.lower() in line.lower()] == []
        assert [line for line in server.log if not isinstance(json.loads(line), dict)] == []
        assert holds(folder, CANARY) == []


@pytest.fixture(scope="module")
def key(server: Served) -> dict[str, Any]:
    return server.key("--purpose", "search")


def post(server: Served, key: dict[str, Any], body: bytes, **headers: str) -> httpx.Response:
    answer = server.http.post("/v1/embeddings", content=body, headers={**bearer(key), **headers})
    assert CANARY not in answer.text
    assert CANARY not in str(answer.headers)
    return answer


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "request_malformed"),
        (b"{", "request_malformed"),
        (CANARY.encode(), "request_malformed"),
        (b'{"model": "m", "input": "' + CANARY.encode(), "request_malformed"),
        (b'{"model": "m", "input": NaN}', "request_malformed"),
        (b'{"model": "m", "input": [-Infinity]}', "request_malformed"),
        (b'{"model": "m", "input": "\xff\xfe' + CANARY.encode() + b'"}', "request_malformed"),
        (b"\x00" * 1000, "request_malformed"),
        (b"[" * 1_000_000, "request_type"),
        (b"null", "request_type"),
        (b"[]", "request_type"),
        (b"{}", "request_type"),
        ({"model": MODEL}, "request_type"),
        ({"model": MODEL, "input": 1}, "request_type"),
        ({"model": MODEL, "input": None}, "request_type"),
        ({"model": MODEL, "input": [1, 2, 3]}, "request_tokens"),
        ({"model": MODEL, "input": [[CANARY]]}, "request_tokens"),
        ({"model": MODEL, "input": {CANARY: CANARY}}, "request_type"),
        ({"model": [CANARY], "input": "a"}, "request_type"),
        ({"model": MODEL, "input": CANARY, CANARY: CANARY}, "request_type"),
        ({"model": MODEL, "input": CANARY, "encoding_format": CANARY}, "request_type"),
        ({"model": MODEL, "input": ""}, "input_empty"),
        ({"model": MODEL, "input": []}, "input_empty"),
        ({"model": MODEL, "input": [CANARY, " "]}, "input_empty"),
        ({"model": MODEL, "input": "half of a character: \ud83d " + CANARY}, "request_malformed"),
    ],
    ids=range(25),
)
def test_a_body_that_cannot_be_taken(server: Served, key: dict[str, Any], body: Any, code: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    problem(post(server, key, content), 400, code)


@pytest.mark.parametrize(
    "texts",
    [[CANARY] * 2049, CANARY + "a" * 200_000, [CANARY + "a" * 199_000] * 30],
    ids=["many", "long", "both"],
)
def test_texts_that_are_too_many_or_too_long(server: Served, key: dict[str, Any], texts: Any) -> None:
    problem(post(server, key, json.dumps({"model": MODEL, "input": texts}).encode()), 413, "input_too_large")


def test_a_body_that_is_too_large_is_not_read(server: Served, key: dict[str, Any]) -> None:
    answer = post(server, key, CANARY.encode() + b"a" * LARGE)
    problem(answer, 413, "request_too_large")
    assert answer.headers["connection"] == "close"


def test_a_body_in_chunks_is_read_up_to_the_limit(server: Served, key: dict[str, Any]) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 20 * LARGE:
            sent += 65_536
            yield b"a" * 65_536

    answer = server.http.post("/v1/embeddings", content=endless(), headers=bearer(key))
    problem(answer, 413, "request_too_large")
    assert sent < 4 * LARGE


@pytest.mark.parametrize(
    "name",
    [
        CANARY, "", ".", "..", "../../etc/passwd", "/etc/passwd", "..\\..\\" + CANARY, "minilm.bundle", MODEL + "\x00",
        MODEL.upper(), MODEL + "/", "%2e%2e%2f", CANARY * 10_000, "${jndi:ldap://" + CANARY + "}", "\u202e" + MODEL,
    ],
    ids=range(15),
)  # fmt: skip
def test_a_name_that_no_model_has(server: Served, key: dict[str, Any], name: str) -> None:
    answer = post(server, key, json.dumps({"model": name, "input": CANARY}).encode())
    assert problem(answer, 404, "model_unknown")["error"]["param"] == "model"
    assert len(answer.content) < 1000


@pytest.mark.parametrize(
    "path",
    [
        f"/v1/models/{CANARY}", "/v1/models/..%2f..%2fsealpress.toml", "/v1/models/%2e%2e", "/v1/models/%00",
        "/v1/models/" + "a" * 10_000, "/v1/../sealpress.toml", f"/{CANARY}", "/v1/models/a/b", "//etc/passwd",
        f"/v1/embeddings/{CANARY}?key={CANARY}", "/keys/bundle.key",
    ],
    ids=range(11),
)  # fmt: skip
def test_a_path_that_leads_nowhere(server: Served, key: dict[str, Any], path: str) -> None:
    answer = raw(server, f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key['key']}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert CANARY.encode() not in answer
    assert len(answer) < 2000
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] in ("route_unknown", "model_unknown")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "PROPFIND"])
def test_a_method_that_the_route_does_not_take(server: Served, key: dict[str, Any], method: str) -> None:
    answer = server.http.request(method, "/v1/embeddings", headers=bearer(key))
    problem(answer, 405, "method_unknown")
    assert "POST" in answer.headers["allow"]


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "api_key_missing"),
        ({"Authorization": CANARY}, 401, "api_key_missing"),
        ({"Authorization": f"Basic {CANARY}"}, 401, "api_key_missing"),
        ({"Authorization": f"Bearer {CANARY}"}, 401, "api_key_unknown"),
        ({"Authorization": f"Bearer sp_{CANARY}_{CANARY}"}, 401, "api_key_unknown"),
        ({"Authorization": "Bearer " + "a" * 10_000}, 401, "api_key_unknown"),
        ({"Authorization": "Bearer ' OR 1=1 --"}, 401, "api_key_unknown"),
    ],
    ids=range(7),
)
def test_without_a_good_key(server: Served, headers: dict[str, str], status: int, code: str) -> None:
    answer = server.http.post("/v1/embeddings", content=CANARY.encode(), headers=headers)
    problem(answer, status, code)
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert CANARY not in answer.text


def test_a_key_with_one_other_letter_is_unknown(server: Served, key: dict[str, Any]) -> None:
    text = key["key"]
    wrong = {"key": text[:-1] + ("0" if text[-1] != "0" else "1")}
    problem(server.embed(wrong, "a"), 401, "api_key_unknown")


def test_a_revoked_key_opens_nothing_from_the_next_call_on(server: Served) -> None:
    key = server.key("--purpose", "search")
    assert server.embed(key, "the ward").status_code == 200
    assert json.loads(command(server.box, "key", "revoke", key["id"]))["id"] == key["id"]
    problem(server.embed(key, "the ward"), 401, "api_key_revoked")


def test_a_key_expires_while_the_server_runs(server: Served) -> None:
    key = server.key("--purpose", "search", "--expires", "2s")
    assert server.embed(key, "the ward").status_code == 200
    time.sleep(2)
    problem(server.embed(key, "the ward"), 401, "api_key_expired")


@pytest.mark.parametrize("name", ["X-Purpose", "X-Legal-Basis", "X-Consent", "X-Subject", "X-Region", "Authorization"])
def test_a_header_of_ours_that_comes_twice_is_refused(server: Served, key: dict[str, Any], name: str) -> None:
    headers = [("Authorization", f"Bearer {key['key']}"), (name, "Bearer search"), (name, "Bearer " + CANARY)]
    answer = server.http.get("/v1/models", headers=headers)
    problem(answer, 400, "request_header")
    assert CANARY not in answer.text


@pytest.mark.parametrize("value", [CANARY + "a" * 256, CANARY.encode() + b"\xff"])
def test_a_header_of_ours_that_cannot_be_taken_is_refused(
    server: Served, key: dict[str, Any], value: str | bytes
) -> None:
    pairs: list[tuple[bytes, bytes]] = [
        (b"Authorization", f"Bearer {key['key']}".encode()),
        (b"X-Subject", value if isinstance(value, bytes) else value.encode()),
    ]
    answer = server.http.get("/v1/models", headers=pairs)
    problem(answer, 400, "request_header")
    assert CANARY not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
    ],
)
def test_a_length_that_a_proxy_could_read_otherwise_is_refused(server: Served, headers: bytes) -> None:
    answer = raw(server, b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\nhello")
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert b"connection: close" in answer


@pytest.mark.parametrize("context", ["X-Purpose", "X-Legal-Basis"])
def test_a_context_that_nobody_declared_is_refused_and_not_repeated(
    server: Served, key: dict[str, Any], context: str
) -> None:
    body = json.dumps({"model": MODEL, "input": "the ward"}).encode()
    answer = post(server, key, body, **{context: CANARY})
    problem(answer, 403, "denied")


def test_a_refused_payload_is_nowhere(server: Served, key: dict[str, Any]) -> None:
    body = json.dumps({"model": MODEL, "input": f"{CANARY} jane.doe@example.org"}).encode()
    problem(post(server, key, body), 403, "denied")
    assert holds(server.box, CANARY) == []


def test_an_allowed_payload_is_on_disk_only_sealed(server: Served, key: dict[str, Any]) -> None:
    assert post(server, key, json.dumps({"model": MODEL, "input": CANARY}).encode()).status_code == 200
    assert holds(server.box, CANARY) == []


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n", 431, "request_head"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Canary: a\r\n" * 100_000 + b"\r\n", 431, "request_head"),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", 431, "request_head"),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * 3_000 + b"\r\n", 431, "request_head"),
        (b"GET /livez?" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431, "request_head"),
        (b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431, "request_head"),
        (CHUNKED + b"0\r\n" + b"X-Canary: a\r\n" * 100_000 + b"\r\n", 431, "request_head"),
        (CHUNKED + b"0\r\nX: " + b"a" * 1_000_000, 431, "request_head"),
        (CHUNKED + b"1;" + b"a" * 1_000_000, 431, "request_head"),
        (CHUNKED + b"not a length\r\n", 400, "request_malformed"),
        (CANARY.encode() + b"\r\n\r\n", 400, "request_malformed"),
        (CANARY.encode() + b" / HTTP/1.1\r\nHost: x\r\n\r\n", 400, "request_malformed"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nBad Header: " + CANARY.encode() + b"\r\n\r\n", 400, "request_malformed"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "request_malformed"),
    ],
    ids=range(14),
)
def test_what_is_no_request(server: Served, key: dict[str, Any], sent: bytes, status: int, code: str) -> None:
    answer = raw(server, sent.replace(b"KEY", key["key"].encode()))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert b"application/problem+json" in head
    assert json.loads(body)["code"] == code
    assert CANARY.encode() not in answer


def test_a_body_that_does_not_come_gives_its_place_back(server: Served, key: dict[str, Any]) -> None:
    head = (
        f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key['key']}\r\nContent-Length: 100\r\n\r\n"
    )
    began = time.monotonic()
    answer = raw(server, head.encode() + b'{"model": ')
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"request_incomplete" in answer
    assert time.monotonic() - began < 15


def test_after_all_of_it_the_server_is_well(server: Served, key: dict[str, Any]) -> None:
    assert server.http.get("/readyz").json() == {"ready": True, "missing": {}, "warnings": {}}
    assert server.embed(key, "the ward").status_code == 200


def raw(server: Served, sent: bytes) -> bytes:
    """What the server says to these bytes, until it has said one whole answer or hangs up."""
    url = httpx.URL(server.url)
    with socket.create_connection((url.host, url.port or 0), timeout=20) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # it need not read all of it
            connection.sendall(sent)
        answer = b""
        while True:
            try:
                part = connection.recv(65_536)
            except ConnectionResetError:
                return answer
            answer += part
            head, _, body = answer.partition(b"\r\n\r\n")
            length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: ")]
            if not part or (length and len(body) >= int(length[0].partition(b": ")[2])):
                return answer
