"""A server as its operator starts it: a process of its own, asked over HTTP, ended by a signal."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any

import httpx
import openai

from tests.commands import within

COMMAND = Path(sys.executable).with_name("sealpress")
MODEL = "all-MiniLM-L6-v2-int8"

Ask = Callable[..., httpx.Response]


class Served:
    """`with Served(box) as server`: started, ready, and gone at the end. What it writes is kept in `log`.

    `verify` is whose certificates its clients trust, where it serves over TLS.
    """

    def __init__(
        self, box: Path, *bundles: str, env: dict[str, str] | None = None, verify: ssl.SSLContext | bool = True
    ) -> None:
        self.box = box
        self._verify = verify
        self.log: list[str] = []
        self._process = subprocess.Popen(
            [COMMAND, "serve", *bundles, "--port", "0", "--json"],
            cwd=box,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._reader = Thread(target=self.log.extend, args=(self._process.stderr,))
        self._reader.start()
        self.announced: dict[str, Any] = json.loads(self._process.stdout.readline() or "{}")
        if "url" not in self.announced:
            self.end(signal.SIGKILL)
            raise AssertionError((self.announced, self.log))
        self.url: str = self.announced["url"]
        self.pid = self._process.pid
        self.http = httpx.Client(base_url=self.url, timeout=60, trust_env=False, verify=verify)

    def __enter__(self) -> Served:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.http.close()
        if self._process.poll() is None:
            self.end(signal.SIGKILL)

    def key(self, *options: str) -> dict[str, Any]:
        """Make a key for this box, as `sealpress key create` prints it."""
        return made_key(self.box, *options)

    def client(self, key: dict[str, Any], **options: Any) -> openai.OpenAI:
        """OpenAI's own client, as its users make it."""
        transport = openai.DefaultHttpxClient(timeout=60, trust_env=False, verify=self._verify)
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key=key["key"], max_retries=0, http_client=transport, **options
        )

    def embed(self, key: dict[str, Any], texts: object, model: str = MODEL, **headers: str) -> httpx.Response:
        """POST /v1/embeddings with context headers: `x_purpose="search"`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = {"model": model, "input": texts}
        return self.http.post("/v1/embeddings", json=body, headers={**bearer(key), **named})

    def metrics(self) -> str:
        return self.http.get("/metrics").text

    def end(self, how: signal.Signals = signal.SIGTERM, within_s: float = 30) -> int:
        """Send the signal and wait; returns the exit status, negative for a signal that was not handled."""
        self._process.send_signal(how)
        status = self._process.wait(within_s)
        self._reader.join()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()
        return status


def bearer(key: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {key['key']}"}


def made_key(box: Path, *options: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(command(box, "key", "create", *options))
    return made


def command(box: Path, *arguments: str | Path) -> str:
    """What a command prints with --json; it must succeed. It runs in this process, which is not the server's."""
    done = within(box, *arguments, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def verified(box: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(command(box, "journal", "verify"))
    return found


def records(box: Path) -> dict[str, list[dict[str, Any]]]:
    """The records of each call by its id, opened with the auditor's key."""
    auditor = box.with_name("box-auditor") / "auditor.key"
    found: dict[str, list[dict[str, Any]]] = {}
    for record in json.loads(command(box, "journal", "read", "--auditor-key", auditor))["records"]:
        metadata = record["metadata"]
        call = metadata.get("call")
        if call is not None:
            found.setdefault(call["id"] if isinstance(call, dict) else call, []).append(metadata)
    return found


def until(condition: Callable[[], bool], within_s: float = 60) -> None:
    """Wait until it holds."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it did not come to that in time"
        time.sleep(0.02)


def holds(folder: Path, canary: str) -> list[str]:
    """The files below a folder that hold the canary."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and canary.encode() in path.read_bytes()]


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The one check of a refusal: status, form and code, and the error member of a protocol where it belongs."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert (found["status"], found["code"]) == (status, code)
    assert found["title"]
    assert found["detail"]
    assert found["hint"]
    path = answer.request.url.path
    if path.startswith("/v1/"):
        assert found["error"]["code"] == code
        assert found["error"].keys() == {"message", "type", "code", "param"}
    elif path == "/v2" or path.startswith("/v2/"):
        assert found["error"].endswith(found["hint"]) or answer.status_code >= 500
    else:
        assert "error" not in found
    return found
