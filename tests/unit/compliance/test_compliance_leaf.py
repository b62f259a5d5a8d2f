"""Records of format 1, byte by byte: what is written is what docs/formats.md says, and nothing else is read."""

from __future__ import annotations

import hashlib
import struct
from io import BytesIO

import pytest

from compliance.verify.leaf import (
    ALLOWED,
    COMMITTED,
    FRAME,
    GAP,
    HEADER,
    MAX_BODY,
    NOBODY,
    PLACE,
    PLACED,
    Broken,
    Epoch,
    Gap,
    Leaf,
    Place,
    framed,
    frames,
    metadata_commitment,
    read_frame,
    record_name,
    seal_commitment,
    shard_name,
)
from compliance.verify.merkle import leaf_hash

SPOT = Place(ALLOWED, 3, 2**40, 7, 4, 2**41, bytes(range(16)))
# written by hand from the table in docs/formats.md
BODY = bytes.fromhex("01 02 0003 0000010000000000 00000007 0004 0000020000000000 000102030405060708090a0b0c0d0e0f") + (
    b"m" * 32 + b"s" * 32 + b"content"
)
RECORD = struct.pack(">I", len(BODY)) + BODY + hashlib.sha256(b"\0" + BODY).digest()[:8]


def test_a_record_is_laid_out_as_described() -> None:
    assert (PLACE, HEADER, COMMITTED, FRAME) == (42, 106, 74, 12)
    assert SPOT.packed() == BODY[:PLACE]
    assert PLACED.unpack_from(BODY) == (1, *SPOT[:6])
    assert Leaf.parsed(BODY) == (*SPOT, b"m" * 32, b"s" * 32, b"content")
    assert Leaf.parsed(BODY).place == SPOT
    assert Place(GAP, 0, 0, 0).packed()[16:26] == b"\xff\xff" + bytes(8)
    assert Place(GAP, 0, 0, 0)[4:6] == NOBODY
    assert (shard_name(7), record_name(7, 12)) == ("shard-007", "shard-007/12")


def test_a_record_has_its_length_before_and_the_start_of_its_leaf_hash_behind() -> None:
    leaf = hashlib.sha256(b"\0" + BODY).digest()
    assert leaf_hash(BODY) == leaf
    assert framed(BODY, leaf) == RECORD
    assert read_frame(memoryview(b"before" + RECORD + b"behind"), 6) == (BODY, leaf, 6 + len(RECORD))


def test_an_epoch_and_a_gap_are_laid_out_as_described() -> None:
    sealed = ((b"f" * 32, b"k" * 1168), (b"g" * 32, b"l" * 1168))
    epoch = struct.pack(">Q16sB", 5, b"w" * 16, 2) + b"".join(a + b for a, b in sealed)
    assert Epoch.parsed(epoch) == (5, b"w" * 16, sealed)
    assert Epoch.parsed(epoch).packed() == epoch
    gap = struct.pack(">QQQQ", 5, 6, 7, 8)
    assert Gap.parsed(gap) == (5, 6, 7, 8)
    assert Gap.parsed(gap).packed() == gap


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes(24),
        bytes(25),
        bytes(24) + b"\x01" + bytes(1199),
        bytes(24) + b"\x01" + bytes(1201),
        bytes(24) + b"\x11" + bytes(17 * 1200),
    ],
)
def test_an_epoch_of_another_length_is_refused(content: bytes) -> None:
    with pytest.raises(Broken) as broken:
        Epoch.parsed(content)
    assert broken.value.code == "record_malformed"


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_gap_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(Broken) as broken:
        Gap.parsed(bytes(length))
    assert broken.value.code == "record_malformed"


def test_commitments_are_made_as_described() -> None:
    assert metadata_commitment(b"o" * 32, b"{}") == hashlib.sha256(b"\x02" + b"o" * 32 + b"{}").digest()
    sealed = b"n" * 12 + b"ciphertext" + b"t" * 16
    committed = hashlib.sha256(b"\x03" + b"k" * 32 + b"n" * 12 + b"t" * 16 + b"bound").digest()
    assert seal_commitment(b"k" * 32, sealed, b"bound") == committed


@pytest.mark.parametrize("form", [0, *range(2, 256)])
def test_another_format_is_refused(form: int) -> None:
    with pytest.raises(Broken) as broken:
        Leaf.parsed(bytes([form]) + BODY[1:])
    assert broken.value.code == "record_format"


def test_a_record_is_refused_at_every_cut_and_every_flipped_bit() -> None:
    for end in range(len(RECORD)):
        with pytest.raises(Broken) as broken:
            read_frame(memoryview(RECORD[:end]), 0)
        assert broken.value.code == "record_truncated"
    for position in range(len(RECORD)):
        for bit in range(8):
            altered = RECORD[:position] + bytes([RECORD[position] ^ 1 << bit]) + RECORD[position + 1 :]
            with pytest.raises(Broken) as broken:
                read_frame(memoryview(altered), 0)
            in_length = {"record_check", "record_length", "record_truncated"}
            assert broken.value.code in (in_length if position < 4 else {"record_check"})


@pytest.mark.parametrize("length", [0, HEADER - 1, MAX_BODY + 1, 2**31, 2**32 - 1])
def test_a_length_that_no_record_has_is_refused_before_anything_is_read(length: int) -> None:
    with pytest.raises(Broken) as broken:
        read_frame(memoryview(struct.pack(">I", length) + bytes(200)), 0)
    assert broken.value.code == "record_length"


@pytest.mark.parametrize("at_once", [1, 7, 130, 1_000_000])
def test_a_log_is_read_in_parts(at_once: int) -> None:
    bodies = [BODY + bytes(number * 97) for number in range(20)]
    log = BytesIO(b"".join(framed(body, leaf_hash(body)) for body in bodies) + b"what comes later")
    size, heard = len(log.getvalue()) - len(b"what comes later"), [0]
    found = list(frames(lambda count: log.read(min(count, at_once)), size, heard.append))
    assert [(body, leaf) for body, leaf, _ in found] == [(body, leaf_hash(body)) for body in bodies]
    assert found[-1][2] == sum(heard) == size


def test_a_log_that_is_cut_while_it_is_read_ends_inside_a_record() -> None:
    reader = frames(BytesIO(RECORD + RECORD[:-1]).read, 2 * len(RECORD))
    assert next(reader)[0] == BODY
    with pytest.raises(Broken) as broken:
        next(reader)
    assert broken.value.code == "record_truncated"
