"""Tokens of time by the command: a request carried by hand, an authority over HTTP, evidence and its verifier."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from compliance.timestamps import MAX_RESPONSE
from tests.authorities import TimeAuthority
from tests.commands import within
from toolkit.new_box import create_box

AUTHORITY = TimeAuthority()


def run(folder: Path, *arguments: str | Path, fails: int = 0) -> Any:
    ran = within(folder, *arguments, "--json")
    assert ran.returncode == fails, ran.stderr
    return json.loads(ran.stdout or ran.stderr)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A box that trusts the authority."""
    box = tmp_path_factory.mktemp("stamped") / "box"
    create_box(box)
    settings = box / "sealpress.toml"
    settings.write_text(settings.read_text("utf-8") + '\n[timestamps]\nroots = ["tsa.pem"]\n', "utf-8")
    (box / "tsa.pem").write_bytes(AUTHORITY.pem)
    return box


@contextmanager
def answering(status: int, answer: bytes | None) -> Iterator[str]:
    """An authority over HTTP that answers each request, or always with these bytes."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = self.rfile.read(int(self.headers["Content-Length"]))
            content = AUTHORITY.answer(request, time.time_ns()) if answer is None else answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing is printed."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/tsa?profile=1"
        finally:
            server.shutdown()
            thread.join()


def test_a_token_that_was_carried_by_hand_goes_into_evidence(box: Path) -> None:
    run(box, "journal", "timestamp", "--request", "head.tsq")
    (box / "head.tsr").write_bytes(AUTHORITY.answer((box / "head.tsq").read_bytes(), time.time_ns()))
    told = run(box, "journal", "timestamp", "--import", "head.tsr")
    assert told["authority"] == "CN=Test authority"
    assert (box / "timestamps" / f"{told['token']}.json").is_file()
    run(box, "journal", "head")
    key: tuple[str | Path, ...] = ("--auditor-key", box.parent / "box-auditor" / "auditor.key")
    run(box, "audit", "evidence", "--out", "e.zip", *key)
    found = run(box, "audit", "verify", "e.zip", "--tsa-root", "tsa.pem")
    assert [(one["token"], one["chain"]) for one in found["timestamps"]] == [(told["token"], True)]
    (box / "thief.pem").write_bytes(TimeAuthority("A thief").pem)
    assert run(box, "audit", "verify", "e.zip", "--tsa-root", "thief.pem", fails=1)["code"] == "timestamp_chain"
    # whoever removes the token beside the journal makes evidence that tells of it all the same
    (box / "timestamps" / f"{told['token']}.json").unlink()
    assert run(box, "audit", "evidence", "--out", "f.zip", *key)["counts"]
    assert run(box, "audit", "verify", "f.zip", fails=1)["code"] == "timestamp_missing"


def test_an_authority_on_the_network_is_asked(box: Path) -> None:
    with answering(200, None) as url:
        told = run(box, "journal", "timestamp", "--url", url)
    assert (box / "timestamps" / f"{told['token']}.json").is_file()


@pytest.mark.parametrize(
    ("status", "answer", "code", "exit_"),
    [
        (302, b"", "timestamp_unreachable", 2),
        (500, b"", "timestamp_unreachable", 2),
        (200, bytes(MAX_RESPONSE + 1), "timestamp_unreachable", 2),
        (200, b"<html>", "timestamp_malformed", 1),
    ],
)
def test_what_is_no_answer_is_not_kept(box: Path, status: int, answer: bytes, code: str, exit_: int) -> None:
    before = sorted((box / "timestamps").glob("*.json"))
    with answering(status, answer) as url:
        assert run(box, "journal", "timestamp", "--url", url, fails=exit_)["code"] == code
    assert sorted((box / "timestamps").glob("*.json")) == before


def test_without_a_root_an_address_or_one_option_nothing_is_asked(box: Path) -> None:
    for url in ("ftp://localhost/", "http://user@localhost/", "http://127.0.0.1:1/"):
        assert run(box, "journal", "timestamp", "--url", url, fails=2)["code"] == "timestamp_unreachable"
    assert within(box, "journal", "timestamp").returncode == 2
    assert within(box, "journal", "timestamp", "--request", "tsa.pem").returncode == 2
    settings = box / "sealpress.toml"
    text = settings.read_text("utf-8")
    for other in (text.replace("tsa.pem", "sealpress.toml"), text.partition("\n[timestamps]")[0]):
        settings.write_text(other, "utf-8")
        assert run(box, "journal", "timestamp", "--url", "http://127.0.0.1:1/", fails=2)["code"] == "timestamp_roots"
    settings.write_text(text, "utf-8")
