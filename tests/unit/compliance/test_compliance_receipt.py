"""Receipts and proofs: strictly read, and refused each for its reason; promises that were kept, and proofs made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compliance.journal.errors import NotReadable
from compliance.journal.proof import prove
from compliance.verify.errors import NotVerified
from compliance.verify.journal import keyring
from compliance.verify.note import Note, cosigned
from compliance.verify.receipt import MAX_RECORDS, Receipt, check_promise, verify_receipt
from compliance.verify.statements import Head, Promise
from tests.forge import FIRST_DAY, NEXT_DAY, Forge, log_of, signer
from tests.verifying import made

FORGE = made()
LAST = FORGE.shards[0].heads[-1]
RECORDS = [(0, 1), (0, 4)]
PROOF = FORGE.receipt(RECORDS, LAST, bodies=True)
PROMISE = FORGE.receipt(RECORDS, FORGE.promise(RECORDS))


def code_of(receipt: Any, head: str | None = None) -> str:
    data = receipt if isinstance(receipt, bytes) else json.dumps(receipt).encode()
    with pytest.raises(NotVerified) as refusal:
        verify_receipt(data, FORGE.root.public, head)
    assert refusal.value.code == refusal.value.failures[0].code
    return " ".join(refusal.value.failures[0])


def test_a_proof_and_a_promise_hold() -> None:
    found = verify_receipt(json.dumps(PROOF).encode(), FORGE.root.public)
    assert isinstance(found.statement, Head)
    assert [record.name for record in found.records] == ["shard-000/1", "shard-000/4"]
    assert [record.body for record in found.records] == [FORGE.body(record) for record in RECORDS]
    assert json.loads(found.packed()) == PROOF
    found = verify_receipt(json.dumps(PROMISE).encode(), FORGE.root.public)
    assert isinstance(found.statement, Promise)
    assert json.loads(found.packed()) == PROMISE


def test_a_head_from_outside_may_be_of_the_shard_or_of_all() -> None:
    witnessed = cosigned(Note.parsed(FORGE.joints[-1]), 1, signer("a witness")).written()
    for head in (LAST, FORGE.joints[-1], witnessed):
        verify_receipt(json.dumps(PROOF).encode(), FORGE.root.public, head)
    for head in (*FORGE.shards[0].heads[:-1], FORGE.joints[0], FORGE.shards[1].heads[-1], "no note", ""):
        assert code_of(PROOF, head) == "head receipt_head"
    assert code_of(PROOF, Forge("other").joints[0]) == "head given_foreign"
    assert code_of(PROMISE, LAST) == "head receipt_head"


def _with(**members: Any) -> dict[str, Any]:
    return {**PROOF, **members}


def _first(**members: Any) -> dict[str, Any]:
    return _with(records=[{**PROOF["records"][0], **members}, PROOF["records"][1]])


@pytest.mark.parametrize(
    "receipt",
    [
        b"",
        b"null",
        b"[]",
        b"[" * 100_000,
        b"\xff",
        b"\xef\xbb\xbf" + json.dumps(PROOF).encode(),
        json.dumps(PROOF).encode() + b"{}",
        json.dumps(PROOF).encode().replace(b'{"format"', b'{"format": 1, "format"', 1),
        _with(format=True),
        _with(format=1.0),
        _with(format="1"),
        _with(more=1),
        {name: value for name, value in PROOF.items() if name != "certificate"},
        _with(records=[]),
        _with(records={}),
        _with(records=PROOF["records"] * (MAX_RECORDS // 2 + 1)),
        _with(statement=None),
        _with(statement=LAST + "\n"),
        _with(statement=FORGE.joints[-1]),
        _with(statement="\ud800"),
        _with(statement=cosigned(Note.parsed(LAST), 1, signer("a witness")).written()),
        _with(certificate=1),
        _first(record="shard-0/1"),
        _first(record=1),
        _first(leaf="AAEC"),
        _first(leaf=PROOF["records"][0]["leaf"].removesuffix("=")),
        _first(path="AAEC"),
        _first(path=[None]),
        _first(body=None),
        _first(body="\u00e9"),
        _first(more=1),
        {**PROMISE, "records": PROOF["records"]},
    ],
)
def test_what_is_no_receipt_is_refused(receipt: Any) -> None:
    assert code_of(receipt) == "receipt receipt_malformed"


@pytest.mark.parametrize(
    ("receipt", "expected"),
    [
        (_with(certificate=""), "certificate receipt_certificate"),
        (_with(certificate="\ud800"), "certificate receipt_certificate"),
        (_with(certificate=FORGE.certificates[1]), "certificate receipt_certificate"),
        (_with(certificate=FORGE.revocation(FORGE.day_key(FIRST_DAY), 0)), "certificate receipt_certificate"),
        (_with(certificate=Forge("other").certificates[0]), "certificate receipt_certificate"),
        (_with(certificate=FORGE.certificate(FIRST_DAY, made=NEXT_DAY)), "certificate receipt_certificate"),
        (_with(certificate=FORGE.certificate(FIRST_DAY, key=signer("other"))), "statement receipt_signature"),
        (_with(statement=LAST.replace("allowed 2", "allowed 1")), "statement receipt_signature"),
        (_first(body=""), "shard-000/1 receipt_leaf"),
        (_first(body=PROOF["records"][1]["body"]), "shard-000/1 receipt_leaf"),
        (_first(record="shard-000/2"), "shard-000/2 receipt_leaf"),
        (_first(path=PROOF["records"][0]["path"][:-1]), "shard-000/1 receipt_path"),
        (_first(record="shard-001/1"), "shard-001/1 receipt_leaf"),
        (_with(records=[FORGE.receipt([(1, 0)], FORGE.shards[1].heads[-1])["records"][0]]), "shard-001/0 receipt_path"),
        ({**PROMISE, "records": PROMISE["records"][::-1]}, "shard-000/4 receipt_leaf"),
        ({**PROMISE, "records": PROMISE["records"][:1]}, "statement receipt_leaf"),
        ({**PROMISE, "records": [*PROMISE["records"], PROMISE["records"][0]]}, "shard-000/1 receipt_leaf"),
    ],
)
def test_what_does_not_hold_is_named(receipt: Any, expected: str) -> None:
    assert code_of(receipt) == expected


def test_a_receipt_of_another_root_is_refused() -> None:
    with pytest.raises(NotVerified) as refusal:
        verify_receipt(json.dumps(PROOF).encode(), signer("a thief").public)
    assert refusal.value.code == "receipt_certificate"


# promises


def test_a_promise_is_kept_when_its_records_stand_in_the_journal(tmp_path: Path) -> None:
    FORGE.write(tmp_path)
    promised = [(1, 2), (0, 5), (0, 1)]
    check_promise(tmp_path, Receipt.parsed(json.dumps(FORGE.receipt(promised, FORGE.promise(promised))).encode()))


@pytest.mark.parametrize(
    "change",
    [
        lambda log: log.unlink(),
        lambda log: log.write_bytes(log_of(FORGE.shards[0].bodies[:4])),
        lambda log: log.write_bytes(log_of(FORGE.shards[0].bodies[:5])[:-1]),
        lambda log: log.write_bytes(log_of([*FORGE.shards[0].bodies[:4], *FORGE.shards[0].bodies[5:]])),
    ],
    ids=["log gone", "log cut before", "log cut within", "another record there"],
)
def test_a_promise_is_broken_when_they_do_not(tmp_path: Path, change: Callable[[Path], object]) -> None:
    FORGE.write(tmp_path)
    change(tmp_path / "shard-000.log")
    receipt = Receipt.parsed(json.dumps(PROMISE).encode())
    with pytest.raises(NotVerified) as refusal:
        check_promise(tmp_path, receipt)
    assert refusal.value.failures[0].code == "promise_broken"


# proofs made from a journal


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    FORGE.write(tmp_path)
    return tmp_path


def proved(directory: Path, shard: int, sequence: int, head: str | None = None) -> Receipt:
    ring = keyring(directory, FORGE.root.public)
    return verify_receipt(prove(directory, ring, shard, sequence, head), FORGE.root.public, head)


def test_every_record_is_proved_under_every_head_over_it(directory: Path) -> None:
    for shard in FORGE.shards:
        for sequence in range(len(shard.bodies)):
            found = proved(directory, shard.number, sequence)
            assert found.note == shard.heads[-1]
            assert found.records[0].body == shard.bodies[sequence]
            assert proved(directory, shard.number, sequence, FORGE.joints[-1]).note == shard.heads[-1]
    assert proved(directory, 0, 3, FORGE.shards[0].heads[1]).note == FORGE.shards[0].heads[1]


@pytest.mark.parametrize(
    ("shard", "sequence", "head"),
    [(0, 6, None), (0, 5, FORGE.shards[0].heads[1]), (1, 0, LAST), (0, 0, FORGE.joints[0]), (7, 0, None)],
)
def test_what_is_not_under_the_head_is_not_proved(directory: Path, shard: int, sequence: int, head: str | None) -> None:
    with pytest.raises(NotReadable) as refusal:
        proved(directory, shard, sequence, head)
    assert refusal.value.code == "record_unsigned"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("no note", "head given_signature"),
        (Forge("other").joints[0], "head given_foreign"),
        (made().shards[0].head(key=signer("a thief")), "head given_signature"),
    ],
)
def test_nothing_is_proved_under_a_head_that_does_not_hold(directory: Path, head: str, expected: str) -> None:
    with pytest.raises(NotVerified) as refusal:
        proved(directory, 0, 1, head)
    assert " ".join(refusal.value.failures[0]) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda log: log.unlink(), "shard-000 shard_missing"),
        (lambda log: log.write_bytes(log.read_bytes()[:-1]), "shard-000/5 record_truncated"),
        (lambda log: log.write_bytes(log_of(FORGE.shards[0].bodies[:5])), "shard-000/5 record_missing"),
        (lambda log: log.write_bytes(log_of(FORGE.shards[0].bodies[::-1])), "shard-000/1 receipt_leaf"),
        (
            lambda log: log.write_bytes(log_of([*FORGE.shards[0].bodies[:5], FORGE.body((0, 2))])),
            "shard-000/1 receipt_path",
        ),
    ],
)
def test_nothing_is_proved_from_a_log_that_does_not_hold(
    directory: Path, change: Callable[[Path], object], expected: str
) -> None:
    change(directory / "shard-000.log")
    with pytest.raises(NotVerified) as refusal:
        proved(directory, 0, 1)
    assert " ".join(refusal.value.failures[0]) == expected
