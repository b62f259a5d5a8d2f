"""The server as a process: its limits, its signals, and that no answer goes out without a sealed record."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Spy
from tests.e2e.served import COMMAND, MODEL, Served, command, made_key, problem, records, until, verified

LONG = ["a long text about nothing in particular. " * 40] * 12


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as pool:
        yield pool


def limited(box: Path, **limits: float) -> Path:
    with (box / "sealpress.toml").open("a") as settings:
        settings.write("\n[serve]\n" + "".join(f"{name} = {value}\n" for name, value in limits.items()))
    return box


def busy(server: Served, waiting: int) -> bool:
    return f'sealpress_queue_depth{{model="{MODEL}"}} {float(waiting)}' in server.metrics()


def test_a_burst_is_answered_and_what_is_over_it_gets_429(box: Path) -> None:
    before = len(records(box))
    with Served(limited(box, burst=3, rate_per_s=0.1)) as server:
        key, other = server.key("--purpose", "search"), server.key("--purpose", "search")
        assert [server.embed(key, "the ward").status_code for _ in range(3)] == [200] * 3
        answer = server.embed(key, "the ward")
        problem(answer, 429, "rate_exceeded")
        assert 1 <= int(answer.headers["retry-after"]) <= 10
        assert server.embed(other, "the ward").status_code == 200
        assert server.end() == 0
    assert len(records(box)) == before + 4  # a flood leaves no record


def test_a_full_queue_is_said_at_once(box: Path, pool: ThreadPoolExecutor) -> None:
    lanes = len(os.sched_getaffinity(0))
    with Served(limited(box, queue=1, burst=1000, rate_per_s=1000)) as server:
        key = server.key("--purpose", "search")
        inside = [pool.submit(server.embed, key, LONG) for _ in range(lanes + 1)]
        until(lambda: busy(server, waiting=1))
        began = time.monotonic()
        answer = server.embed(key, "the ward")
        assert time.monotonic() - began < 5
        problem(answer, 503, "queue_full")
        assert int(answer.headers["retry-after"]) >= 1
        for path in ("/v1/embeddings", f"/v1/models/{MODEL}/predict", f"/v2/models/{MODEL}/infer"):
            # whoever asks, and whatever
            problem(server.http.post(path, content=b"no JSON"), 503, "queue_full")
        name = 'sealpress_requests_total{route="/v1/models/{name:str}/predict",status="503"}'
        assert f"{name} 1.0" in server.metrics()
        assert server.http.get("/v1/models").status_code == 401
        assert server.http.get("/readyz").status_code == 200
        assert [one.result().status_code for one in inside] == [200] * (lanes + 1)
        assert server.embed(key, "the ward").status_code == 200


def test_sigterm_lets_in_no_more_finishes_what_is_inside_and_seals(box: Path, pool: ThreadPoolExecutor) -> None:
    with Served(box) as server:
        key = server.key("--purpose", "search")
        inside = [pool.submit(server.embed, key, LONG) for _ in range(4)]
        until(lambda: busy(server, waiting=4 - len(os.sched_getaffinity(0))))
        os.kill(server.pid, signal.SIGTERM)
        until(lambda: refuses_connections(server))
        answers = [one.result() for one in inside]
        assert server.end() == 0
    assert [answer.status_code for answer in answers] == [200] * 4
    found = verified(box)
    assert (found["ok"], found["unfinished"], found["unsealed"]) == (True, 0, 0)
    assert {answer.headers["x-decision-id"] for answer in answers} <= records(box).keys()


def refuses_connections(server: Served) -> bool:
    try:
        httpx.get(f"{server.url}/livez", trust_env=False, timeout=5)
    except httpx.TransportError:
        return True
    return False


def test_a_head_follows_the_last_record_while_the_server_is_idle(box: Path) -> None:
    with Served(box) as server:
        key = server.key("--purpose", "search")
        for _ in range(3):
            assert server.embed(key, "the ward").status_code == 200
        until(lambda: verified(box)["unsealed"] == 0)
        assert server.end(signal.SIGKILL) == -signal.SIGKILL
    found = verified(box)
    assert (found["ok"], found["unsealed"], found["unfinished"]) == (True, 0, 0)


@pytest.mark.parametrize("after_s", [0.3, 0.8, 1.5])
def test_after_kill_9_every_answered_call_has_its_record(box: Path, pool: ThreadPoolExecutor, after_s: float) -> None:
    with Served(limited(box, burst=100_000, rate_per_s=100_000)) as server:
        key = server.key("--purpose", "search")
        clients: list[Future[list[str]]] = [pool.submit(ask_until_gone, server, key) for _ in range(8)]
        time.sleep(after_s)
        assert server.end(signal.SIGKILL) == -signal.SIGKILL
        answered = [call for client in clients for call in client.result()]
    assert answered
    assert verified(box)["ok"]
    found = records(box)
    for call in answered:
        opened, closed = found[call]
        assert opened["allowed"]
        assert closed["outcome"]["ok"]
    # and the journal goes on
    with Served(box) as server:
        assert server.embed(key, "the ward").status_code == 200
        assert server.end() == 0
    assert verified(box)["ok"]


def ask_until_gone(server: Served, key: dict[str, Any]) -> list[str]:
    answered = []
    while True:
        try:
            answered.append(server.embed(key, "where is the ward?").headers["x-decision-id"])
        except httpx.TransportError:
            return answered


def test_a_journal_that_cannot_be_written_stops_serving_until_it_can(box: Path) -> None:
    with Served(box) as server:
        key = server.key("--purpose", "search")
        assert server.embed(key, "the ward").status_code == 200
        before = len(records(box))
        unlimited = resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        answer = server.embed(key, "the ward")
        problem(answer, 503, "journal_write")
        assert str(box) not in answer.text
        ready = server.http.get("/readyz")
        assert (ready.status_code, ready.json()) == (
            503,
            {"ready": False, "missing": {"journal": "journal_write"}, "warnings": {}},
        )
        assert server.http.get("/livez").status_code == 200
        time.sleep(1.5)
        problem(server.embed(key, "the ward"), 503, "journal_write")
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, unlimited)
        until(lambda: server.http.get("/readyz").status_code == 200)
        assert server.embed(key, "the ward").status_code == 200
        assert server.end() == 0
    assert len(records(box)) == before + 1
    assert verified(box)["ok"]


def test_what_is_refused_never_reaches_the_model(box: Path, spy: Spy) -> None:
    with Served(box, env=spy.env) as server:
        key = server.key()
        problem(server.embed(key, "the ward"), 403, "denied")
        problem(server.embed(key, "jane.doe@example.org", x_purpose="search"), 403, "denied")
        problem(server.embed(key, ""), 400, "input_empty")
        assert spy.runs() == 0
        assert server.embed(key, "the ward", x_purpose="search").status_code == 200
        assert spy.runs() == 1


def test_the_log_says_what_happened_and_nothing_else(box: Path) -> None:
    with Served(box) as server:
        key = server.key("--purpose", "search")
        allowed = server.embed(key, "the ward", x_subject="patient-7")
        server.embed(key, "jane.doe@example.org")
        server.http.get("/v1/models?secret=1")
        server.http.get("/nowhere/secret")
        assert server.end() == 0
    lines = [json.loads(line) for line in server.log]
    seen = [(line["method"], line["route"], line["status"], line.get("code")) for line in lines]
    assert seen == [
        ("POST", "/v1/embeddings", 200, None),
        ("POST", "/v1/embeddings", 403, "denied"),
        ("GET", "/v1/models", 401, "api_key_missing"),
        ("GET", "unmatched", 404, "route_unknown"),
    ]
    assert lines[0].keys() == {"at", "method", "route", "status", "ms", "ms_queue", "ms_lane", "key", "call"}
    assert (lines[0]["key"], lines[0]["call"]) == (key["id"], allowed.headers["x-decision-id"])
    text = "".join(server.log)
    for word in ("secret", "ward", "jane", "patient-7", key["key"]):
        assert word not in text


def test_a_key_is_shown_once_and_its_defaults_are_checked(box: Path) -> None:
    made = made_key(box, "--purpose", "search", "--basis", "contract", "--expires", "90d")
    assert (made["defaults"]["purpose"], made["defaults"]["basis"]) == ("search", "contract")
    assert made["key"].startswith(f"sp_{made['id']}_")
    assert made_key(box, "--expires", "2099-01-31")["expires"] == "2099-01-31T00:00:00+00:00"
    assert made_key(box, "--expires", "2099-01-31T12:00:00+02:00")["expires"] == "2099-01-31T10:00:00+00:00"
    for wrong in (("--purpose", "marketing"), ("--basis", "because"), ("--expires", "soon"), ("--expires", "0d")):
        done = run(box, "key", "create", *wrong, "--json")
        assert (done.returncode, json.loads(done.stdout)["code"]) == (2, "usage")
    done = run(box, "key", "revoke", "0123456789abcdef", "--json")
    assert (done.returncode, json.loads(done.stdout)["code"]) == (1, "api_key_unknown")
    assert command(box, "key", "revoke", made["id"])


def test_what_cannot_be_served_is_said_before_anything_listens(box: Path, tmp_path: Path) -> None:
    for arguments, status, code in (
        (("missing.bundle",), 2, "bundle_not_found"),
        (("minilm.bundle", "minilm.bundle"), 2, "usage"),
        (("--host", "256.1.1.1"), 2, "usage"),
        (("--port", "70000"), 2, "usage"),
        (("--settings", str(tmp_path / "nowhere.toml")), 2, "settings_not_found"),
    ):
        done = run(box, "serve", *arguments, "--json")
        assert (done.returncode, json.loads(done.stdout)["code"]) == (status, code), arguments


def test_a_port_that_is_taken_is_said(box: Path) -> None:
    with Served(box) as server:
        done = run(box, "serve", "--port", server.url.rpartition(":")[2], "--json")
        assert (done.returncode, json.loads(done.stdout)["code"]) == (2, "usage")


def test_without_the_extra_the_command_says_what_to_install(box: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "litestar.py").write_text("raise ModuleNotFoundError(\"No module named 'litestar'\", name='litestar')\n")
    done = run(box, "serve", "--json", env={**os.environ, "PYTHONPATH": str(blocked)})
    said = json.loads(done.stdout)
    assert (done.returncode, said["code"]) == (2, "extra_missing")
    assert "sealpress[serve]" in said["message"]


def run(box: Path, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments], cwd=box, env=env, check=False, capture_output=True, text=True, timeout=60
    )
