"""Format 0, byte by byte: what is written is what the page of the format says, and nothing else is read."""

from __future__ import annotations

import hashlib
import struct

import pytest

from compliance.verify.leaf import ALLOWED, MAX_BODY, Broken, Leaf, Place, commitment, framed, unframed

PLACE = Place(ALLOWED, 3, 2**40, 7, 4, 2**41, bytes(range(16)))
LEAF = Leaf(PLACE, b"metadata", b"payload!!", b"m" * 32, b"p" * 32)
# written by hand from the description at the top of compliance/verify/leaf.py
BODY = bytes.fromhex("0002000300000100000000000000000700040000020000000000000102030405060708090a0b0c0d0e0f") + (
    b"m" * 32 + b"p" * 32 + b"\0\0\0\x08" + b"\0\0\0\x09" + b"metadata" + b"payload!!"
)


def test_a_leaf_is_laid_out_as_described() -> None:
    assert len(PLACE.packed()) == 42
    assert LEAF.body() == BODY
    assert Leaf.parsed(BODY) == LEAF


def test_a_record_has_its_length_before_and_its_check_behind() -> None:
    length = struct.pack(">I", len(BODY))
    record = length + BODY + hashlib.sha256(length + BODY).digest()[:16]
    assert framed(BODY) == record
    assert unframed(memoryview(b"before" + record + b"behind"), 6) == (BODY, 6 + len(record))


def test_a_commitment_binds_its_label() -> None:
    assert commitment(b"metadata", b"x") == hashlib.sha256(b"metadata\0x").digest()
    assert commitment(b"metadata", b"x") != commitment(b"payload", b"x")


@pytest.mark.parametrize("kind", [0, 1, 6, 7, 255])
def test_a_kind_that_is_not_known_is_read_all_the_same(kind: int) -> None:
    body = BODY[:1] + bytes([kind]) + BODY[2:]
    assert Leaf.parsed(body).place.kind == kind


@pytest.mark.parametrize("form", range(1, 256))
def test_another_format_is_refused(form: int) -> None:
    with pytest.raises(Broken) as broken:
        Leaf.parsed(bytes([form]) + BODY[1:])
    assert broken.value.code == "record_format"


@pytest.mark.parametrize(
    "body",
    [
        *(BODY[:end] for end in range(len(BODY))),
        BODY + b"\0",
        BODY.replace(b"\0\0\0\x08", b"\0\0\0\x09"),
        BODY.replace(b"\0\0\0\x09", b"\xff\xff\xff\xff"),
        BODY.replace(b"\0\0\0\x08\0\0\0\x09", b"\xff\xff\xff\xff\xff\xff\xff\xff"),
    ],
)
def test_a_body_of_another_size_is_refused(body: bytes) -> None:
    with pytest.raises(Broken) as broken:
        Leaf.parsed(body)
    assert broken.value.code == "record_malformed"


def test_a_record_is_refused_at_every_cut_and_every_flipped_bit() -> None:
    record = framed(BODY)
    for end in range(len(record)):
        with pytest.raises(Broken) as broken:
            unframed(memoryview(record[:end]), 0)
        assert broken.value.code == "record_truncated"
    for position in range(len(record)):
        for bit in range(8):
            altered = record[:position] + bytes([record[position] ^ 1 << bit]) + record[position + 1 :]
            with pytest.raises(Broken) as broken:
                unframed(memoryview(altered), 0)
            in_length = {"record_check", "record_length", "record_truncated"}
            assert broken.value.code in (in_length if position < 4 else {"record_check"})


@pytest.mark.parametrize("length", [MAX_BODY + 1, 2**31, 2**32 - 1])
def test_a_length_that_no_record_has_is_refused_before_anything_is_read(length: int) -> None:
    with pytest.raises(Broken) as broken:
        unframed(memoryview(struct.pack(">I", length) + bytes(100)), 0)
    assert broken.value.code == "record_length"
