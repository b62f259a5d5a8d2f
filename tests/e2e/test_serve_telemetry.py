"""Metrics, traces and the log of a real server: of several processes as of one, and nothing of what a client sends."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve.telemetry.metrics import FOLDER
from tests.bundles import put_bundle, trusting_box
from tests.collector import Collector, attributes
from tests.e2e.served import Served, bearer, until
from tests.e2e.test_serve_workers import processes

CANARY = "CANARYQ7Z"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture
def box(tmp_path: Path, collector: Collector) -> Path:
    """A box with a small bundle, that traces."""
    traces = f'traces = {{endpoint = "{collector.endpoint}"}}'
    opened = trusting_box(tmp_path, f"rate_per_s = 100000\nburst = 100000\n{traces}")
    opened.journal.close()
    put_bundle(opened.folder / "small.bundle", name="small")
    return opened.folder


def anew(server: Served, method: str, path: str, **options: Any) -> httpx.Response:
    """On a connection of its own, so that the kernel chooses who answers."""
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as http:
        return http.request(method, path, **options)


def metrics(server: Served) -> dict[str, float]:
    lines = anew(server, "GET", "/metrics").text.splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def folder_of(server: Served) -> Path:
    """Where the processes of this server keep what they count, by the environment of one of them."""
    (name,) = (
        value
        for name, _, value in (
            line.partition(b"=") for line in Path(f"/proc/{processes(server)[0]}/environ").read_bytes().split(b"\0")
        )
        if name == FOLDER.encode()
    )
    return Path(os.fsdecode(name))


def test_any_process_tells_of_all_also_after_one_has_died(box: Path) -> None:
    with Served(box, "--workers", "2") as server:
        folder = folder_of(server)
        assert folder.stat().st_mode & 0o777 == 0o700
        key = server.key("--purpose", "search")
        body = {"model": "small", "input": "where is the ward"}

        def ask(times: int, purpose: str = "search") -> None:
            headers = {**bearer(key), "X-Purpose": purpose}
            for _ in range(times):
                anew(server, "POST", "/v1/embeddings", json=body, headers=headers)

        def counted(status: int) -> set[float]:
            name = f'sealpress_requests_total{{route="/v1/embeddings",status="{status}"}}'
            return {metrics(server)[name] for _ in range(8)}

        ask(40)
        ask(5, "other")
        assert counted(200) == {40}
        assert counted(403) == {5}
        until(lambda: metrics(server)['sealpress_lanes{model="small"}'] == 2)
        found = metrics(server)
        assert found['sealpress_refusals_total{rule="purpose.declared"}'] == 5
        assert found['sealpress_problems_total{code="denied"}'] == 5
        assert found['sealpress_request_seconds_count{route="/v1/embeddings"}'] == 45
        assert found['sealpress_queue_seconds_count{model="small"}'] == 45
        assert found['sealpress_models{state="ready"}'] == 1
        assert {name for name in found if "memory" in name} == {
            f'sealpress_memory_bytes{{worker="{number}"}}' for number in (0, 1)
        }
        # what has died is no part of the state; what it counted stays, and who takes its place goes on from there
        os.kill(processes(server)[0], signal.SIGKILL)
        until(lambda: len(processes(server)) == 2 and anew(server, "GET", "/readyz").json()["warnings"] == {})
        ask(10)
        assert counted(200) == {50}
        assert len(list(folder.glob("counter_*.db"))) == 2
        assert server.end() == 0
    assert not folder.exists()
    workers = [json.loads(line).get("worker") for line in server.log]
    assert set(workers) == {0, 1}


def test_nothing_of_what_a_client_sends_is_told(box: Path, collector: Collector) -> None:
    with Served(box) as server:
        key = server.key("--purpose", "search")
        headers = {
            **bearer(key),
            "X-Subject": CANARY,
            "X-Region": CANARY,
            "X-Data": CANARY.lower(),
            "User-Agent": CANARY,
            "Cookie": CANARY,
            "X-Forwarded-For": CANARY,
            "tracestate": f"a={CANARY}",
            f"X-{CANARY}": CANARY,
        }
        body = {"model": "small", "input": CANARY, "user": CANARY, "metadata": {"override": CANARY}}
        answers = [
            anew(server, "POST", "/v1/embeddings", json=body, headers={**headers, "X-Data": "health"}),
            anew(server, "POST", "/v1/embeddings", json=body, headers=headers),
            anew(server, "POST", "/v1/embeddings", json={**body, "model": CANARY}, headers=headers),
            anew(server, "POST", "/v1/embeddings", json={**body, CANARY: 1}, headers=headers),
            anew(server, "POST", "/v1/embeddings", content=CANARY, headers=headers),
            anew(server, "POST", "/v1/embeddings", json=body, headers={"Authorization": f"Bearer {CANARY}"}),
            anew(server, "POST", f"/v1/models/{CANARY}/predict", json={"inputs": CANARY}, headers=headers),
            anew(server, "POST", "/v1/models/small/predict", json={"inputs": [CANARY]}, headers=headers),
            anew(server, "POST", f"/v2/models/small/versions/{CANARY}/infer", json={}, headers=headers),
            anew(server, "GET", f"/receipts?record={CANARY}&{CANARY}={CANARY}", headers=headers),
            anew(server, "GET", f"/{CANARY}/%2e%2e/{CANARY}?{CANARY}", headers=headers),
            anew(server, CANARY, "/v1/models", headers=headers),
            anew(server, "POST", f"/v2/repository/models/{CANARY}/load", headers=headers),
        ]
        told = anew(server, "GET", "/metrics").text
        os.kill(server.pid, signal.SIGHUP)
        until(lambda: anew(server, "GET", "/readyz").status_code == 200)
        assert server.end() == 0
    assert {answer.status_code for answer in answers} >= {400, 401, 403, 404}
    lines = [json.loads(line) for line in server.log]
    assert sum(line.get("route") == "/v1/embeddings" for line in lines) == 6
    # no method of HTTP: refused before it is a request
    assert [line["code"] for line in lines if line.keys() == {"at", "route", "status", "code"}] == ["request_malformed"]
    assert 'sealpress_problems_total{code="request_malformed"}' in told
    for text in (told, "".join(server.log), *map(repr, collector.requests)):
        assert CANARY.lower() not in text.lower()
    # and it was traced: one span for each request of which a line tells
    traced = [line["trace"] for line in lines if "trace" in line]
    spans = [span for span in collector.spans if span.kind == span.SPAN_KIND_SERVER]
    assert sorted(traced) == sorted(span.trace_id.hex() for span in spans)
    codes = {line["code"] for line in lines if "code" in line and "trace" in line}
    assert codes == {attributes(span)["sealpress.code"] for span in spans if "sealpress.code" in attributes(span)}
