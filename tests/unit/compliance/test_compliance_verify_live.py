"""The verifier on a journal in use: what was signed holds, and what is just being written is no failure."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from compliance.verify.heads import SignedHeads
from compliance.verify.journal import verify_journal
from compliance.verify.statements import Head
from tests.forge import log_of, notes_file, signer
from tests.verifying import failures, made


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def test_what_a_process_is_writing_is_no_failure(tmp_path: Path) -> None:
    forge = made()
    forge.write(tmp_path)
    log, heads, joint = (tmp_path / name for name in ("shard-000.log", "shard-000.heads", "journal.heads"))
    whole = log.read_bytes()
    forge.shards[0].noted()
    log.write_bytes(forge.files()["shard-000.log"][:-1])
    assert failures(tmp_path, forge.root.public) == ["shard-000/6 record_truncated"]
    with _locked(log):
        assert verify_journal(tmp_path, forge.root.public).records == 9
        heads.write_bytes(heads.read_bytes() + forge.shards[0].head().encode())
        assert verify_journal(tmp_path, forge.root.public).records == 9
        # what was signed cannot be in the middle of being written
        log.write_bytes(whole[:-1])
        assert failures(tmp_path, forge.root.public) == ["shard-000/5 record_missing"]
        log.write_bytes(whole)
    assert failures(tmp_path, forge.root.public) == ["shard-000 head 3 head_truncated"]
    heads.write_bytes(notes_file(forge.shards[0].heads[:3]))
    joint.write_bytes(joint.read_bytes() + forge.joints[-1].encode())
    assert failures(tmp_path, forge.root.public) == ["joint 2 joint_truncated"]
    with _locked(joint):
        assert verify_journal(tmp_path, forge.root.public).records == 9


def test_a_shard_that_is_just_begun_is_no_failure(tmp_path: Path) -> None:
    forge = made()
    forge.write(tmp_path)
    log = tmp_path / "shard-002.log"
    log.touch()
    assert failures(tmp_path, forge.root.public) == ["shard-002 head 0 head_missing"]
    with _locked(log):
        assert verify_journal(tmp_path, forge.root.public).records == 9
        log.write_bytes(bytes(10))
        assert failures(tmp_path, forge.root.public) == ["shard-002 head 0 head_missing"]


def test_what_is_written_while_it_is_verified_belongs_to_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a record and half a head are there when they are measured; the rest comes, and more by a new key."""
    forge = made()
    forge.write(tmp_path)
    log, heads = tmp_path / "shard-000.log", tmp_path / "shard-000.heads"
    forge.shards[0].noted()
    log.write_bytes(log_of(forge.shards[0].bodies)[:-20])
    forge.shards[0].head()
    heads.write_bytes(notes_file(forge.shards[0].heads)[:-20])
    real = SignedHeads.read

    def read(self: SignedHeads) -> Head | None:
        if log.stat().st_size < len(log_of(forge.shards[0].bodies)):
            forge.shards[0].noted()
            forge.shards[0].head(key=signer("certified only now"))
            forge.write(tmp_path)  # another process goes on
        return real(self)

    monkeypatch.setattr(SignedHeads, "read", read)
    found = verify_journal(tmp_path, forge.root.public)
    assert found.heads["shard-000"].size == 6
    monkeypatch.undo()
    assert failures(tmp_path, forge.root.public) == ["shard-000 head 4 head_signature"]


def test_a_call_that_began_since_its_shard_was_read_may_end_in_the_next(tmp_path: Path) -> None:
    forge = made()
    forge.write(tmp_path)

    def go_on(_: int) -> None:
        if len(forge.shards[0].bodies) == 6:
            forge.shards[1].closed(forge.shards[0].allowed())
            forge.write(tmp_path)

    assert verify_journal(tmp_path, forge.root.public, progress=go_on).records == 10
    forge.shards[1].closed((0, 7))
    forge.write(tmp_path)
    assert failures(tmp_path, forge.root.public) == ["shard-001/4 record_of"]
