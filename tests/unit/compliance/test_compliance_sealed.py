"""A sealed container opens for its recipients, as it was written, and for nobody else and in no other form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from compliance.crypto import Opener, Sealer, Stream, Unauthentic
from compliance.sealed.container import CHUNK, MAX_RECIPIENTS, Container, Sealing, write
from compliance.sealed.errors import SealedError
from compliance.sealed.granted import in_force, key_of, made_key, sealing_to
from compliance.state.grants.meter import Kept, Used
from policies.facts import Manifest
from tests.granted import END, ISSUER, KEY, NOW, grant
from tests.vectors.make_sealed import BOX, LONG, MIDDLE, STRANGER, long, made, named, opener, sealing

MODEL = Manifest(
    format=1, name="minilm", version="1", digest="cd" * 32, task="embed", licence="MIT", inputs=(), outputs=()
)


def content(data: bytes, key: Opener = BOX, place: int = 0) -> dict[str, bytes]:
    found = Container(BytesIO(data))
    return found.content(found.recipients[place], key)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 5])
def test_what_is_sealed_is_opened_whatever_its_size(size: int) -> None:
    hidden = {"model.onnx": bytes(range(256)) * (size // 256) + bytes(size % 256), "a": b"x" * (size % 7), "b": b""}
    data = made({"manifest.json": b"{}"}, hidden, sealing(BOX))
    assert content(data) == hidden
    assert Container(BytesIO(data)).readable == {"manifest.json": b"{}"}


def test_each_recipient_opens_it_with_its_own_key() -> None:
    data = made({}, {"model.onnx": b"weights"}, sealing(BOX), sealing(STRANGER))
    assert content(data, BOX, 0) == content(data, STRANGER, 1) == {"model.onnx": b"weights"}
    for key, place in ((BOX, 1), (STRANGER, 0)):
        with pytest.raises(SealedError, match=r"does not open|not sealed to this key") as refused:
            content(data, key, place)
        assert refused.value.code == "sealed_altered"


def test_nothing_that_is_hidden_stands_in_the_file_and_no_two_files_are_alike() -> None:
    hidden = {"model.onnx": b"these are the weights of the model" * 100}
    one, two = made({}, hidden, sealing(BOX)), made({}, hidden, sealing(BOX))
    assert b"weights of the model" not in one
    assert one[-200:] != two[-200:]


@pytest.mark.parametrize(("attack", "code"), LONG.items(), ids=lambda one: named(one) if callable(one) else one)
def test_chunks_stay_in_their_places(attack: Callable[[], bytes], code: str) -> None:
    assert content(long())
    with pytest.raises(SealedError) as refused:
        content(attack())
    assert refused.value.code == code


@pytest.mark.parametrize("to", [(), (sealing(BOX), sealing(BOX)), [sealing(BOX)] * (MAX_RECIPIENTS + 1)])
def test_recipients_are_some_and_each_is_named_once(to: tuple[Sealing, ...]) -> None:
    file = BytesIO()
    with pytest.raises(SealedError) as refused:
        write(file, {}, {"model.onnx": b""}, to)
    assert refused.value.code == "sealed_recipients"
    assert file.getvalue() == b""


def test_the_buffer_of_the_chunks_is_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    buffers: list[bytearray] = []
    held: list[bytes] = []
    decrypt = Stream.decrypt_into

    def watched(self: Stream, sealed: bytes, plain: memoryview, *, last: bool) -> None:
        decrypt(self, sealed, plain, last=last)
        assert isinstance(plain.obj, bytearray)
        buffers.append(plain.obj)
        held.append(bytes(plain))

    monkeypatch.setattr(Stream, "decrypt_into", watched)
    assert content(made({}, {"model.onnx": b"weights"}, sealing(BOX))) == {"model.onnx": b"weights"}
    with pytest.raises(SealedError):
        content(long()[:-1] + b"\0")
    assert held[:2] == [b"weights", MIDDLE[:CHUNK]]
    assert not any(any(buffer) for buffer in buffers)


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.sealed"
    path.write_bytes(long())
    with path.open("rb") as file:
        found = Container(file)
        path.write_bytes(long()[: 2 * CHUNK])
        with pytest.raises(SealedError) as refused:
            found.content(found.recipients[0], BOX)
    assert refused.value.code in ("sealed_cut", "sealed_altered")


def test_a_stream_opens_in_its_order_and_to_its_end() -> None:
    key = bytes(32)
    sealer = Stream(key)
    one, two = sealer.encrypt(b"first", last=False), sealer.encrypt(b"second", last=True)
    for chunks in ([(two, False)], [(one, True)], [(one, False), (two, False)], [(one, False), (one, True)]):
        with pytest.raises(Unauthentic):
            opened_by(Stream(key), chunks)


def opened_by(stream: Stream, chunks: Sequence[tuple[bytes, bool]]) -> None:
    for chunk, last in chunks:
        stream.decrypt_into(chunk, memoryview(bytearray(len(chunk) - 16)), last=last)


def granted(holder: Opener = BOX, box: str = "ab" * 16, **terms: Any) -> Kept:
    """A grant with a key, as a box keeps it."""
    id_ = "07" * 16
    signed = grant(box, ISSUER, id=id_, sealing=made_key(id_, box, Sealer(holder.public)), **terms)
    return Kept(signed=signed, imported=0, revoked=None, used=Used(calls=0, tokens=0, cpu_us=0), held=0)


def test_sealed_to_a_grant_it_opens_with_the_grant_and_the_box_together() -> None:
    kept = granted()
    data = made({}, {"model.onnx": b"weights"}, sealing_to(kept.signed.terms))
    terms = in_force([kept], MODEL, NOW, {KEY})
    assert content(data, key_of(terms, BOX)) == {"model.onnx": b"weights"}
    with pytest.raises(SealedError):  # the box without what the grant carries
        content(data, BOX)
    with pytest.raises(SealedError) as refused:  # the grant in another box
        key_of(terms, STRANGER)
    assert refused.value.code == "sealed_foreign"


@pytest.mark.parametrize(
    ("terms", "revoked", "calls", "issuers", "code"),
    [
        ({"starts": NOW + 1}, None, 0, {KEY}, "sealed_grant_early"),
        ({"ends": NOW}, None, 0, {KEY}, "sealed_grant_over"),
        ({}, NOW - 1, 0, {KEY}, "sealed_grant_revoked"),
        ({"calls": 5}, None, 5, {KEY}, "sealed_grant_spent"),
        ({}, None, 0, set(), "sealed_grant_issuer"),
        ({"models": ("other*",)}, None, 0, {KEY}, "sealed_grant_model"),
    ],
)
def test_a_grant_that_is_not_in_force_opens_nothing(
    terms: dict[str, Any], revoked: int | None, calls: int, issuers: set[str], code: str
) -> None:
    one = granted(**terms)
    kept = Kept(signed=one.signed, imported=0, revoked=revoked, used=Used(calls=calls, tokens=0, cpu_us=0), held=0)
    with pytest.raises(SealedError) as refused:
        in_force([kept], MODEL, NOW, issuers)
    assert refused.value.code == code
    # beside it one that is in force opens it, in whatever order they come
    assert in_force([kept, one], MODEL, NOW, {KEY}) if not terms else True


def test_without_any_grant_it_is_foreign() -> None:
    with pytest.raises(SealedError) as refused:
        in_force([], MODEL, NOW, {KEY})
    assert refused.value.code == "sealed_foreign"


def test_a_grant_without_a_key_seals_and_opens_nothing() -> None:
    terms = grant("ab" * 16, ends=END).terms
    for use in (lambda: sealing_to(terms), lambda: key_of(terms, BOX)):
        with pytest.raises(SealedError) as refused:
            use()
        assert refused.value.code == "sealed_grant_keyless"


def test_a_key_that_is_not_the_one_it_states_is_refused() -> None:
    made_for, other = made_key("07" * 16, "ab" * 16, Sealer(BOX.public)), opener("another")
    swapped = type(made_for)(public=other.public, wrapped=made_for.wrapped)
    terms = grant("ab" * 16, id="07" * 16, sealing=swapped).terms
    with pytest.raises(SealedError, match="another key than it states"):
        key_of(terms, BOX)


def test_the_key_of_one_grant_does_not_pass_for_that_of_another() -> None:
    terms = grant("ab" * 16, id="08" * 16, sealing=made_key("07" * 16, "ab" * 16, Sealer(BOX.public))).terms
    with pytest.raises(SealedError) as refused:
        key_of(terms, BOX)
    assert refused.value.code == "sealed_foreign"
