"""The box asks a witness that is not one, or that answers what no witness may."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from compliance.journal.errors import JournalError
from compliance.verify.note import Note, cosigned
from compliance.witness.errors import WitnessError, WitnessMissing
from compliance.witness.witnessed import Witnessed
from policies.errors import Fault
from serve import witnessing
from serve.witnessing import Witnessing
from tests.forge import Forge, signer

KEY = signer("witness")


@pytest.fixture
def forge() -> Forge:
    forge = Forge()
    forge.shard().epoch()
    forge.joint()
    return forge


@pytest.fixture
def witnessed(forge: Forge, tmp_path: Path) -> Witnessed:
    forge.write(tmp_path / "journal")
    return Witnessed(tmp_path / "journal", forge.root.public, KEY.public)


@contextmanager
def answering(*answers: bytes, pause_s: float = 0.0) -> Iterator[str]:
    """A server that answers one connection after the other with these bytes, one at a time where it pauses."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for answer in answers:
                try:
                    connected, _ = listening.accept()
                    with connected:
                        connected.recv(65_536)
                        for part in [answer[i : i + 1] for i in range(len(answer))] if pause_s else [answer]:
                            connected.sendall(part)
                            time.sleep(pause_s)
                except OSError:
                    return

        thread = Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def http(status: int, value: Any, **headers: str) -> bytes:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    lines = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
    return f"HTTP/1.1 {status} Said\r\n{lines}Content-Length: {len(content)}\r\n\r\n".encode() + content


def seen(forge: Forge, head: str) -> dict[str, Any]:
    note = cosigned(Note.parsed(head), 1, KEY).written()
    return {"format": 1, "head": note, "certificate": forge.certificates[0]}


def test_a_head_is_kept(forge: Forge, witnessed: Witnessed) -> None:
    with answering(http(200, seen(forge, forge.joints[-1]))) as url:
        assert Witnessing(witnessed, url).exchange() == witnessed.last()


def test_an_older_head_is_no_answer(forge: Forge, witnessed: Witnessed) -> None:
    with answering(http(200, seen(forge, forge.joints[0]))) as url, pytest.raises(WitnessError) as caught:
        Witnessing(witnessed, url).exchange()
    assert caught.value.code == "witness_answer"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-x\r\n\r\n",
        http(302, b"", Location="http://127.0.0.1:1/"),
        http(200, b"{}"),
        http(200, b"[" * 100_000),
        http(200, b" " * 1_000_001),
        http(200, {"format": 1, "head": "x", "certificate": "y", "more": 1}),
        http(409, {"code": "no_such_code"}),
        http(500, b"\xff"),
    ],
)
def test_what_is_no_answer_of_a_witness_is_not_taken(witnessed: Witnessed, answer: bytes) -> None:
    with answering(answer) as url, pytest.raises(WitnessMissing) as caught:
        Witnessing(witnessed, url).exchange()
    assert caught.value.code == "witness_unreachable"
    assert witnessed.last() is None


@pytest.mark.parametrize(
    "url", ["", "file:///etc/hosts", "http://", "http://user@127.0.0.1", "http://127.0.0.1:x", "http://127.0.0.1/?a"]
)
def test_what_is_no_address_is_not_asked(witnessed: Witnessed, url: str) -> None:
    with pytest.raises(WitnessMissing):
        Witnessing(witnessed, url).exchange()


def test_a_witness_that_drips_is_left(witnessed: Witnessed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witnessing, "TIMEOUT_S", 0.3)
    began = time.monotonic()
    with answering(http(200, b" " * 1000), pause_s=0.01) as url, pytest.raises(WitnessMissing):
        Witnessing(witnessed, url).exchange()
    assert time.monotonic() - began < 5


def test_a_refusal_is_said_in_our_words(witnessed: Witnessed) -> None:
    said = {"code": "witness_unknown", "detail": "\x1b[2J"}
    with answering(http(404, said)) as url, pytest.raises(WitnessError) as caught:
        Witnessing(witnessed, url).exchange()
    assert (caught.value.code, str(caught.value)) == ("witness_unknown", f"the witness at {url} refused the head")


def test_a_witness_that_never_has_enough_is_asked_twice(forge: Forge, witnessed: Witnessed) -> None:
    stale = http(409, {"code": "witness_stale", "last": seen(forge, forge.joints[0])})
    with answering(stale, stale) as url, pytest.raises(WitnessError) as caught:
        Witnessing(witnessed, url).exchange()
    assert caught.value.code == "witness_stale"


def test_only_a_head_of_this_box_says_that_it_was_forked(forge: Forge, witnessed: Witnessed) -> None:
    other = Forge()
    other.shard().epoch()
    other.joint()
    stranger = other.joint(key=signer("a stranger"))
    for head, kind, code in (
        (stranger, WitnessError, "witness_answer"),
        (other.joints[-2], JournalError, "journal_forked"),
    ):
        answer = http(409, {"code": "witness_fork", "last": seen(forge, head)})
        with answering(answer) as url, pytest.raises(kind) as caught:
            Witnessing(witnessed, url).exchange()
        assert isinstance(caught.value, Fault)
        assert caught.value.code == code


def test_what_contradicts_the_journal_is_told_though_the_witness_is_silent(forge: Forge, witnessed: Witnessed) -> None:
    other = Forge()
    other.shard().epoch()
    witnessed.keep(cosigned(Note.parsed(other.joint()), 1, KEY).written())
    with pytest.raises(JournalError) as caught:
        Witnessing(witnessed, "http://127.0.0.1:1").exchange()
    assert caught.value.code == "journal_forked"


def test_the_upkeep_goes_on_after_a_failure_and_ends_with_a_fork(
    forge: Forge, witnessed: Witnessed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witnessing, "EVERY_S", 0.0)
    other = Forge()
    other.shard().epoch()
    fork = {"code": "witness_fork", "last": seen(forge, other.joint())}
    answers = http(503, {"code": "queue_full"}), http(200, seen(forge, forge.joints[-1])), http(409, fork)
    failed: list[str] = []
    forked: list[str] = []

    def noting(codes: list[str]) -> Callable[[Fault], None]:
        return lambda fault: codes.append(fault.code)

    with answering(*answers) as url:
        running = Witnessing(witnessed, url)
        asyncio.run(asyncio.wait_for(running.upkeep(noting(failed), noting(forked)), 20))
    assert (failed, forked) == (["witness_unreachable", "journal_forked"], ["journal_forked"])
    assert running.said == "journal_forked"
