"""The life of a shard: it goes on where it ended, and takes nothing that cannot be written."""

from __future__ import annotations

import gc
import os
import resource
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from weakref import ref

import pytest

from compliance.journal import writer
from compliance.journal.errors import JournalError
from compliance.verify.journal import shards
from compliance.verify.leaf import EPOCH, GAP
from policies.errors import Fault
from policies.facts import Decision, Finding
from policies.payload import Payload
from tests.journals import (
    DONE,
    MODEL,
    OPENING,
    JournalBox,
    a_call,
    ended,
    epoch_leaves,
    heads_of,
    leaves,
    opened,
    refused,
    script,
    whole_call,
)


@pytest.fixture
def book(tmp_path: Path) -> JournalBox:
    """A box with an empty journal."""
    return JournalBox.make(tmp_path / "box")


def test_a_restart_goes_on_with_the_same_tree(book: JournalBox) -> None:
    for round_ in range(1, 4):
        journal = book.journal()
        for _ in range(3):
            whole_call(journal)
        refused(journal)
        journal.close()
        found = book.verify()
        assert (found.allowed, found.refused, found.unfinished, found.unsealed) == (3 * round_, round_, 0, 0)
    assert (shards(book.directory), found.gaps) == (["shard-000"], 0)
    assert [leaf.epoch for leaf in epoch_leaves(book)] == [1, 2, 3]
    last = heads_of(book.heads)[-1]
    assert (last.rules, last.usage) == ({"base.purpose": 3}, {"-/texts": 9})


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
    assert [(leaf.kind, leaf.of_shard, leaf.of_sequence) for leaf in leaves(book.directory / "shard-001.log")] == [
        (EPOCH, 65_535, 0),
        (5, 0, entry.written.sequence),
    ]


def test_a_journal_that_nobody_holds_lets_its_shard_go(book: JournalBox) -> None:
    for _ in range(5):
        journal = book.journal()
        whole_call(journal)
        held = ref(journal)
        del journal
        until = time.monotonic() + 20
        while held() is not None and time.monotonic() < until:  # its thread may just be at work
            gc.collect()
            time.sleep(0.01)
    assert shards(book.directory) == ["shard-000"]
    found = book.verify()
    assert (found.unsealed, found.gaps) == (0, 0)


def test_a_shard_begins_with_a_signed_head_over_nothing(book: JournalBox) -> None:
    """So a log without heads was never made by a crash, and is never gone on with."""
    journal = book.journal()
    opened(journal)
    journal.close()
    assert heads_of(book.heads)[0].size == 0
    book.heads.unlink()
    for _ in range(2):
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
    last = heads_of(book.heads)[-1]
    assert len([rule for rule in last.rules if rule.startswith("mine.")]) == 1000
    assert last.rules["(others)"] == 3000
    book.verify()


def test_a_rule_with_any_name_stands_in_a_head(book: JournalBox) -> None:
    journal = book.journal()
    names = ("two words", "ümlaut", "a\nline", "")
    findings = tuple(Finding(rule=name, ok=False, reason="no") for name in names)
    journal.opened(a_call(journal), MODEL, Decision(allowed=False, findings=findings, policy="x"), Payload(value=None))
    journal.close()
    assert heads_of(book.heads)[-1].rules == {"two%20words": 1, "%C3%BCmlaut": 1, "a%0Aline": 1, "-": 1}
    book.verify()


FULL = (
    OPENING
    + """
import resource, signal
from policies.errors import Failed
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

def room(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def fails(work, code="journal_write"):
    try:
        work()
    except Failed as error:
        assert error.code == code, error.code
        return
    raise AssertionError("written on a full disk")

entry = opened(journal)
refused(journal)  # its salt is on disk from here on
end = box.log.stat().st_size
for free in (0, 1, 11, 100, 300):  # nothing or a part of the record fits
    room(end + free)
    for work in (lambda: opened(journal), lambda: refused(journal), lambda: journal.closed(entry, DONE)):
        fails(work)
        assert box.log.stat().st_size == end, (free, box.log.stat().st_size)
        assert box.verify().records == 3
room(resource.RLIM_INFINITY)
journal.closed(entry, DONE)
for _ in range(3):
    journal.checkpoint()
    whole_call(journal)

heads = box.heads.read_bytes()
assert len(heads) > box.log.with_suffix(".nodes").stat().st_size + 500
for free in (0, 1, 100):  # of the files that a checkpoint writes, only the heads are limited here
    room(len(heads) + free)
    fails(journal.checkpoint)
    assert box.heads.read_bytes() == heads
    assert box.verify().unsealed == 2
    fails(lambda: opened(journal))  # nothing runs while no head can be signed
room(resource.RLIM_INFINITY)
whole_call(journal)
journal.close()

room(box.log.stat().st_size)
fails(lambda: opened(journal), "state_broken")
fails(lambda: journal.now(), "state_broken")
room(resource.RLIM_INFINITY)
whole_call(journal)
journal.close()
print("done")
"""
)


def test_on_a_full_disk_nothing_is_written_and_nothing_runs(book: JournalBox) -> None:
    assert ended(script(FULL, book.folder)) == "done\n"
    found = book.verify()
    assert (found.allowed, found.unfinished, found.unsealed, found.gaps) == (6, 0, 0, 0)
    assert len(book.read()) == 13
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
    for path in (book.log, book.heads, book.log.with_suffix(".nodes")):
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


def test_a_link_in_the_place_of_a_log_is_not_followed(book: JournalBox, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.touch()
    book.log.symlink_to(elsewhere)
    with pytest.raises(JournalError) as failed:
        opened(book.journal())
    assert failed.value.code == "journal_write"
    assert elsewhere.read_bytes() == b""


def test_without_descriptors_nothing_is_written_and_none_is_lost(book: JournalBox) -> None:
    journal = book.journal()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    gc.collect()  # so that no other test's files are closed in between
    before = len(list(Path("/proc/self/fd").iterdir()))
    for free in range(6):
        resource.setrlimit(resource.RLIMIT_NOFILE, (before + 50, hard))
        taken = list(_every_descriptor())
        for _ in range(free):
            os.close(taken.pop())
        try:
            with pytest.raises(Fault):
                opened(journal)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for descriptor in taken:
                os.close(descriptor)
    whole_call(journal)
    journal.close()
    assert shards(book.directory) == ["shard-000"]
    assert [leaf.kind for leaf in leaves(book.log)].count(GAP) == 0
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def _every_descriptor() -> Iterator[int]:
    with suppress(OSError):
        while True:
            yield os.open("/dev/null", os.O_RDONLY)


def test_the_lag_is_that_of_the_oldest_record_without_a_head(book: JournalBox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "HEAD_SECONDS", 3600.0)
    journal = book.journal()
    assert journal.lag == (0, 0.0)
    whole_call(journal)
    began = time.monotonic()
    records, _ = journal.lag
    assert records == len(leaves(book.log))
    time.sleep(0.05)
    whole_call(journal)
    more, waited = journal.lag
    assert (more, waited >= time.monotonic() - began >= 0.05) == (records + 2, True)
    journal.checkpoint()
    assert journal.lag == (0, 0.0)
    whole_call(journal)
    assert journal.lag[1] < waited
    journal.close()
