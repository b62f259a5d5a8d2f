"""No record, no run: what is acknowledged is on disk, whatever stops the process, fills the disk or forks."""

from __future__ import annotations

import base64
import gc
import os
import random
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from compliance.crypto import Sealer, Signer
from compliance.journal import writer
from compliance.journal.errors import JournalError
from compliance.journal.reader import Record
from compliance.journal.records import Closed, Noted, Opened, epoch_info, masked_row, next_chain, record_key
from compliance.journal.writer import Journal, create
from compliance.state.salts import Salts, StateError
from compliance.verify.journal import NotVerified, shards
from compliance.verify.leaf import ALLOWED, EPOCH, GAP, Leaf, Place
from policies.errors import Failed, Fault
from policies.facts import Decision, Finding
from policies.payload import InputError, Payload
from tests.conftest import ROOT
from tests.journals import (
    DONE,
    MODEL,
    YES,
    JournalBox,
    a_call,
    bodies,
    epoch_leaves,
    forged_heads,
    leaves,
    notes_of,
    opened,
    refused,
    whole_call,
    write_log,
)

Script = Callable[..., "subprocess.Popen[str]"]

OPENING = """
import os, sys
from pathlib import Path
from tests.journals import *
box = JournalBox(Path(sys.argv[1]))
journal = box.journal()
"""


@pytest.fixture
def book(tmp_path: Path) -> JournalBox:
    """A box with an empty journal."""
    return JournalBox.make(tmp_path / "box")


@pytest.fixture
def script() -> Script:
    """Start Python in a process of its own: `script(source, argument, ...)`; its output is a pipe of text."""

    def start(source: str, *arguments: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-c", source, *map(str, arguments)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def _done(process: Any, seconds: int = 60) -> str:
    """What a script printed. It must end by itself, without an error."""
    out, errors = process.communicate(timeout=seconds)
    assert (process.returncode, errors) == (0, ""), errors
    return str(out)


def _calls(records: list[Record]) -> tuple[set[str], set[str]]:
    """The ids of the calls that were opened, and of those that were closed."""
    begun = {record.metadata.call.id for record in records if isinstance(record.metadata, Opened)}
    return begun, {record.metadata.call for record in records if isinstance(record.metadata, Closed)}


# making and opening


def test_a_journal_is_made_once(book: JournalBox, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in book.folder.rglob("*") if path.is_file()}
    for directory, salts in ((book.directory, tmp_path / "new.sqlite"), (tmp_path / "new", book.salts)):
        with pytest.raises(JournalError) as failed:
            create(directory, book.signer, salts)
        assert failed.value.code == "journal_exists"
    assert {path: path.read_bytes() for path in book.folder.rglob("*") if path.is_file()} == before
    assert {path.name for path in tmp_path.iterdir()} == {"box"}


def test_only_the_owner_reads_what_is_made(book: JournalBox) -> None:
    journal = book.journal()
    whole_call(journal)
    journal.close()
    for path in (book.log, book.heads, book.salts):
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_missing_journal_is_not_made_again(book: JournalBox) -> None:
    for path in book.directory.iterdir():
        path.unlink()
    for _ in range(2):
        with pytest.raises(JournalError) as failed:
            book.journal()
        assert failed.value.code == "journal_missing"
        book.directory.rmdir() if book.directory.exists() else None
    assert not book.directory.exists()


def test_a_journal_of_another_signer_is_refused(book: JournalBox) -> None:
    with pytest.raises(JournalError) as failed:
        Journal(book.directory, Signer.generate(), Sealer(book.opener.public), book.salts)
    assert failed.value.code == "journal_foreign"


def test_without_the_salts_nothing_is_recorded_and_no_table_is_made(book: JournalBox) -> None:
    book.salts.unlink()
    journal = book.journal()
    with pytest.raises(StateError) as failed:
        opened(journal)
    assert failed.value.code == "state_missing"
    journal.close()
    assert not book.salts.exists()
    assert book.verify().allowed == 0


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


# what is recorded


def test_the_epoch_changes_with_the_number_of_records_and_with_time(
    book: JournalBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "EPOCH_RECORDS", 4)
    journal = book.journal()
    for _ in range(4):
        whole_call(journal)
    assert len(epoch_leaves(book)) == 2
    monkeypatch.setattr(writer, "EPOCH_RECORDS", 4096)
    monkeypatch.setattr(writer, "EPOCH_SECONDS", 0)
    whole_call(journal)
    time.sleep(0.01)
    whole_call(journal)
    journal.close()
    assert len(epoch_leaves(book)) >= 4
    assert [leaf.place.epoch for leaf in epoch_leaves(book)] == list(range(1, len(epoch_leaves(book)) + 1))
    assert len(book.read()) == 12


def test_a_call_is_closed_once_and_only_if_it_was_allowed(book: JournalBox) -> None:
    """A second outcome could not be verified, so it is not written."""
    journal = book.journal()
    entry = opened(journal)
    journal.closed(entry, DONE)
    for closed in (entry, refused(journal)):
        with pytest.raises(Failed) as failed:
            journal.closed(closed, DONE)
        assert failed.value.code == "internal"
    journal.close()
    book.verify()


def test_a_record_too_large_for_the_verifier_is_not_written(book: JournalBox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_BODY", 5000)
    journal = book.journal()
    whole_call(journal)
    before = book.log.stat().st_size
    with pytest.raises(InputError) as failed:
        opened(journal, "x" * 4000)
    assert failed.value.code == "input_too_large"
    assert book.log.stat().st_size == before
    whole_call(journal)
    journal.close()
    assert book.verify().allowed == 2


def test_the_largest_record_that_is_written_is_read(book: JournalBox) -> None:
    journal = book.journal()
    limit = writer.MAX_BODY - writer.OVERHEAD
    size = limit // 4 * 3 - 3000
    entry = journal.opened(a_call(journal), MODEL, YES, Payload(value=None, blobs={"t": bytes(size)}))
    journal.closed(entry, DONE)
    journal.close()
    assert book.verify().records == 3
    assert len(bodies(book.log)[1]) > 0.99 * limit


@pytest.mark.parametrize("value", ["\ud800", object(), {1j: 1}, float])
def test_what_cannot_be_encoded_is_not_written(book: JournalBox, value: object) -> None:
    journal = book.journal()
    whole_call(journal)
    before = book.log.stat().st_size
    with pytest.raises((TypeError, UnicodeEncodeError)):
        journal.opened(a_call(journal), MODEL, YES, Payload(value=value))
    assert book.log.stat().st_size == before
    whole_call(journal)
    journal.close()
    assert book.verify().allowed == 2


def test_time_never_goes_back_also_not_over_a_restart(book: JournalBox, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns()
    clock = now
    monkeypatch.setattr("time.time_ns", lambda: clock)
    journal = book.journal()
    whole_call(journal)
    clock = now - 10**15
    assert journal.now() == now
    whole_call(journal)
    journal.close()
    clock = 0
    journal = book.journal()
    assert journal.now() >= now
    entry = opened(journal)
    assert entry.call.at >= now
    journal.closed(entry, DONE)
    clock = now + 5
    assert journal.now() == now + 5
    journal.close()
    heads = book.verify().heads
    assert heads["shard-000"].at == now + 5
    times = [
        record.metadata.call.at if isinstance(record.metadata, Opened) else record.metadata.at
        for record in book.read()
        if record.metadata
    ]
    assert times == sorted(times)


def test_a_canary_stands_nowhere_on_disk_and_in_no_message(book: JournalBox) -> None:
    canary, subject = "zwitscher-7f3a91", "patient-5ce20d"
    journal = book.journal()
    entry = journal.opened(
        a_call(journal, subject=subject), MODEL, YES, Payload.checked({canary: [canary]}, {canary: canary.encode()})
    )
    journal.noted(entry, "chunk", {canary: canary})
    journal.loaded("clinic", {canary: canary})
    journal.closed(entry, DONE)
    with pytest.raises(Failed) as failed:
        journal.closed(entry, DONE)
    shown = f"{entry!r} {failed.value!r} {failed.value.hint} {journal!r}"
    os.truncate(book.log, book.log.stat().st_size - 1)
    journal.close()
    shown += f" {book.failures()}"
    for word in (canary, subject):
        raw = word.encode()
        forms = [raw, raw.hex().encode(), raw[::-1], word.encode("utf-16-le")]
        # base64 of the word at each of the three places where it may stand in a group
        forms += [base64.b64encode(b"\0" * i + raw)[4 if i else 0 : -4] for i in range(3)]
        files = [path for path in book.folder.rglob("*") if path.is_file()]
        assert len(files) >= 7
        assert [(path.name, form) for path in files for form in forms if form in path.read_bytes()] == []
        assert [form for form in forms if form in shown.encode()] == []
    salt = entry.salt[1]
    assert salt.hex() not in shown
    assert repr(salt)[2:20] not in shown


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
    assert _calls(book.read()) == (ids, ids)
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


KILLED = (
    OPENING
    + """
for number in range(100000):
    entry = opened(journal, "x" * (number % 3000))
    print("opened", entry.call.id, flush=True)
    journal.closed(entry, DONE)
    print("closed", entry.call.id, flush=True)
    if number % 50 == 49:
        journal.checkpoint()
"""
)


def test_a_kill_loses_no_record_whose_write_returned(book: JournalBox, script: Script) -> None:
    chance = random.Random(5)  # noqa: S311 - moments, no secrets
    acknowledged: dict[str, set[str]] = {"opened": set(), "closed": set()}
    rounds, torn = 5, 0
    for number in range(rounds):
        process = script(KILLED, book.folder)
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        # the first time at once, since there is most to go wrong while a shard begins
        time.sleep(chance.random() * 0.3 * min(number, 1))
        process.kill()
        rest, errors = process.communicate(timeout=60)
        assert errors == ""
        for line in [*lines, *rest.splitlines(keepends=True)]:
            if line.endswith("\n"):
                what, call = line.split()
                acknowledged[what].add(call)
        torn += _torn(book)
    assert len(acknowledged["closed"]) > 50
    journal = book.journal()
    acknowledged["closed"].add(whole_call(journal))
    journal.close()
    found = book.verify()
    begun, closed = _calls(book.read())
    assert acknowledged["opened"] <= begun
    assert acknowledged["closed"] <= closed
    assert shards(book.directory) == ["shard-000"]
    assert found.unfinished <= rounds
    assert found.unsealed == 0
    assert len(begun) == found.allowed
    assert [leaf.place.kind for leaf in leaves(book.log)].count(GAP) == torn


def _torn(book: JournalBox) -> int:
    """1 when the kill came inside a write of several pages, which Linux then ends early; verification says so."""
    with suppress(NotVerified):
        book.verify()
        return 0
    ((record, code),) = book.failures()
    assert (record, code) == (f"shard-000/{len(leaves(book.log, torn=True))}", "record_truncated")
    return 1


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
    begun, closed = _calls(book.read())
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


def test_on_a_full_disk_nothing_is_written_and_nothing_runs(book: JournalBox, script: Script) -> None:
    assert _done(script(FULL, book.folder)) == "done\n"
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


# processes and threads

FORKED = (
    OPENING
    + """
before = opened(journal, "before")
if child := os.fork():
    assert os.waitpid(child, 0)[1] == 0
    journal.closed(before, DONE)
    for _ in range(5):
        whole_call(journal, "same text")
    journal.close()
else:
    for _ in range(5):
        whole_call(journal, "same text")
    journal.noted(before, "chunk", {})
    sys.exit()
"""
)


def test_a_fork_writes_into_its_own_shard_under_its_own_keys(book: JournalBox, script: Script) -> None:
    assert _done(script(FORKED, book.folder)) == ""
    found = book.verify()
    assert {name: head.size for name, head in found.heads.items()} == {"shard-000": 13, "shard-001": 12}
    assert (found.unfinished, found.unsealed) == (0, 0)
    assert len(book.read()) == 23
    keys, nonces = _keys_and_nonces(book)
    assert len(set(keys)) == len(keys) == 46
    assert len(set(nonces)) == len(nonces)


def _keys_and_nonces(book: JournalBox) -> tuple[list[bytes], list[bytes]]:
    """Every key under which something was sealed, taken from the chains as the auditor does, and every nonce."""
    opener, identity, salts = book.opener, book.id, Salts(book.salts)
    keys: list[bytes] = []
    nonces: list[bytes] = []
    for log in sorted(book.directory.glob("*.log")):
        chain = b""
        for leaf in leaves(log):
            if leaf.place.kind == EPOCH:
                chain = opener.open(leaf.payload, epoch_info(identity, leaf.place))
                continue
            salt = salts.salt(masked_row(chain, leaf.place.row))
            assert salt is not None
            keys += [record_key(chain, salt, part) for part in (b"metadata", b"payload")]
            nonces += [leaf.metadata[:12], leaf.payload[:12]]
            chain = next_chain(chain)
    salts.close()
    return keys, nonces


FORKING = (
    OPENING
    + """
import threading
stop = threading.Event()

def write():
    while not stop.is_set():
        journal.closed(opened(journal, subject=os.urandom(4).hex()), DONE)  # a new salt each time

threads = [threading.Thread(target=write) for _ in range(4)]
for thread in threads:
    thread.start()
for _ in range(15):
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0
    else:
        whole_call(journal)
        journal.close()
        os._exit(0)
stop.set()
for thread in threads:
    thread.join()
"""
)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="from 3.12 on Python warns of a fork beside threads")
def test_a_fork_beside_busy_threads_does_not_hang(book: JournalBox, script: Script) -> None:
    _done(script(FORKING, book.folder))
    found = book.verify()
    assert (found.unfinished, found.unsealed) == (0, 0)
    assert len(shards(book.directory)) == 2
    assert len(book.read()) == 2 * found.allowed


def test_a_fork_that_dies_at_once_leaves_no_trace(book: JournalBox, script: Script) -> None:
    source = OPENING + "whole_call(journal)\nif not (child := os.fork()): sys.exit()\nos.waitpid(child, 0)\n"
    _done(script(source + "whole_call(journal)\n", book.folder))
    assert shards(book.directory) == ["shard-000"]
    found = book.verify()
    assert (found.records, found.unsealed) == (5, 0)


def test_a_process_that_ends_signs_all_of_its_journals(book: JournalBox, script: Script) -> None:
    source = OPENING + "second = box.journal()\nopened(journal)\nopened(second)\nopened(second)\n"
    _done(script(source, book.folder))
    assert book.verify().unsealed == 0
    assert shards(book.directory) == ["shard-000", "shard-001"]


def test_one_journal_that_cannot_be_signed_does_not_keep_the_others_from_it(
    book: JournalBox, tmp_path: Path, script: Script
) -> None:
    other = JournalBox.make(tmp_path / "other")
    source = (
        OPENING
        + """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
second = JournalBox(Path(sys.argv[2])).journal()
for _ in range(30):
    whole_call(journal)
    journal.checkpoint()
whole_call(journal)
whole_call(second)
whole_call(second)
resource.setrlimit(resource.RLIMIT_FSIZE, (box.heads.stat().st_size, resource.RLIM_INFINITY))
"""
    )
    process = script(source, book.folder, other.folder)
    _, errors = process.communicate(timeout=60)
    assert "JournalError: the head was not written" in errors
    assert book.verify().unsealed > 0
    assert other.verify().unsealed == 0


MANY = OPENING + "\nfor _ in range(50):\n    print(whole_call(journal))\n"


def test_processes_write_side_by_side(book: JournalBox, script: Script) -> None:
    processes = [script(MANY, book.folder) for _ in range(4)]
    ids = {line for process in processes for line in _done(process).split()}
    found = book.verify()
    assert len(ids) == found.allowed == 200
    assert (found.unfinished, found.unsealed) == (0, 0)
    assert 1 <= len(shards(book.directory)) <= 4
    assert _calls(book.read()) == (ids, ids)


def test_threads_write_side_by_side(book: JournalBox) -> None:
    journal = book.journal()
    ids: set[str] = set()
    threads = [threading.Thread(target=lambda: ids.update({whole_call(journal) for _ in range(50)})) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    found = book.verify()
    assert (len(ids), found.allowed, found.unfinished, found.unsealed) == (400, 400, 0, 0)
    assert shards(book.directory) == ["shard-000"]
    assert _calls(book.read()) == (ids, ids)


def test_a_journal_is_verified_while_it_is_written(book: JournalBox, script: Script) -> None:
    """Large records, so that many a measure is taken while one is being written."""
    process = script(OPENING + 'for _ in range(400):\n    whole_call(journal, "x" * 200_000)\n', book.folder)
    sizes = [0]
    while process.poll() is None:
        sizes.append(book.verify().records)
    assert _done(process) == ""
    assert sizes == sorted(sizes)
    assert len(set(sizes)) > 2
    assert book.verify().allowed == 400


def test_a_thousand_writers_are_enough(book: JournalBox) -> None:
    """The last of them is told; nothing else is made."""
    with _locked(book.directory / f"shard-{number:03d}.log" for number in range(1000)):
        with pytest.raises(JournalError) as failed:
            opened(book.journal())
        assert failed.value.code == "journal_shards"


class _locked:  # noqa: N801 - reads as a verb
    def __init__(self, paths: Iterator[Path]) -> None:
        self._paths = paths

    def __enter__(self) -> None:
        import fcntl

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2048)), hard))
        self._files = [path.open("wb") for path in self._paths]
        for file in self._files:
            fcntl.flock(file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()


def test_what_was_allowed_and_not_closed_is_said(book: JournalBox) -> None:
    journal = book.journal()
    opened(journal)
    whole_call(journal)
    journal.close()
    assert book.verify().unfinished == 1
    assert [leaf.place.kind for leaf in leaves(book.log)].count(ALLOWED) == 2


def test_a_note_is_read_with_the_call_it_belongs_to(book: JournalBox) -> None:
    journal = book.journal()
    entry = opened(journal)
    journal.noted(entry, "chunk", {"tokens": 1})
    journal.close()
    assert leaves(book.log)[2].place[4:6] == (entry.shard, entry.sequence)
    assert isinstance(book.read()[1].metadata, Noted)


def test_the_forging_of_these_tests_fits_what_the_journal_writes(book: JournalBox) -> None:
    journal = book.journal()
    whole_call(journal)
    journal.close()
    honest = notes_of(book.heads)[-1].split("\n")
    forged_heads(book, [3], at=int(honest[3].removeprefix("at ")))
    assert notes_of(book.heads)[0].split("\n") == honest
