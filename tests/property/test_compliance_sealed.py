"""Whatever is done to the bytes of a sealed container, it opens as it was written or not at all."""

from __future__ import annotations

from io import BytesIO

from hypothesis import given, settings
from hypothesis import strategies as st

from compliance.crypto import Opener
from compliance.sealed.container import MAGIC, Container, write
from compliance.sealed.errors import SealedError
from tests.vectors.make_sealed import BOX, sealing

READABLE = {"manifest.json": b'{"name":"golden"}', "LICENSE": b"MIT License\n"}
HIDDEN = {"model.onnx": bytes(range(200)), "tokenizer.json": b"{}"}


def sealed() -> bytes:
    file = BytesIO()
    write(file, READABLE, HIDDEN, (sealing(BOX),))
    return file.getvalue()


SEALED = sealed()


def opened(data: bytes, key: Opener = BOX) -> tuple[dict[str, bytes], dict[str, bytes]] | None:
    """Both kinds of files; None where it is refused, by name."""
    try:
        found = Container(BytesIO(data))
        return dict(found.readable), found.content(found.recipients[0], key)
    except SealedError:
        return None


def test_it_opens_as_it_was_written() -> None:
    assert opened(SEALED) == (READABLE, HIDDEN)


def test_every_byte_that_is_changed_is_found() -> None:
    for place in range(len(SEALED)):
        changed = bytearray(SEALED)
        changed[place] ^= 1 << place % 8
        assert opened(bytes(changed)) is None, place


@given(place=st.integers(0, len(SEALED) - 1), value=st.integers(1, 255))
@settings(max_examples=300, deadline=None)
def test_whatever_a_byte_is_changed_to(place: int, value: int) -> None:
    changed = bytearray(SEALED)
    changed[place] ^= value
    assert opened(bytes(changed)) is None


@given(end=st.integers(0, len(SEALED) - 1))
@settings(max_examples=100, deadline=None)
def test_wherever_it_is_cut(end: int) -> None:
    assert opened(SEALED[:end]) is None


@given(at=st.integers(0, len(SEALED)), more=st.binary(min_size=1, max_size=40))
@settings(max_examples=200, deadline=None)
def test_whatever_is_put_in(at: int, more: bytes) -> None:
    assert opened(SEALED[:at] + more + SEALED[at:]) is None


@given(data=st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_what_is_no_container_is_refused_by_name(data: bytes) -> None:
    assert opened(data) is None
    assert opened(MAGIC + data) is None
    assert opened(MAGIC + len(data).to_bytes(4) + data) is None


@given(
    readable=st.dictionaries(st.from_regex(r"\A[a-z]{1,8}\Z"), st.binary(max_size=50), max_size=4),
    hidden=st.dictionaries(st.from_regex(r"\A[A-Z]{1,8}\Z"), st.binary(max_size=70_000), min_size=1, max_size=3),
)
@settings(max_examples=40, deadline=None)
def test_any_files_come_back(readable: dict[str, bytes], hidden: dict[str, bytes]) -> None:
    file = BytesIO()
    write(file, readable, hidden, (sealing(BOX),))
    assert opened(file.getvalue()) == (readable, hidden)
