"""Who may ask, over a real server with TLS: keys with scopes, tokens, client certificates, and the limits of each."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import openai
import pytest

from compliance.state.api_key_table import Defaults, Terms
from compliance.state.api_keys import ApiKeys
from serve.answer import SECURE
from tests.certificates import Authority, Pair
from tests.e2e.served import MODEL, Served, bearer, command, problem, records
from tests.issuers import ISSUER, jwk, said, token, write_jwks

SETTINGS = f"""
[serve.tls]
certificate = "server.pem"
key = "server.key"
client_ca = "authority.pem"

[serve.jwt]
jwks = "jwks.json"
issuer = "{ISSUER}"
audience = "sealpress"
tenant_claim = "org"
models_claim = "models"
purposes_claim = "purposes"
regions_claim = "regions"
"""
MINILM = {"models": ["all-MiniLM-*"]}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(pressed: Path, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("identity")
    box = Path(shutil.copytree(pressed, folder / "box"))
    shutil.copytree(pressed.with_name("box-auditor"), folder / "box-auditor")
    for file in (authority.file, *authority.certified("server", server=True)):
        shutil.copy(file, box)
    write_jwks(box / "jwks.json", jwk("EdDSA"), jwk("ES256"))
    with (box / "sealpress.toml").open("a") as settings:
        settings.write(SETTINGS)
    with Served(box, verify=ssl.create_default_context(cafile=str(authority.file))) as server:
        yield server
        began = time.monotonic()
        assert server.end() == 0
        # also where clients still hold connections, and say no goodbye
        assert time.monotonic() - began < 10
        log = "".join(server.log)
        assert "nurse" not in log
        assert [line for line in server.log if not isinstance(json.loads(line), dict)] == []


def new_key(server: Served, *, search: bool = True, **options: Any) -> dict[str, Any]:
    """A key for the purpose of searching, made without waiting for a command."""
    given = {name: options.pop(name) for name in ("calls", "certificate") if name in options}
    defaults = Defaults(purpose="search" if search else None, region=options.pop("region", None))
    with closing(ApiKeys(server.box / "state")) as keys:
        made, text = keys.create(time.time_ns(), Terms(defaults=defaults, **options), **given)
    return {"id": made.id, "key": text}


def by_token(server: Served, text: str, **headers: str) -> httpx.Response:
    return server.embed({"key": text}, "the ward", **headers)


def client_with(server: Served, authority: Authority, pair: Pair) -> httpx.Client:
    trusting = ssl.create_default_context(cafile=str(authority.file))
    trusting.load_cert_chain(*pair)
    return httpx.Client(base_url=server.url, timeout=60, trust_env=False, verify=trusting)


def ask(client: httpx.Client, **headers: str) -> httpx.Response:
    body = {"model": MODEL, "input": "the ward"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/v1/embeddings", json=body, headers=named)


def refused_by(answer: httpx.Response) -> list[str]:
    return [finding["rule"] for finding in problem(answer, 403, "denied")["findings"] if not finding["ok"]]


def test_it_serves_over_tls_and_says_so(server: Served, authority: Authority) -> None:
    assert server.url.startswith("https://")
    with server.client(server.key("--purpose", "search")) as client:
        assert len(client.embeddings.create(model=MODEL, input="the ward").data) == 1
    # who does not speak TLS is not understood
    with socket.create_connection((httpx.URL(server.url).host, httpx.URL(server.url).port or 0), timeout=5) as bare:
        bare.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP" not in bare.recv(100)


def test_every_answer_is_guarded(server: Served) -> None:
    key = new_key(server)
    answers = [
        server.http.get("/livez"),
        server.http.get("/metrics"),
        server.http.get("/nowhere"),
        server.http.get("/v1/models"),
        server.http.delete("/v1/models"),
        server.embed(key, "the ward"),
        server.embed(key, "jane.doe@example.org"),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 404, 401, 405, 200, 403]
    guards = (*SECURE, (b"strict-transport-security", b"max-age=31536000"))
    for answer in answers:
        for name, value in guards:
            assert answer.headers.get_list(name.decode()) == [value.decode()]
    with connected(server) as bare:
        bare.sendall(b"no request\r\n\r\n")
        head = bare.recv(10_000).partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert head[0] == b"HTTP/1.1 400 Bad Request"
    assert {b": ".join(guard) for guard in guards} <= set(head)


@contextmanager
def connected(server: Served) -> Iterator[ssl.SSLSocket]:
    """A connection on which anything can be sent."""
    url, trusting = httpx.URL(server.url), ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((url.host, url.port or 0), timeout=5) as bare,
        trusting.wrap_socket(bare, server_hostname="localhost") as secured,
    ):
        yield secured


def test_a_key_for_one_model_sees_and_reaches_that_one(server: Served) -> None:
    here, elsewhere = (new_key(server, models=(name,)) for name in (f"{MODEL}@*", "triage"))
    assert [one["id"] for one in server.http.get("/v1/models", headers=bearer(here)).json()["data"]] == [MODEL]
    assert server.http.get("/v1/models", headers=bearer(elsewhere)).json()["data"] == []
    assert server.embed(here, "the ward").status_code == 200
    problem(server.embed(elsewhere, "the ward"), 403, "scope_model")
    problem(server.http.get(f"/v1/models/{MODEL}", headers=bearer(elsewhere)), 403, "scope_model")
    with server.client(elsewhere) as client, pytest.raises(openai.PermissionDeniedError) as caught:
        client.embeddings.create(model=MODEL, input="the ward")
    assert caught.value.code == "scope_model"


def test_a_key_for_one_purpose_and_region_is_for_no_other(server: Served) -> None:
    key = new_key(server, search=False, purposes=("search",), regions=("DE",), region="DE")
    assert server.embed(key, "the ward", x_purpose="search").status_code == 200
    problem(server.embed(key, "the ward"), 403, "scope_purpose")
    problem(server.embed(key, "the ward", x_purpose="product"), 403, "scope_purpose")
    problem(server.embed(key, "the ward", x_purpose="search", x_region="US"), 403, "scope_region")


def test_a_quota_ends_and_its_end_is_on_record(server: Served) -> None:
    key = new_key(server, calls=3)
    # what the gate refuses, or no model could take, is not counted
    assert refused_by(server.embed(key, "jane.doe@example.org")) == ["privacy.basis"]
    problem(server.embed(key, ""), 400, "input_empty")
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: server.embed(key, "the ward"), range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [403] * 5
    refusals = [answer for answer in answers if answer.status_code == 403]
    assert [refused_by(answer) for answer in refusals] == [["base.quota"]] * 5
    with closing(ApiKeys(server.box / "state")) as keys:
        (listed,) = (one for one in keys.all() if one.key.id == key["id"])
    assert (listed.used, listed.seen is not None) == (3, True)
    found = records(server.box)
    for answer in answers:
        call = found[answer.headers["x-decision-id"]][0]["call"]
        assert (call["quota"], call["usage"] < 3) == (3, answer.status_code == 200)


def test_a_rotated_key_and_its_successor_share_what_there_is(server: Served) -> None:
    old = new_key(server, calls=3)
    assert server.embed(old, "the ward").status_code == 200
    new = json.loads(command(server.box, "key", "rotate", old["id"], "--overlap", "3s"))
    assert server.embed(old, "the ward").status_code == server.embed(new, "the ward").status_code == 200
    assert refused_by(server.embed(new, "the ward")) == ["base.quota"]
    time.sleep(3)
    problem(server.embed(old, "the ward"), 401, "api_key_expired")
    assert refused_by(server.embed(new, "the ward")) == ["base.quota"]


def test_a_key_with_a_rate_of_its_own_is_held_to_it(server: Served) -> None:
    key = new_key(server, rate_per_s=0.01, burst=2)
    assert [server.embed(key, "the ward").status_code for _ in range(2)] == [200, 200]
    answer = server.embed(key, "the ward")
    problem(answer, 429, "rate_exceeded")
    assert 90 <= int(answer.headers["retry-after"]) <= 100


def test_no_more_calls_run_than_the_key_may_have_at_once(server: Served) -> None:
    key, go = new_key(server, concurrent=1), Event()

    def slowly() -> Iterator[bytes]:
        yield b'{"model": "%s", ' % MODEL.encode()
        go.wait(30)
        yield b'"input": "the ward"}'

    def first() -> httpx.Response:
        return server.http.post("/v1/embeddings", content=slowly(), headers=bearer(key))

    with ThreadPoolExecutor(1) as pool:
        inside = pool.submit(first)
        for _ in range(200):
            answer = server.http.get("/v1/models", headers=bearer(key))
            if answer.status_code == 429:
                break
            time.sleep(0.02)
        problem(answer, 429, "concurrency_exceeded")
        assert answer.headers["retry-after"] == "1"
        go.set()
        assert inside.result().status_code == 200
    assert server.embed(key, "the ward").status_code == 200


def test_a_client_that_goes_away_leaves_its_place(server: Served) -> None:
    key = new_key(server, concurrent=1)
    head = f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key['key']}\r\nContent-Length: 9\r\n\r\n"
    with connected(server) as gone:
        gone.sendall(head.encode())
        until(lambda: server.http.get("/v1/models", headers=bearer(key)).status_code == 429)
    until(lambda: server.http.get("/v1/models", headers=bearer(key)).status_code == 200)


def until(condition: Any) -> None:
    for _ in range(200):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come to that")


def test_a_token_of_the_issuer_opens_what_it_says(server: Served) -> None:
    answer = by_token(server, token(said(**MINILM)), x_purpose="search", x_region="DE")
    assert answer.status_code == 200
    call = records(server.box)[answer.headers["x-decision-id"]][0]["call"]
    assert (call["actor"], call["tenant"], call["region"]) == ("jwt:nurse-7", "clinic", "DE")
    context = {"x_purpose": "search", "x_region": "DE"}
    problem(by_token(server, token(said()), **context), 403, "scope_model")
    problem(by_token(server, token(said(models=[])), **context), 403, "scope_model")
    problem(by_token(server, token(said(**MINILM)), x_region="DE"), 403, "scope_purpose")
    problem(by_token(server, token(said(**MINILM)), x_purpose="search", x_region="US"), 403, "scope_region")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (lambda: token(said(exp=int(time.time()) - 60)), "jwt_expired"),
        (lambda: token(said(aud="billing")), "jwt_audience"),
        (lambda: token(number=3, kid="EdDSA-0"), "jwt_signature"),
        (lambda: token(algorithm="RS256"), "jwt_algorithm"),
        (lambda: "canary.canary.canary", "jwt_malformed"),
    ],
)
def test_a_token_that_does_not_hold_opens_nothing(server: Served, text: Any, code: str) -> None:
    answer = by_token(server, text(), x_purpose="search")
    problem(answer, 401, code)
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert "canary" not in answer.text


def test_the_keys_of_the_issuer_are_changed_while_it_serves(server: Served) -> None:
    context = {"x_purpose": "search", "x_region": "DE"}
    old, new = (token(said(**MINILM), number=number) for number in (0, 1))
    problem(by_token(server, new, **context), 401, "jwt_key")
    write_jwks(server.box / "jwks.json", jwk("EdDSA", 1))
    problem(by_token(server, old, **context), 401, "jwt_key")
    assert by_token(server, new, **context).status_code == 200
    (server.box / "jwks.json").write_text("{")
    answer = by_token(server, new, **context)
    problem(answer, 503, "jwks_malformed")
    assert str(server.box) not in answer.text
    assert server.embed(new_key(server), "the ward").status_code == 200
    write_jwks(server.box / "jwks.json", jwk("EdDSA"), jwk("ES256"))
    assert by_token(server, old, **context).status_code == 200


def test_a_client_certificate_is_a_key_without_a_secret(server: Served, authority: Authority) -> None:
    ours, theirs = authority.certified("ours"), authority.certified("theirs")
    key, other = new_key(server, certificate=ours.der), new_key(server)
    with client_with(server, authority, ours) as client:
        answers = [ask(client), ask(client, **bearer(key)), ask(client, **bearer(other))]
    assert [answer.status_code for answer in answers] == [200] * 3
    found = records(server.box)
    actors = [found[answer.headers["x-decision-id"]][0]["call"]["actor"] for answer in answers]
    assert actors == [key["id"], key["id"], other["id"]]
    with client_with(server, authority, theirs) as client:
        problem(ask(client), 401, "api_key_certificate")
        problem(ask(client, **bearer(key)), 401, "api_key_bound")
    problem(server.embed(key, "the ward"), 401, "api_key_bound")
    problem(ask(server.http), 401, "api_key_missing")
    with closing(ApiKeys(server.box / "state")) as keys:
        keys.revoke(key["id"], time.time_ns())
    with client_with(server, authority, ours) as client:
        problem(ask(client), 401, "api_key_revoked")


def test_a_certificate_of_another_authority_ends_the_connection(
    server: Served, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger").certified("stranger")
    with client_with(server, authority, stranger) as client, pytest.raises(httpx.TransportError):
        ask(client)
    assert server.http.get("/livez").status_code == 200


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        ('[serve.tls]\ncertificate = "nowhere.pem"\nkey = "server.key"\n', "tls_missing"),
        ('[serve.jwt]\njwks = "nowhere.json"\nissuer = "i"\naudience = "a"\n', "jwks_missing"),
    ],
)
def test_settings_that_secure_nothing_are_said_and_nothing_is_served(
    pressed: Path, tmp_path: Path, sealpress: Any, broken: str, code: str
) -> None:
    box = Path(shutil.copytree(pressed, tmp_path / "box"))
    with (box / "sealpress.toml").open("a") as settings:
        settings.write(f"\n{broken}")
    done = sealpress("serve", "--port", "0", "--json", cwd=box)
    assert (done.returncode, json.loads(done.stdout)["code"]) == (2, code)
