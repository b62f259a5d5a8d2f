"""What a crash left torn is mended and told; what was altered or taken away is not gone on with."""

from __future__ import annotations

import shutil
import time
import tracemalloc
from pathlib import Path

import pytest

from compliance.journal.errors import JournalError
from compliance.journal.recovery import take
from compliance.journal.shard import UNREAD
from compliance.journal.writer import Journal
from compliance.state.disposition import Disposition
from compliance.state.errors import StateError
from compliance.verify.leaf import EPOCH, GAP, HEADER, Epoch, Gap, Place, framed
from compliance.verify.merkle import Tree, leaf_hash, position, stored
from compliance.verify.note import DAY, signed
from compliance.verify.statements import Head
from policies.payload import Payload
from tests.journals import (
    DONE,
    MODEL,
    YES,
    JournalBox,
    a_call,
    bodies,
    call_ids,
    heads_of,
    leaves,
    notes_of,
    opened,
    refused,
    whole_call,
)


@pytest.fixture
def book(tmp_path: Path) -> JournalBox:
    """A box whose journal was written and closed: seven records in the first shard."""
    box = JournalBox.make(tmp_path / "box")
    use(box, 3)
    return box


def use(box: JournalBox, calls: int = 1) -> set[str]:
    journal = box.journal()
    ids = {whole_call(journal) for _ in range(calls)}
    journal.close()
    return ids


def kill(journal: Journal) -> None:
    """Take a journal away as the end of its process does, without a last head."""
    journal._let_go()
    journal.close()


def gaps(box: JournalBox) -> list[Gap]:
    return [Gap.parsed(leaf.content) for leaf in leaves(box.log) if leaf.kind == GAP]


def broken(box: JournalBox) -> str:
    """The code with which a journal is not gone on with; it is left as it was."""
    before = {path: path.read_bytes() for path in box.directory.iterdir() if path.suffix != ".nodes"}
    with pytest.raises(JournalError) as failed:
        opened(box.journal())
    assert {path: path.read_bytes() for path in before} == before
    return failed.value.code


def public(kind: int, sequence: int, epoch: int, content: bytes) -> bytes:
    """The body of an EPOCH or a GAP of the first shard."""
    return Place(kind, 0, sequence, epoch).packed().ljust(HEADER, b"\0") + content


# torn


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_torn_record_is_cut_off_and_said_so(book: JournalBox, share: float) -> None:
    whole, (ids, _) = book.log.read_bytes(), call_ids(book.read())
    record = framed(bodies(book.log)[-1], bytes(32))
    torn = record[: int(share * len(record))]
    book.log.write_bytes(whole + torn)
    assert book.failures() == [("shard-000/7", "record_truncated")]
    ids |= use(book)
    found = book.verify()
    assert (found.records, found.allowed, found.unfinished, found.gaps) == (11, 4, 0, 1)
    (gap,) = gaps(book)
    assert gap[1:] == (len(torn), 0, 0)
    assert leaves(book.log)[7].kind == GAP
    assert call_ids(book.read()) == (ids, ids)
    assert book.log.read_bytes().startswith(whole)


def test_a_torn_head_is_cut_off_and_said_so(book: JournalBox) -> None:
    whole = book.heads.read_bytes()
    torn = notes_of(book.heads)[-1].encode()[:-1]
    cuts = (1, len(torn) // 2, len(torn))
    for cut in cuts:
        heads = len(notes_of(book.heads))
        book.heads.write_bytes(book.heads.read_bytes() + torn[:cut])
        assert book.failures() == [(f"shard-000 head {heads}", "head_truncated")]
        use(book)
    assert [gap[1:] for gap in gaps(book)] == [(0, cut, 0) for cut in cuts]
    assert book.verify().allowed == 6
    assert book.heads.read_bytes().startswith(whole)


@pytest.mark.parametrize("name", ["shard-000.heads", "journal.heads"])
def test_a_head_whose_beginning_was_lost_is_cut_off(book: JournalBox, name: str) -> None:
    """Pages of a file come to the disk in any order; what never came reads as zeros."""
    path = book.directory / name
    whole = path.read_bytes()
    note = notes_of(path)[-1].encode()
    for lost in (1, note.index(b"\n\n"), note.index("—".encode()), len(note) - 3):
        path.write_bytes(whole + bytes(lost) + note[lost:])
        use(book)
        whole = path.read_bytes()
        assert b"\0" not in whole
    assert book.verify().allowed == 7


def test_a_torn_joint_head_is_cut_off(book: JournalBox) -> None:
    path = book.directory / "journal.heads"
    whole = path.read_bytes()
    path.write_bytes(whole + notes_of(path)[-1].encode()[:-1])
    assert book.failures() == [("joint 3", "joint_truncated")]
    use(book)
    assert path.read_bytes().startswith(whole)
    assert book.verify().allowed == 4


def test_a_torn_tail_longer_than_what_comes_next_is_cut_off_whole(book: JournalBox) -> None:
    for path in (book.log, book.heads):
        with path.open("ab") as file:
            file.write(b"\x00\x05\x00\x00" + bytes(100_000))
    journal = book.journal()
    whole_call(journal)
    assert book.verify().allowed == 4
    journal.close()
    assert [gap[1:] for gap in gaps(book)] == [(100_004, 100_004, 0)]


def test_a_crash_while_a_torn_tail_is_mended_is_mended_again(book: JournalBox) -> None:
    # the GAP was written over the torn record, and the process died before the rest was cut off
    gap = public(GAP, 7, 1, Gap(time.time_ns(), 900, 0, 0).packed())
    with book.log.open("ab") as file:
        file.write(framed(gap, leaf_hash(gap)) + b"rest of the torn record")
    use(book)
    assert [leaf.kind for leaf in leaves(book.log)][7:10] == [GAP, GAP, EPOCH]
    assert [gap[1:] for gap in gaps(book)] == [(900, 0, 0), (23, 0, 1)]
    assert book.verify().allowed == 4


def test_what_stood_behind_an_earlier_gap_is_not_taken_in(book: JournalBox) -> None:
    """A GAP has one length, so behind a new one the EPOCH behind the old one may stand whole."""
    now = time.time_ns()
    gap = public(GAP, 7, 1, Gap(now, 9, 0, 0).packed())
    stale = public(EPOCH, 8, 2, Epoch(now - 1, bytes(16), ((bytes(32), bytes(1168)),)).packed())
    with book.log.open("ab") as file:
        file.write(b"".join(framed(body, leaf_hash(body)) for body in (gap, stale)))
    use(book)
    assert gaps(book)[1].log_bytes == len(stale) + 12
    assert book.verify().allowed == 4


# killed


def test_records_behind_the_last_head_are_signed_after_a_kill_and_said_so(book: JournalBox) -> None:
    journal = book.journal()
    ids = {whole_call(journal)}
    refused(journal)
    journal.checkpoint()
    ids.add(whole_call(journal))
    refused(journal)
    kill(journal)
    found = book.verify()
    assert (found.allowed, found.refused, found.unsealed) == (5, 2, 3)
    journal = book.journal()
    journal.now()
    found = book.verify()  # signed as soon as the shard is taken, then comes an EPOCH
    assert (found.allowed, found.refused, found.unsealed, found.gaps) == (5, 2, 1, 1)
    journal.close()
    assert [gap[1:] for gap in gaps(book)] == [(0, 0, 3)]
    # which rule it was, only the auditor can read
    assert heads_of(book.heads)[-1].rules == {"base.purpose": 1, UNREAD: 1}
    assert ids <= call_ids(book.read())[1]


def test_a_crash_before_the_first_head_leaves_an_empty_shard(tmp_path: Path) -> None:
    box = JournalBox.make(tmp_path / "new")
    box.log.touch()
    box.heads.write_bytes(b"sealpress.journal/half a head" + bytes(2000))
    use(box)
    found = box.verify()
    assert (found.records, found.gaps) == (3, 0)


def test_one_process_mends_the_shards_of_all_that_died(book: JournalBox) -> None:
    journals = [book.journal() for _ in range(3)]
    ids = {opened(journal).call.id for journal in journals}
    for journal in journals:
        kill(journal)
    logs = [book.log.with_name(f"shard-00{number}.log") for number in range(3)]
    for log in logs:
        log.write_bytes(log.read_bytes() + b"\0\0\1\2torn")
    assert [code for _, code in book.failures()] == ["record_truncated"] * 3
    use(book)
    assert book.verify().gaps == 3
    assert ids <= call_ids(book.read())[0]


def test_the_shard_of_a_living_process_is_not_mended(book: JournalBox) -> None:
    living = [book.journal(), book.journal()]
    entries = [opened(journal) for journal in living]
    use(book)
    for journal, entry in zip(living, entries, strict=True):
        journal.closed(entry, DONE)
        journal.close()
    assert (book.verify().gaps, book.verify().unfinished) == (0, 0)


def test_a_call_may_be_closed_after_the_shard_was_taken_anew(book: JournalBox) -> None:
    journal = book.journal()
    entry = opened(journal)
    journal._let_go()
    journal.closed(entry, DONE)
    journal.close()
    assert book.verify().unfinished == 0


# the nodes beside the log


@pytest.mark.parametrize("damage", ["missing", "cut", "altered", "longer"])
def test_nodes_that_do_not_fit_are_made_again(book: JournalBox, damage: str) -> None:
    nodes = book.log.with_suffix(".nodes")
    whole = nodes.read_bytes()
    tree = Tree()
    assert whole == b"".join(node for body in bodies(book.log) for node in tree.append(leaf_hash(body)))
    if damage == "missing":
        nodes.unlink()
    elif damage == "altered":
        top = 32 * position(2, 0)
        nodes.write_bytes(whole[:top] + bytes(32) + whole[top + 32 :])
    else:
        nodes.write_bytes(whole[:-40] if damage == "cut" else whole + b"from before")
    use(book)
    assert nodes.read_bytes().startswith(whole)
    found = book.verify()
    assert (found.allowed, found.gaps) == (4, 0)
    assert nodes.stat().st_size == 32 * stored(found.records)


def test_nodes_are_made_again_in_memory_that_does_not_grow_with_the_log(tmp_path: Path) -> None:
    box = JournalBox.make(tmp_path / "long")
    tree, size, now = Tree(), 60_000, time.time_ns()
    with box.log.open("wb") as log:
        for sequence in range(size):
            body = public(7, sequence, 0, b"")
            leaf = leaf_hash(body)
            tree.append(leaf)
            log.write(framed(body, leaf))
    head = Head(box.id, 0, size, tree.root(), now, box.log.stat().st_size)
    box.heads.write_text(f"{signed(head.text(), DAY, box.days.signer(now))}\n")
    keyring = box.days.keyring()
    tracemalloc.start()
    shard, gap = take(box.directory, keyring, now)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (shard.size, gap) == (size, None)
    shard.close()
    assert box.log.with_suffix(".nodes").stat().st_size == 32 * stored(size)
    assert peak < 5_000_000


@pytest.mark.parametrize("nodes", ["kept", "altered"])
def test_the_epoch_goes_on_behind_a_record_of_any_size(book: JournalBox, nodes: str) -> None:
    """The last record tells its number; it is looked for from behind, and else from the front."""
    journal = book.journal()
    journal.opened(a_call(journal), MODEL, YES, Payload(value=None, blobs={"t": bytes(1_200_000)}))
    journal.close()
    if nodes == "altered":
        path = book.log.with_suffix(".nodes")
        data = bytearray(path.read_bytes())
        at = 32 * position(0, 8)
        data[at : at + 32] = bytes(32)
        path.write_bytes(data)
    use(book)
    found = book.verify()
    assert (found.allowed, found.gaps) == (5, 0)
    assert max(leaf.epoch for leaf in leaves(book.log)) == 3


# altered, taken away, put back


@pytest.mark.parametrize("number", [0, 3, 6])
def test_a_signed_record_that_was_altered_is_seen_when_the_nodes_are_made_again(book: JournalBox, number: int) -> None:
    parts = bodies(book.log)
    parts[number] = parts[number][:-1] + bytes([parts[number][-1] ^ 1])
    book.log.write_bytes(b"".join(framed(body, leaf_hash(body)) for body in parts))
    book.log.with_suffix(".nodes").write_bytes(b"")
    assert broken(book) == "journal_broken"


def test_a_log_that_lost_signed_records_is_not_gone_on_with(book: JournalBox) -> None:
    whole = book.log.read_bytes()
    for cut in (0, 1, len(whole) // 2, len(whole) - 1):
        book.log.write_bytes(whole[:cut])
        assert broken(book) == "journal_broken"


def test_a_log_and_its_heads_that_went_back_together_are_not_gone_on_with(book: JournalBox) -> None:
    """The joint heads say so."""
    before = {path: path.read_bytes() for path in book.directory.glob("shard-000.*")}
    use(book)
    for path, content in before.items():
        path.write_bytes(content)
    assert broken(book) == "journal_broken"


def test_a_shard_that_was_taken_away_is_missed(book: JournalBox) -> None:
    journals = [book.journal() for _ in range(2)]
    for journal in journals:
        whole_call(journal)
    for journal in journals:
        journal.close()
    for path in book.directory.glob("shard-001.*"):
        path.unlink()
    assert broken(book) == "journal_broken"


@pytest.mark.parametrize("content", [None, b"", b"\xff\n\n\xe2\x80\x94 a b\n\n", b"a\n\n\xe2\x80\x94 a AAAAAAAA\n\n"])
@pytest.mark.parametrize("name", ["shard-000.heads", "journal.heads"])
def test_without_a_last_head_a_journal_is_not_gone_on_with(book: JournalBox, name: str, content: bytes | None) -> None:
    path = book.directory / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
        assert broken(book) == "journal_broken"
    else:
        with pytest.raises(JournalError) as failed:
            opened(book.journal())
        assert failed.value.code == "journal_broken"


@pytest.mark.parametrize("name", ["shard-000.heads", "journal.heads"])
def test_a_head_of_a_stranger_is_not_gone_on_with(book: JournalBox, name: str, tmp_path: Path) -> None:
    stranger = JournalBox.make(tmp_path / "stranger")
    use(stranger, 3)
    shutil.copyfile(stranger.directory / name, book.directory / name)
    assert broken(book) == "journal_broken"


def test_a_state_that_was_put_back_is_not_gone_on_with(book: JournalBox) -> None:
    """Else what was erased could be read again."""
    journal = book.journal()
    opened(journal, subject="patient-7")
    journal.close()
    before = shutil.copytree(book.salts.parent, book.folder / "before")
    with Disposition.open(book.salts) as disposition:
        disposition.erase("clinic", "patient-7", "asked", time.time_ns())
    use(book)
    assert heads_of(book.heads)[-1].destroyed == 1
    shutil.rmtree(book.salts.parent)
    before.rename(book.salts.parent)
    with pytest.raises(StateError) as failed:
        opened(book.journal())
    assert failed.value.code == "state_rolled_back"
    book.verify()
