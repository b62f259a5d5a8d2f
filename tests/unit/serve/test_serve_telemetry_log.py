"""The log: whole lines of JSON, whoever reads them or does not, and nothing in them that libraries say of requests."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from threading import Thread
from typing import Any

import pytest

from policies.errors import Failed
from serve.telemetry import log as module
from serve.telemetry.log import Log

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(capfd: pytest.CaptureFixture[str]) -> Lines:
    return lambda: [json.loads(line) for line in capfd.readouterr().err.splitlines()]


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root of `logging`, which gets back what it had."""
    root = logging.getLogger()
    before = root.handlers[:]
    yield root
    root.handlers[:] = before


@contextmanager
def standard_error(descriptor: int) -> Iterator[None]:
    kept = os.dup(2)
    os.dup2(descriptor, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def test_lines_are_written_soon_and_at_the_end_and_tell_the_worker(lines: Lines) -> None:
    with closing(Log(3)) as log:
        log.add({"route": "/livez"})
        time.sleep(4 * module.FLUSH_S)
        (first,) = lines()
        log.failed(Failed("disk", "the disk is full"))
    assert (first["worker"], first["route"]) == (3, "/livez")
    assert abs(first["at"] - time.time()) < 10
    (second,) = lines()
    assert (second["worker"], second["code"], second["reason"]) == (3, "disk", "the disk is full")


def test_alone_there_is_no_worker_in_a_line(lines: Lines) -> None:
    with closing(Log()) as log:
        log.add({"route": "/livez"})
    assert lines()[0].keys() == {"at", "route"}


def test_who_does_not_read_stops_nobody_and_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LINES", 100)
    reading, writing = os.pipe()
    with standard_error(writing), closing(Log()) as log:
        # more than a pipe holds, so that its writer has to wait
        for number in range(40):
            log.add({"number": number, "long": "x" * 4_000})
        time.sleep(4 * module.FLUSH_S)
        began = time.monotonic()
        for number in range(40, 1_000):
            log.add({"number": number, "long": "x" * 4_000})
        assert time.monotonic() - began < 20
        read: list[bytes] = []
        reader = Thread(target=lambda: read.extend(iter(lambda: os.read(reading, 65_536), b"")))
        reader.start()
        log.close()
    os.close(writing)
    reader.join(10)
    os.close(reading)
    told = [json.loads(line) for line in b"".join(read).splitlines()]
    written = [line["number"] for line in told if "number" in line]
    dropped = sum(line.get("dropped_lines", 0) for line in told)
    assert written == sorted(written)
    assert 100 <= len(written) < 1_000
    assert len(written) + dropped == 1_000


def test_nobody_who_reads_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with standard_error(writing), closing(Log()) as log:
        log.add({"route": "/livez"})
    os.close(writing)


def test_processes_that_share_a_pipe_leave_each_others_lines_whole() -> None:
    reading, writing = os.pipe()
    read: list[bytes] = []
    reader = Thread(target=lambda: read.extend(iter(lambda: os.read(reading, 65_536), b"")))
    reader.start()
    with standard_error(writing):
        logs = [Log(number) for number in range(4)]
        for number in range(2_000):
            logs[number % 4].add({"number": number, "long": "x" * (number % 300)})
        for log in logs:
            log.close()
    os.close(writing)
    reader.join(10)
    os.close(reading)
    told = [json.loads(line) for line in b"".join(read).splitlines()]
    assert sorted(line["number"] for line in told) == list(range(2_000))


def test_of_libraries_only_the_place_is_told_and_of_our_own_the_message(lines: Lines, root: logging.Logger) -> None:
    with closing(Log()) as log:
        log.take_over()
        logging.getLogger("sealpress").warning("a call runs under the override %s", "o-1")
        logging.getLogger("asyncio").warning("canary")
        logging.getLogger("asyncio").info("canary")
        try:
            raise ValueError("canary")
        except ValueError:
            logging.getLogger("asyncio").exception("canary %s", "canary")
    own, told, failed = lines()
    assert (own["logger"], own["level"]) == ("sealpress", "warning")
    assert own["reason"] == "a call runs under the override o-1"
    assert told.keys() == {"at", "logger", "level"}
    assert failed["reason"].startswith("ValueError at test_serve_telemetry_log.py:")
    assert "canary" not in json.dumps([told, failed])
