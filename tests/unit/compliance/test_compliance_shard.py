"""The life of a shard: it goes on where it ended, mends what a crash left torn, and takes nothing that was altered."""

from __future__ import annotations

import gc
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from compliance.journal.errors import JournalError
from compliance.verify.journal import shards
from compliance.verify.leaf import EPOCH, GAP, Leaf, Place
from policies.errors import Fault
from policies.facts import Decision, Finding
from policies.payload import Payload
from tests.journals import (
    DONE,
    MODEL,
    OPENING,
    JournalBox,
    a_call,
    bodies,
    call_ids,
    ended,
    epoch_leaves,
    leaves,
    notes_of,
    opened,
    refused,
    script,
    whole_call,
    write_log,
)


@pytest.fixture
def book(tmp_path: Path) -> JournalBox:
    """A box with an empty journal."""
    return JournalBox.make(tmp_path / "box")


# the life of a shard


def test_a_restart_goes_on_with_the_same_tree(book: JournalBox) -> None:
    for round_ in range(1, 4):
        journal = book.journal()
        for _ in range(3):
            whole_call(journal)
        refused(journal)
        journal.close()
        found = book.verify()
        assert (found.allowed, found.refused, found.unfinished, found.unsealed) == (3 * round_, round_, 0, 0)
    assert shards(book.directory) == ["shard-000"]
    assert [leaf.place.epoch for leaf in epoch_leaves(book)] == [1, 2, 3]
    assert '"rules":{"base.purpose":3}' in notes_of(book.heads)[-1]


def test_a_closed_journal_can_be_used_again(book: JournalBox) -> None:
    journal = book.journal()
    journal.close()
    journal.close()
    entry = opened(journal)
    journal.close()
    other = book.journal()
    opened(other)  # takes the shard in which the call was opened
    journal.closed(entry, DONE)
    for each in (journal, other):
        each.close()
    assert book.verify().unfinished == 1
    assert [leaf.place.of_shard for leaf in leaves(book.directory / "shard-001.log")] == [0, 0]


def test_a_journal_that_nobody_holds_lets_its_shard_go(book: JournalBox) -> None:
    for _ in range(5):
        whole_call(book.journal())
        gc.collect()
    assert shards(book.directory) == ["shard-000"]
    assert book.verify().unsealed == 0


def test_a_shard_begins_with_a_signed_head_over_nothing(book: JournalBox) -> None:
    """So a log without heads was never made by a crash, and is never gone on with."""
    journal = book.journal()
    opened(journal)
    journal.close()
    assert notes_of(book.heads)[0].split("\n")[1] == "0"
    book.heads.unlink()
    for _ in range(2):
        with pytest.raises(JournalError) as failed:
            opened(book.journal())
        assert failed.value.code == "journal_broken"
        assert book.failures() == [("shard-000", "head_missing")]


def test_a_crash_before_the_first_head_leaves_an_empty_shard(book: JournalBox) -> None:
    book.log.write_bytes(b"")
    book.heads.write_bytes(b"sealpress.journal/half a head" + bytes(2000))
    journal = book.journal()
    whole_call(journal)
    journal.close()
    assert book.verify().records == 3


@pytest.mark.parametrize("number", [0, 2, 4])
def test_a_signed_record_that_was_altered_is_not_gone_on_with(book: JournalBox, number: int) -> None:
    journal = book.journal()
    whole_call(journal)
    whole_call(journal)
    journal.close()
    parts = bodies(book.log)
    last = parts[number][-1] ^ 1
    write_log(book.log, [*parts[:number], parts[number][:-1] + bytes([last]), *parts[number + 1 :]])
    before = book.log.read_bytes()
    with pytest.raises(JournalError) as failed:
        opened(book.journal())
    assert failed.value.code == "journal_broken"
    assert book.log.read_bytes() == before


def test_a_log_that_lost_signed_records_is_not_gone_on_with(book: JournalBox) -> None:
    journal = book.journal()
    whole_call(journal)
    journal.close()
    whole, heads = book.log.read_bytes(), book.heads.read_bytes()
    for cut in (0, 1, len(whole) // 2, len(whole) - 1):
        book.log.write_bytes(whole[:cut])
        with pytest.raises(JournalError) as failed:
            opened(book.journal())
        assert failed.value.code == "journal_broken"
        assert book.log.read_bytes() == whole[:cut]
    assert book.heads.read_bytes() == heads


def test_a_head_of_a_stranger_is_not_gone_on_with(book: JournalBox, tmp_path: Path) -> None:
    stranger = JournalBox.make(tmp_path / "stranger")
    for box in (book, stranger):
        journal = box.journal()
        whole_call(journal)
        journal.close()
    book.heads.write_bytes(stranger.heads.read_bytes())
    with pytest.raises(JournalError) as failed:
        opened(book.journal())
    assert failed.value.code == "journal_broken"


def test_a_rule_that_comes_and_goes_does_not_swell_the_heads(book: JournalBox) -> None:
    journal = book.journal()
    findings = tuple(Finding(rule=f"mine.rule{number}", ok=False, reason="no") for number in range(2500))
    for _ in range(2):
        journal.opened(
            a_call(journal), MODEL, Decision(allowed=False, findings=findings, policy="x"), Payload(value=None)
        )
    journal.close()
    last = notes_of(book.heads)[-1]
    assert last.count('"mine.') == 1000
    assert '"(others)":3000' in last
    book.verify()


def test_refusals_behind_the_last_head_are_counted_without_their_rules(book: JournalBox) -> None:
    journal = book.journal()
    refused(journal)
    refused(journal)
    journal.close()
    book.heads.write_text("".join(notes_of(book.heads)[:2]), "utf-8")  # as a kill would have left it
    journal = book.journal()
    whole_call(journal)
    journal.close()
    assert '"refused":2,"rules":{"(before a restart)":1,"base.purpose":1}' in notes_of(book.heads)[-1]
    assert book.verify().refused == 2


# stopped in the middle


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_torn_record_is_cut_off_and_said_so(book: JournalBox, share: float) -> None:
    journal = book.journal()
    ids = {whole_call(journal) for _ in range(3)}
    journal.close()
    whole = book.log.read_bytes()
    last = len(bodies(book.log)[-1]) + 20
    book.log.write_bytes(whole + whole[-last:][: max(1, int(last * share))])
    assert book.failures() == [("shard-000/7", "record_truncated")]

    journal = book.journal()
    ids.add(whole_call(journal))
    journal.close()
    found = book.verify()
    assert (found.records, found.allowed, found.unfinished) == (11, 4, 0)
    gap = leaves(book.log)[7]
    assert (gap.place.kind, gap.place.sequence) == (GAP, 7)
    assert gap.metadata == b'{"dropped_bytes": %d, "dropped_head_bytes": 0}' % max(1, int(last * share))
    assert call_ids(book.read()) == (ids, ids)
    assert book.log.read_bytes().startswith(whole)


def test_a_torn_head_is_cut_off_and_said_so(book: JournalBox) -> None:
    journal = book.journal()
    whole_call(journal)
    journal.close()
    whole = book.heads.read_bytes()
    torn = notes_of(book.heads)[-1].encode()[:-1]
    for cut in (1, len(torn) // 2, len(torn)):
        heads = len(notes_of(book.heads))
        book.heads.write_bytes(book.heads.read_bytes() + torn[:cut])
        assert book.failures() == [(f"shard-000 head {heads}", "head_truncated")]
        journal = book.journal()
        whole_call(journal)
        journal.close()
        assert leaves(book.log)[-4].metadata == b'{"dropped_bytes": 0, "dropped_head_bytes": %d}' % cut
    assert book.verify().allowed == 4
    assert book.heads.read_bytes().startswith(whole)


def test_a_torn_tail_longer_than_what_comes_next_is_cut_off_whole(book: JournalBox) -> None:
    journal = book.journal()
    whole_call(journal)
    journal.close()
    for path in (book.log, book.heads):
        with path.open("ab") as file:
            file.write(bytes(100_000) if path == book.heads else b"\x00\x05\x00\x00" + bytes(100_000))
    journal = book.journal()
    whole_call(journal)
    assert book.verify().allowed == 2
    journal.close()
    assert leaves(book.log)[3].metadata == b'{"dropped_bytes": 100004, "dropped_head_bytes": 100000}'


def test_a_crash_while_a_torn_tail_is_mended_is_mended_again(book: JournalBox) -> None:
    journal = book.journal()
    whole_call(journal)
    journal.close()
    # the GAP leaf was written over the torn record, and the process died before the rest was cut off
    gap = Leaf(Place(GAP, 0, 3, 1), b'{"dropped_bytes": 900}', b"").body()
    write_log(book.log, [*bodies(book.log), gap])
    with book.log.open("ab") as file:
        file.write(b"rest of the torn record")
    journal = book.journal()
    whole_call(journal)
    journal.close()
    assert [leaf.place.kind for leaf in leaves(book.log)][3:6] == [GAP, GAP, EPOCH]
    assert book.verify().allowed == 2


class Stopped(BaseException):
    """As KeyboardInterrupt, but nothing else raises it."""


def _stopped_at(line: int, functions: set[str], work: Callable[[], object]) -> bool:
    """Do the work, but raise Stopped at this line event inside of these functions. False when it ended before."""
    left = line

    def local(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if event == "line" and frame.f_code.co_name in functions:
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


def test_an_interrupt_at_any_line_of_a_write_leaves_a_journal_to_go_on_with(book: JournalBox) -> None:
    journal = book.journal()
    functions = {"append", "_write", "_count", "_put", "_append", "_new_epoch", "sign", "_let_go"}
    ids = {whole_call(journal)}

    def work() -> None:
        journal.checkpoint()
        ids.add(whole_call(journal))

    stops = 0
    for line in count(1):
        if not _stopped_at(line, functions, work):
            break
        stops += 1
        ids.add(whole_call(journal))
        assert book.verify().allowed >= len(ids)
    assert stops > 60
    journal.close()
    assert book.verify().unsealed == 0
    begun, closed = call_ids(book.read())
    assert ids <= begun & closed
    assert shards(book.directory) == ["shard-000"]


# a full disk

FULL = (
    OPENING
    + """
import resource, signal
from compliance.journal.errors import JournalError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

def room(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def fails(work):
    try:
        work()
    except JournalError as error:
        assert error.code == "journal_write", error.code
        return
    raise AssertionError("written on a full disk")

entry = opened(journal)
refused(journal)  # its salt is on disk from here on
end = box.log.stat().st_size
for free in (0, 1, 19, 100, 300, 600):  # nothing or a part of the record fits
    room(end + free)
    for work in (lambda: opened(journal), lambda: refused(journal), lambda: journal.closed(entry, DONE)):
        if free < 300 or work.__code__.co_names[0] == "opened":
            fails(work)
            assert box.log.stat().st_size == end, (free, box.log.stat().st_size)
            assert box.verify().records == 3
room(resource.RLIM_INFINITY)
journal.closed(entry, DONE)
whole_call(journal)

heads = box.heads.read_bytes()
for free in (0, 1, 100):  # the heads are the shorter file, so that only they are limited here
    room(len(heads) + free)
    fails(journal.checkpoint)
    assert box.heads.read_bytes() == heads
    assert box.verify().unsealed == 4
room(resource.RLIM_INFINITY)
whole_call(journal)
journal.close()

room(box.log.stat().st_size)
fails(lambda: opened(journal))
fails(lambda: journal.now())
room(resource.RLIM_INFINITY)
whole_call(journal)
journal.close()
print("done")
"""
)


def test_on_a_full_disk_nothing_is_written_and_nothing_runs(book: JournalBox) -> None:
    assert ended(script(FULL, book.folder)) == "done\n"
    found = book.verify()
    assert (found.allowed, found.unfinished, found.unsealed) == (4, 0, 0)
    assert len(book.read()) == 9
    assert shards(book.directory) == ["shard-000"]


@pytest.mark.skipif(os.geteuid() == 0, reason="a read-only folder is no obstacle for root")
def test_in_a_read_only_folder_nothing_is_written(book: JournalBox) -> None:
    book.directory.chmod(0o500)
    try:
        with pytest.raises(JournalError) as failed:
            opened(book.journal())
        assert failed.value.code == "journal_write"
    finally:
        book.directory.chmod(0o700)


def test_where_a_file_stands_in_the_way_nothing_is_written(book: JournalBox) -> None:
    for path in (book.log, book.heads):
        path.unlink(missing_ok=True)
        path.mkdir()
        with pytest.raises(JournalError) as failed:
            opened(book.journal())
        assert failed.value.code == "journal_write"
        path.rmdir()
    journal = book.journal()
    whole_call(journal)
    journal.close()
    assert shards(book.directory) == ["shard-000"]


def test_without_descriptors_nothing_is_written_and_none_is_lost(book: JournalBox) -> None:
    journal = book.journal()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    gc.collect()  # so that no other test's files are closed in between
    before = len(list(Path("/proc/self/fd").iterdir()))
    for free in range(4):
        resource.setrlimit(resource.RLIMIT_NOFILE, (before + 50, hard))
        taken = list(_every_descriptor())
        for _ in range(free):
            os.close(taken.pop())
        try:
            with pytest.raises(Fault) as failed:
                opened(journal)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for descriptor in taken:
                os.close(descriptor)
        assert failed.value.code == ("journal_write" if free < 3 else "state_broken")
    whole_call(journal)
    journal.close()
    assert shards(book.directory) == ["shard-000"]
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def _every_descriptor() -> Iterator[int]:
    with suppress(OSError):
        while True:
            yield os.open("/dev/null", os.O_RDONLY)
