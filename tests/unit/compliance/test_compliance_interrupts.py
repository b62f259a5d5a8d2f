"""A write that is interrupted at any line leaves a journal to go on with."""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from compliance.verify.journal import shards
from tests.journals import JournalBox, call_ids, whole_call


class Stopped(BaseException):
    """As KeyboardInterrupt, but nothing else raises it."""


def _stopped_at(number: int, functions: set[str], work: Callable[[], object]) -> bool:
    """Do the work, but raise Stopped at this line inside of these functions. False when it ended before.

    Nothing is raised where a `with` ends or a `try` begins: no instruction stands there that an interrupt could stop.
    """
    left = number

    def local(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        inside = event == "line" and frame.f_code.co_name in functions
        if inside and not linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip().startswith(
            ("with ", "try:")
        ):
            left -= 1
            if left == 0:
                raise Stopped
        return local

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        return local if "compliance/journal" in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except Stopped:
        return True
    finally:
        sys.settrace(before)
    return False


def test_an_interrupt_at_any_line_of_a_write_leaves_a_journal_to_go_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fdatasync", lambda _: None)
    book = JournalBox.make(tmp_path / "box")
    journal = book.journal()
    functions = {"_write", "_append", "_put", "_new_epoch", "append", "append_synced"}
    functions |= {"_sign", "sync", "counted", "sign"}
    ids = {whole_call(journal)}

    def work() -> None:
        journal.checkpoint()
        ids.add(whole_call(journal))

    stops = 0
    for number in count(1):
        if not _stopped_at(number, functions, work):
            break
        stops += 1
        ids.add(whole_call(journal))
        if stops % 10 == 0:
            book.verify()
    assert stops > 100
    journal.close()
    assert book.verify().unsealed == 0
    begun, closed = call_ids(book.read())
    assert ids <= begun & closed
    assert shards(book.directory) == ["shard-000"]
