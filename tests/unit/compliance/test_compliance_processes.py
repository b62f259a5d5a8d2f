"""Processes that are killed, that fork, and that write side by side with others or with threads."""

from __future__ import annotations

import fcntl
import gc
import random
import resource
import sys
import threading
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from compliance.crypto import NONCE
from compliance.journal.errors import JournalError
from compliance.journal.records import contribution, epoch_info, record_key, step, unmasked
from compliance.state.salts import Salts
from compliance.verify.journal import NotVerified, shards
from compliance.verify.leaf import EPOCH, SEALED, Epoch
from tests.journals import (
    OPENING,
    JournalBox,
    call_ids,
    ended,
    leaves,
    opened,
    script,
    whole_call,
)


@pytest.fixture
def book(tmp_path: Path) -> JournalBox:
    """A box with an empty journal."""
    return JournalBox.make(tmp_path / "box")


KILLED = (
    OPENING
    + """
acknowledged = open(sys.argv[2], "a")
for number in range(100000):
    entry = opened(journal, "x" * (number % 3000))
    print("opened", entry.call.id, file=acknowledged, flush=True)
    journal.closed(entry, DONE)
    print("closed", entry.call.id, file=acknowledged, flush=True)
    if number % 50 == 49:
        journal.checkpoint()
"""
)


def test_a_kill_loses_no_record_whose_write_returned(book: JournalBox, tmp_path: Path) -> None:
    chance = random.Random(5)  # noqa: S311 - moments and no secrets
    acknowledged: dict[str, set[str]] = {"opened": set(), "closed": set()}
    rounds = 5
    for number in range(rounds):
        lines = tmp_path / f"acknowledged-{number}"
        process = script(KILLED, book.folder, lines)
        # the first time as soon as a shard begins, since there is most to go wrong
        while process.poll() is None and not (book.log if number == 0 else lines).exists():
            time.sleep(0.0005)
        time.sleep(chance.random() * 0.3 * min(number, 1))
        process.kill()
        out, said = process.communicate(timeout=60)
        assert out == ""
        assert all("was not closed" in line for line in said.splitlines())
        for line in lines.read_text().splitlines(keepends=True) if lines.exists() else ():
            if line.endswith("\n"):
                what, call = line.split()
                acknowledged[what].add(call)
        _check_torn(book)
    assert len(acknowledged["closed"]) > 50
    journal = book.journal()
    acknowledged["closed"].add(whole_call(journal))
    journal.close()
    found = book.verify()
    begun, closed = call_ids(book.read())
    assert acknowledged["opened"] <= begun
    assert acknowledged["closed"] <= closed
    assert shards(book.directory) == ["shard-000"]
    assert found.unfinished <= rounds
    assert found.unsealed == 0
    assert len(begun) == found.allowed
    assert 1 <= found.gaps <= rounds


def _check_torn(book: JournalBox) -> None:
    """A kill may come inside a write of several pages, which Linux then ends early; verification says so."""
    with suppress(NotVerified):
        book.verify()
        return
    ((place, code),) = book.failures()
    torn = (f"shard-000/{len(leaves(book.log, torn=True))}", "record_truncated")
    # killed before the first head of the shard was written, or before anything was joined
    assert (place, code) in (torn, ("shard-000 head 0", "head_missing"), ("shard-000 head 0", "head_truncated"))


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


def test_a_fork_writes_into_its_own_shard_under_its_own_keys(book: JournalBox) -> None:
    assert ended(script(FORKED, book.folder)) == ""
    found = book.verify()
    assert {name: head.size for name, head in found.heads.items()} == {"shard-000": 13, "shard-001": 12}
    assert (found.unfinished, found.unsealed) == (0, 0)
    assert len(book.read()) == 23
    keys, nonces = _keys_and_nonces(book)
    assert len(set(keys)) == len(keys) == 23
    assert len(set(nonces)) == len(nonces)


def _keys_and_nonces(book: JournalBox) -> tuple[list[bytes], list[bytes]]:
    """Every key under which something was sealed, taken from the chains as the auditor does, and every nonce."""
    opener, journal, salts = book.opener, bytes.fromhex(book.id), Salts(book.salts)
    keys: list[bytes] = []
    nonces: list[bytes] = []
    for log in sorted(book.directory.glob("*.log")):
        chain = b""
        for leaf in leaves(log):
            if leaf.kind == EPOCH:
                ((_, sealed),) = Epoch.parsed(leaf.content).sealed
                chain = opener.open(sealed, epoch_info(leaf.place, journal))
            if leaf.kind not in SEALED:
                continue
            following, mask = step(chain)
            salt = salts.salt(unmasked(leaf.row, mask))
            assert salt is not None
            keys.append(record_key(chain, contribution(salt, journal, leaf.shard, leaf.sequence)))
            nonces.append(leaf.content[:NONCE])
            chain = following
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
def test_a_fork_beside_busy_threads_does_not_hang(book: JournalBox) -> None:
    ended(script(FORKING, book.folder))
    found = book.verify()
    assert (found.unfinished, found.unsealed) == (0, 0)
    assert len(shards(book.directory)) == 2
    assert len(book.read()) == 2 * found.allowed


def test_a_fork_that_dies_at_once_leaves_no_trace(book: JournalBox) -> None:
    source = OPENING + "whole_call(journal)\nif not (child := os.fork()): sys.exit()\nos.waitpid(child, 0)\n"
    ended(script(source + "whole_call(journal)\n", book.folder))
    assert shards(book.directory) == ["shard-000"]
    found = book.verify()
    assert (found.records, found.unsealed) == (5, 0)


def test_a_process_that_ends_signs_all_of_its_journals(book: JournalBox) -> None:
    source = OPENING + "second = box.journal()\nopened(journal)\nopened(second)\nopened(second)\n"
    ended(script(source, book.folder))
    assert book.verify().unsealed == 0
    assert shards(book.directory) == ["shard-000", "shard-001"]


def test_one_journal_that_cannot_be_signed_does_not_keep_the_others_from_it(book: JournalBox, tmp_path: Path) -> None:
    other = JournalBox.make(tmp_path / "other")
    source = (
        OPENING
        + """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
others = [JournalBox(Path(sys.argv[2])).journal() for _ in range(6)]  # closed in any order
for _ in range(30):
    whole_call(journal)
    journal.checkpoint()
whole_call(journal)
for other in others:
    whole_call(other)
    whole_call(other)
resource.setrlimit(resource.RLIMIT_FSIZE, (box.heads.stat().st_size, resource.RLIM_INFINITY))
"""
    )
    process = script(source, book.folder, other.folder)
    _, errors = process.communicate(timeout=60)
    assert "JournalError: the head was not written" in errors
    assert book.verify().unsealed > 0
    assert other.verify().unsealed == 0


MANY = OPENING + "\nfor _ in range(50):\n    print(whole_call(journal))\n"


def test_processes_write_side_by_side(book: JournalBox) -> None:
    processes = [script(MANY, book.folder) for _ in range(4)]
    ids = {line for process in processes for line in ended(process).split()}
    found = book.verify()
    assert len(ids) == found.allowed == 200
    assert (found.unfinished, found.unsealed) == (0, 0)
    assert 1 <= len(shards(book.directory)) <= 4
    assert call_ids(book.read()) == (ids, ids)


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
    assert call_ids(book.read()) == (ids, ids)


def test_a_journal_is_verified_while_it_is_written(book: JournalBox) -> None:
    """Large records, so that many a measure is taken while one is being written."""
    process = script(OPENING + 'for _ in range(400):\n    whole_call(journal, "x" * 200_000)\n', book.folder)
    sizes = [0]
    try:
        while process.poll() is None:
            sizes.append(book.verify().records)
    finally:
        out = ended(process)
    assert out == ""
    assert sizes == sorted(sizes)
    assert len(set(sizes)) > 2
    assert book.verify().allowed == 400


def test_a_thousand_writers_are_enough(book: JournalBox) -> None:
    """The last of them is told; nothing else is made."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2048)), hard))
    with ExitStack() as files:
        for number in range(1000):
            fcntl.flock(files.enter_context((book.directory / f"shard-{number:03d}.log").open("wb")), fcntl.LOCK_EX)
        gc.collect()  # so that no other test's files are closed in between
        before = len(list(Path("/proc/self/fd").iterdir()))
        with closing(book.journal()) as journal, pytest.raises(JournalError) as failed:
            opened(journal)
        assert failed.value.code == "journal_shards"
        assert len(list(Path("/proc/self/fd").iterdir())) == before
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    # the genesis, the certificates, the joint heads
    assert len(list(book.directory.iterdir())) == 1003
