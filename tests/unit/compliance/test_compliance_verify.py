"""The verifier: what it says of a good journal, in hostile folders, and of long logs."""

from __future__ import annotations

import os
import pickle
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from compliance.crypto import sha256
from compliance.verify.journal import NotVerified, genesis, keyring, shards, verify_journal
from compliance.verify.leaf import NOTED
from tests.forge import FIRST_DAY, SECOND, Forge, notes_file, signer
from tests.verifying import WITNESS, failures, made, seen, verified

# a journal that holds


def test_what_a_good_journal_says(tmp_path: Path) -> None:
    forge = made()
    found = verified(forge, tmp_path)
    counts = found.records, found.allowed, found.refused, found.closed, found.unfinished, found.unsealed, found.gaps
    assert counts == (9, 3, 1, 2, 1, 0, 0)
    assert {name: head.size for name, head in found.heads.items()} == {"shard-000": 6, "shard-001": 3}
    assert (found.id, found.given, found.witnessed) == (forge.id, False, None)
    assert found.joint is not None
    assert found.joint.total == 9
    assert found.auditors == {sha256(forge.auditors[0].public).hex()}


def test_a_journal_that_was_just_made_holds(tmp_path: Path) -> None:
    assert verified(Forge(), tmp_path).records == 0


def test_a_fingerprint_of_the_root_is_enough(tmp_path: Path) -> None:
    forge = made()
    forge.write(tmp_path)
    fingerprint = sha256(forge.root.public).hex()
    assert verify_journal(tmp_path, fingerprint).records == 9
    assert genesis(tmp_path, fingerprint).root == forge.root.public
    assert keyring(tmp_path, fingerprint).id == forge.id
    for other in (sha256(b"other").hex(), fingerprint.upper(), "", signer("a thief").public, bytes(32), b""):
        assert failures(tmp_path, other) == ["journal.note genesis_signature"]


def test_records_behind_the_last_head_are_counted_as_unsealed(tmp_path: Path) -> None:
    forge = made()
    forge.joints.pop()
    forge.shards[0].heads.pop()
    found = verified(forge, tmp_path)
    assert (found.records, found.unsealed) == (9, 1)


def test_a_gap_is_counted_and_a_kind_of_a_later_version_is_opaque(tmp_path: Path) -> None:
    forge = made()
    shard = forge.shards[0]
    shard.gap()
    shard.epoch()
    shard.public(shard.place(200, of_shard=7, of_sequence=9), b"", b"x" * 64)
    shard.head()
    found = verified(forge, tmp_path)
    assert (found.records, found.gaps) == (12, 1)


def test_an_outcome_in_another_shard_settles_its_call(tmp_path: Path) -> None:
    forge = made()
    forge.shards[1].closed((0, 5))
    assert verified(forge, tmp_path).unfinished == 0
    forge.shards[1].closed((0, 5))
    forge.write(tmp_path)
    assert failures(tmp_path, forge.root.public) == ["shard-001/4 record_of"]


def test_a_key_that_was_revoked_later_than_it_signed_is_good(tmp_path: Path) -> None:
    forge = made()
    revoked = forge.revocation(forge.day_key(FIRST_DAY), forge.at + 1)
    assert verified(forge, tmp_path, revocations=[revoked, "no note", forge.certificates[0]]).records == 9


def test_a_head_from_outside_is_compared(tmp_path: Path) -> None:
    forge = made()
    for head in (*forge.shards[0].heads, *forge.shards[1].heads, *forge.joints, seen(forge, 1)):
        assert verified(forge, tmp_path, head=head).given


def test_what_a_witness_has_seen_is_said(tmp_path: Path) -> None:
    forge = made()
    forge.write(tmp_path)
    of_another = seen(forge, 0, signer("another witness"))
    (tmp_path / "witnessed.notes").write_bytes(notes_file([seen(forge, 0), seen(forge, 1), of_another]))
    found = verify_journal(tmp_path, forge.root.public, witness=WITNESS.public)
    assert found.witnessed == (9, forge.at // SECOND)


def test_progress_hears_every_byte_of_the_logs(tmp_path: Path) -> None:
    heard: list[int] = []
    verified(made(), tmp_path, progress=heard.append)
    assert sum(heard) == sum(log.stat().st_size for log in tmp_path.glob("*.log"))


def test_other_files_in_the_folder_are_not_the_journal(tmp_path: Path) -> None:
    forge = made()
    for name in ("shard-0000.log", "shard-00\u0660.log", "shard-000.log.bak", "shard-002.nodes", "README"):
        (tmp_path / name).write_bytes(b"anything")
    assert verified(forge, tmp_path).records == 9
    assert shards(tmp_path) == ["shard-000", "shard-001"]


def test_a_refusal_says_what_was_found(tmp_path: Path) -> None:
    forge = made()
    forge.write(tmp_path)
    (tmp_path / "shard-000.heads").unlink()
    with pytest.raises(NotVerified) as refusal:
        verify_journal(tmp_path, forge.root.public)
    for error in (refusal.value, pickle.loads(pickle.dumps(refusal.value))):  # noqa: S301 - our own, just made
        assert (error.code, error.records) == ("journal_not_verified", 3)
        assert str(error) == "1 failure, at shard-000 head 0"
        assert error.failures == [("shard-000 head 0", "head_missing")]


# what stands in the folder is no file


def _folder(path: Path) -> None:
    path.mkdir()


def _link(path: Path) -> None:
    shutil.move(path.with_name(f"{path.name}.real"), path.parent.parent / path.name)
    path.symlink_to(path.parent.parent / path.name)


@pytest.mark.parametrize("put", [_folder, os.mkfifo, _link], ids=["folder", "pipe", "link"])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("journal.note", "journal.note genesis_missing"),
        ("certificates.notes", "certificate 0 certificate_truncated"),
        ("journal.heads", "journal.heads joint_missing"),
        ("shard-000.log", "shard-000 shard_missing"),
        ("shard-000.heads", "shard-000 head 0 head_missing"),
    ],
)
def test_what_is_no_file_is_missing(tmp_path: Path, name: str, expected: str, put: Callable[[Path], None]) -> None:
    forge = made()
    folder = tmp_path / "journal"
    forge.write(folder)
    (folder / name).rename(folder / f"{name}.real")
    put(folder / name)
    assert failures(folder, forge.root.public)[0] == expected


def test_a_folder_without_a_journal_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for directory in (tmp_path, tmp_path / "absent", tmp_path / "file"):
        assert failures(directory, signer("root").public) == ["journal.note genesis_missing"]


# limits


def test_memory_does_not_grow_with_the_journal(tmp_path: Path) -> None:
    forge = Forge()
    shard = forge.shard()
    shard.epoch()
    for number in range(1, 4000):
        shard.public(shard.place(NOTED, epoch=1), number.to_bytes(12, "big") + bytes(1000))
    shard.head()
    forge.write(tmp_path)
    assert (tmp_path / "shard-000.log").stat().st_size > 4_000_000
    tracemalloc.start()
    try:
        found = verify_journal(tmp_path, forge.root.public)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (found.records, found.unsealed) == (4000, 0)
    assert peak < 1_000_000


def test_a_record_longer_than_what_is_read_at_once_is_whole(tmp_path: Path) -> None:
    forge = made()
    shard = forge.shards[0]
    shard.noted(data={"text": "x" * 3_000_000})
    shard.noted()
    shard.head()
    assert verified(forge, tmp_path).records == 11
    os.truncate(tmp_path / "shard-000.log", 3_000_000)
    assert failures(tmp_path, forge.root.public) == ["shard-000/6 record_truncated"]
