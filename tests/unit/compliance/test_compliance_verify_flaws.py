"""A reason for each refusal of the verifier: what is done to a journal, and what is said of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from compliance.crypto import sha256
from compliance.verify.journal import NotVerified
from compliance.verify.leaf import ALLOWED, CLOSED, GAP, MAX_BODY, NOTED, Epoch, Leaf
from tests.forge import FIRST_DAY, MADE, NEXT_DAY, Forge, altered, log_of, midnight, notes_file, signer
from tests.verifying import WITNESS, failures, made, seen

Flaw = Callable[[Forge, dict[str, bytes]], dict[str, Any] | None]
FLAWS: list[tuple[Flaw, list[str]]] = []


def flaw(*expected: str) -> Callable[[Flaw], Flaw]:
    def found(function: Flaw) -> Flaw:
        FLAWS.append((function, list(expected)))
        return function

    return found


def _flip(data: bytes, position: int) -> bytes:
    return altered(data, position, bytes([data[position] ^ 1]))


@flaw("journal.note genesis_missing")
def no_genesis(forge: Forge, files: dict[str, bytes]) -> None:
    del files["journal.note"]


@flaw("journal.note genesis_signature")
def a_certificate_for_a_genesis(forge: Forge, files: dict[str, bytes]) -> None:
    files["journal.note"] = forge.certificates[0].encode()


@flaw("journal.note genesis_signature")
def a_genesis_that_is_too_long(forge: Forge, files: dict[str, bytes]) -> None:
    files["journal.note"] += b"\n" * 70_000


@flaw("certificate 0 certificate_truncated", "joint 0 joint_signature", "shard-000 head 0 head_signature")
def no_certificates(forge: Forge, files: dict[str, bytes]) -> None:
    del files["certificates.notes"], files["shard-001.heads"], files["shard-001.log"]


@flaw("certificate 1 certificate_truncated")
def certificates_cut_short(forge: Forge, files: dict[str, bytes]) -> None:
    files["certificates.notes"] = files["certificates.notes"][:-1]


@flaw("certificate 1 certificate_invalid")
def a_certificate_altered(forge: Forge, files: dict[str, bytes]) -> None:
    files["certificates.notes"] = _flip(files["certificates.notes"], -10)


@flaw("certificate 2 certificate_days")
def a_certificate_too_far_ahead(forge: Forge, files: dict[str, bytes]) -> None:
    far = forge.certificate(MADE + timedelta(32))
    files["certificates.notes"] = notes_file([*forge.certificates, far])


@flaw("joint 1 joint_truncated")
def joint_heads_cut_short(forge: Forge, files: dict[str, bytes]) -> None:
    files["journal.heads"] = files["journal.heads"][:-1]


@flaw("joint 1 joint_signature")
def a_joint_head_by_a_thief(forge: Forge, files: dict[str, bytes]) -> None:
    forge.joints.pop()
    forge.joint(key=signer("a thief"))
    files["journal.heads"] = notes_file(forge.joints)


@flaw("joint 1 joint_signature")
def a_joint_head_with_two_signatures(forge: Forge, files: dict[str, bytes]) -> None:
    files["journal.heads"] = notes_file([forge.joints[0], seen(forge, 1)])


@flaw("joint 2 joint_signature")
def a_joint_head_over_too_many_shards(forge: Forge, files: dict[str, bytes]) -> None:
    forge.joint(shards=((0, sha256()),) * 1001)
    files["journal.heads"] = notes_file(forge.joints)


@flaw("joint 2 joint_expired")
def a_joint_head_by_the_key_of_another_day(forge: Forge, files: dict[str, bytes]) -> None:
    forge.joint(key=forge.day_key(NEXT_DAY))
    files["journal.heads"] = notes_file(forge.joints)


@flaw("joint 2 joint_origin")
def a_joint_head_of_another_journal(forge: Forge, files: dict[str, bytes]) -> None:
    forge.joint(id="0" * 32)
    files["journal.heads"] = notes_file(forge.joints)


@flaw("joint 1 joint_order")
def joint_heads_swapped(forge: Forge, files: dict[str, bytes]) -> None:
    files["journal.heads"] = notes_file(forge.joints[::-1])


@flaw("journal.heads joint_missing")
def no_joint_heads(forge: Forge, files: dict[str, bytes]) -> None:
    files["journal.heads"] = b""


@flaw("joint 1 joint_revoked", "shard-000 head 2 head_revoked", "shard-001 head 1 head_revoked")
def a_key_that_was_revoked(forge: Forge, files: dict[str, bytes]) -> dict[str, Any]:
    return {"revocations": [forge.revocation(forge.day_key(FIRST_DAY), 0)]}


@flaw("joint 2 joint_root")
def a_joint_head_with_another_root(forge: Forge, files: dict[str, bytes]) -> None:
    forge.joint(shards=((6, bytes(32)), (3, forge.shards[1].tree().root())))
    files["journal.heads"] = notes_file(forge.joints)


@flaw("joint 1 joint_missing")
def a_shard_rolled_back(forge: Forge, files: dict[str, bytes]) -> None:
    files["shard-000.log"] = log_of(forge.shards[0].bodies[:5])
    files["shard-000.heads"] = notes_file(forge.shards[0].heads[:2])


@flaw("head given_foreign")
def a_given_head_of_another_journal(forge: Forge, files: dict[str, bytes]) -> dict[str, Any]:
    return {"head": Forge("another").joints[0]}


@flaw("head given_signature")
def a_given_head_by_a_thief(forge: Forge, files: dict[str, bytes]) -> dict[str, Any]:
    return {"head": forge.joint(key=signer("a thief"))}


@flaw("head given_signature")
def a_given_head_that_is_none(forge: Forge, files: dict[str, bytes]) -> dict[str, Any]:
    return {"head": "\ud800\n\n\u2014 a b\n"}


@flaw("head given_signature")
def a_given_head_dated_to_another_day(forge: Forge, files: dict[str, bytes]) -> dict[str, Any]:
    return {"head": forge.joint(at=midnight(NEXT_DAY), key=forge.day_key(FIRST_DAY))}


@flaw("head given_root")
def a_given_head_of_another_branch(forge: Forge, files: dict[str, bytes]) -> dict[str, Any]:
    return {"head": forge.shards[0].head(root=bytes(32))}


@flaw("head given_missing")
def everything_rolled_back(forge: Forge, files: dict[str, bytes]) -> dict[str, Any]:
    forge.shards[1].noted()
    return {"head": forge.joint()}


@flaw("witnessed.notes witness_missing")
def nothing_of_the_witness(forge: Forge, files: dict[str, bytes]) -> dict[str, Any]:
    files["witnessed.notes"] = notes_file([seen(forge, 1, signer("another witness"))])
    return {"witness": WITNESS.public}


@flaw("witnessed 0 witness_signature")
def what_the_witness_saw_altered(forge: Forge, files: dict[str, bytes]) -> dict[str, Any]:
    files["witnessed.notes"] = _flip(notes_file([seen(forge, 1)]), -10)
    return {"witness": WITNESS.public}


@flaw("witnessed 1 witness_signature")
def what_the_witness_saw_cut_short(forge: Forge, files: dict[str, bytes]) -> dict[str, Any]:
    files["witnessed.notes"] = notes_file([seen(forge, 0), seen(forge, 1)])[:-1]
    return {"witness": WITNESS.public}


@flaw("witnessed 0 witness_root")
def the_witness_saw_another_branch(forge: Forge, files: dict[str, bytes]) -> dict[str, Any]:
    forge.joint(shards=((3, bytes(32)),))
    files["witnessed.notes"] = notes_file([seen(forge, 2)])
    return {"witness": WITNESS.public}


@flaw("witnessed 0 witness_missing", "shard-002 shard_missing")
def the_witness_saw_more(forge: Forge, files: dict[str, bytes]) -> dict[str, Any]:
    forge.shards[1].noted()
    forge.shard()
    forge.joint()
    files["witnessed.notes"] = notes_file([seen(forge, 2)])
    return {"witness": WITNESS.public}


@flaw("shard-000 shard_missing")
def no_log(forge: Forge, files: dict[str, bytes]) -> None:
    del files["shard-000.log"]


@flaw("shard-000 shard_missing")
def no_trace_of_a_shard_before_others(forge: Forge, files: dict[str, bytes]) -> None:
    del files["shard-000.log"], files["shard-000.heads"]


@flaw("shard-000 head 0 head_missing")
def no_heads(forge: Forge, files: dict[str, bytes]) -> None:
    del files["shard-000.heads"]


@flaw("shard-000 head 2 head_truncated")
def heads_cut_short(forge: Forge, files: dict[str, bytes]) -> None:
    files["shard-000.heads"] = files["shard-000.heads"][:-1]


@flaw("shard-000 head 2 head_signature")
def a_head_altered(forge: Forge, files: dict[str, bytes]) -> None:
    files["shard-000.heads"] = _flip(files["shard-000.heads"], -10)


@flaw("shard-000 head 3 head_signature")
def an_empty_line_behind_the_heads(forge: Forge, files: dict[str, bytes]) -> None:
    files["shard-000.heads"] += b"\n"


@flaw("shard-000 head 3 head_signature")
def a_line_of_a_megabyte_behind_the_heads(forge: Forge, files: dict[str, bytes]) -> None:
    files["shard-000.heads"] += b"x" * 1_000_001


@flaw("shard-000 head 3 head_signature")
def lines_without_end_behind_the_heads(forge: Forge, files: dict[str, bytes]) -> None:
    files["shard-000.heads"] += b"x\n" * 2_001


@flaw("shard-000 head 0 head_origin")
def the_heads_of_another_shard(forge: Forge, files: dict[str, bytes]) -> None:
    files["shard-000.heads"] = files["shard-001.heads"]


def _next_head(forge: Forge, files: dict[str, bytes], **changes: Any) -> None:
    shard = forge.shards[0]
    shard.noted()
    shard.head(**changes)
    files.update(forge.files())


@flaw("shard-000 head 3 head_expired")
def a_head_dated_back_with_a_stolen_key(forge: Forge, files: dict[str, bytes]) -> None:
    _next_head(forge, files, key=forge.day_key(NEXT_DAY))


@flaw("shard-000 head 3 head_order")
def a_head_of_an_earlier_time(forge: Forge, files: dict[str, bytes]) -> None:
    _next_head(forge, files, at=midnight(FIRST_DAY))


@flaw("shard-000 head 0 head_order")
def no_head_over_nothing(forge: Forge, files: dict[str, bytes]) -> None:
    files["shard-000.heads"] = notes_file(forge.shards[0].heads[1:])


@flaw("shard-000 head 3 head_counters")
def a_counter_that_falls(forge: Forge, files: dict[str, bytes]) -> None:
    _next_head(forge, files, allowed=1)


@flaw("shard-000 head 3 head_counters")
def a_counter_that_the_records_do_not_show(forge: Forge, files: dict[str, bytes]) -> None:
    _next_head(forge, files, refused=2)


@flaw("shard-000 head 3 head_root")
def a_head_over_other_records(forge: Forge, files: dict[str, bytes]) -> None:
    _next_head(forge, files, root=bytes(32))


@flaw("shard-000/3 record_truncated")
def a_log_cut_within_a_record(forge: Forge, files: dict[str, bytes]) -> None:
    files["shard-000.log"] = log_of(forge.shards[0].bodies[:4])[:-1]


@flaw("shard-000/6 record_length")
def a_length_that_is_impossible(forge: Forge, files: dict[str, bytes]) -> None:
    files["shard-000.log"] += (MAX_BODY + 1).to_bytes(4, "big") + bytes(200)


@flaw("shard-000/5 record_check")
def a_bit_flipped(forge: Forge, files: dict[str, bytes]) -> None:
    files["shard-000.log"] = _flip(files["shard-000.log"], -20)


@flaw("shard-000/6 record_missing")
def a_head_over_more_than_there_is(forge: Forge, files: dict[str, bytes]) -> None:
    _next_head(forge, files)
    files["shard-000.log"] = log_of(forge.shards[0].bodies[:-1])


def _next_record(change: Callable[[Forge], object]) -> Flaw:
    """A record that nobody should have written behind those of the first shard."""

    def found(forge: Forge, files: dict[str, bytes]) -> None:
        change(forge)
        files.update(forge.files())

    return found


def _public(kind: int, content: bytes = b"", **place: Any) -> Flaw:
    return _next_record(lambda forge: forge.shards[0].public(forge.shards[0].place(kind, **place), content))


def _sealed(kind: int, **place: Any) -> Flaw:
    return _public(kind, os.urandom(28), **place)


def _again(content: Callable[[Leaf], bytes], kind: int, of: int) -> Flaw:
    """A record of this kind with content of an earlier one."""

    def add(forge: Forge) -> None:
        shard, earlier = forge.shards[0], Leaf.parsed(forge.shards[0].bodies[of])
        place = shard.place(kind, epoch=2 if kind == earlier.kind == 1 else 1)
        shard.public(place, content(earlier))

    return _next_record(add)


def _replayed(leaf: Leaf) -> bytes:
    return Epoch.parsed(leaf.content)._replace(at=2**62).packed()


RECORDS: list[tuple[Flaw, str]] = [
    (_next_record(lambda forge: forge.shards[0].add(b"\x00" + bytes(200))), "record_format"),
    (_sealed(NOTED, sequence=7), "record_sequence"),
    (_sealed(NOTED, shard=1), "record_sequence"),
    (_sealed(NOTED, epoch=2), "record_epoch"),
    (_next_record(lambda forge: forge.shards[0].gap() and forge.shards[0].noted()), "record_epoch"),
    (_sealed(0), "record_malformed"),
    (_public(NOTED, bytes(27)), "record_malformed"),
    (_sealed(ALLOWED, of_shard=0, of_sequence=1), "record_malformed"),
    (_sealed(CLOSED), "record_malformed"),
    (_sealed(CLOSED, of_shard=0, of_sequence=6), "record_malformed"),
    (_sealed(NOTED, of_shard=1000, of_sequence=0), "record_malformed"),
    (_sealed(NOTED, of_shard=65535, of_sequence=1), "record_malformed"),
    (_public(GAP, bytes(31)), "record_malformed"),
    (_public(GAP, bytes(32), row=b"x" * 16), "record_malformed"),
    (_public(1, bytes(25), epoch=2), "record_malformed"),
    (_public(GAP, bytes(32)), "record_time"),
    (_again(lambda leaf: leaf.content, 1, 0), "record_time"),
    (_again(_replayed, 1, 0), "epoch_replayed"),
    (_again(lambda leaf: leaf.content, NOTED, 3), "nonce_reused"),
    (_sealed(CLOSED, of_shard=0, of_sequence=1), "record_of"),
    (_sealed(CLOSED, of_shard=0, of_sequence=2), "record_of"),
]


@pytest.mark.parametrize(("change", "expected"), FLAWS, ids=[change.__name__ for change, _ in FLAWS])
def test_a_flaw_is_named(tmp_path: Path, change: Flaw, expected: list[str]) -> None:
    forge = made()
    files = forge.files()
    given = change(forge, files) or {}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    assert failures(tmp_path, forge.root.public, **given) == expected


@pytest.mark.parametrize(("change", "code"), RECORDS)
def test_a_record_that_nobody_should_have_written_is_named(tmp_path: Path, change: Flaw, code: str) -> None:
    forge = made()
    change(forge, {})
    forge.write(tmp_path)
    where = 7 if len(forge.shards[0].bodies) == 8 else 6
    assert failures(tmp_path, forge.root.public) == [f"shard-000/{where} {code}"]


def test_an_epoch_that_another_shard_had_is_found(tmp_path: Path) -> None:
    forge = made()
    second = forge.shards[1]
    epoch = Leaf.parsed(forge.shards[0].bodies[0])
    second.public(second.place(1, epoch=2), _replayed(epoch))
    forge.write(tmp_path)
    assert failures(tmp_path, forge.root.public) == ["shard-001/3 epoch_replayed"]


@pytest.mark.parametrize("of", [(1, 3), (7, 0)], ids=["behind the end of its shard", "in a shard that is not there"])
def test_a_call_of_another_shard_that_is_not_there_is_found(tmp_path: Path, of: tuple[int, int]) -> None:
    forge = made()
    forge.shards[0].closed(of)
    forge.write(tmp_path)
    assert failures(tmp_path, forge.root.public) == ["shard-000/6 record_of"]


def test_every_code_has_a_flaw_above() -> None:
    named = {found.rpartition(" ")[2] for _, expected in FLAWS for found in expected} | {code for _, code in RECORDS}
    others = {"journal_not_verified", "promise_broken", "given_unproved"}
    assert (
        named
        == {code for code in NotVerified.hints if not code.startswith(("receipt_", "evidence_", "mark_", "timestamp_"))}
        - others
    )
