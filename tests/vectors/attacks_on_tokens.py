"""What may be done to the bytes of a token of time, and the code by which it must be refused.

All of it is done to DER: elements in another spelling, parts that are missing, too many, or of another kind, and what
is signed. The token must have its parts in the order in which tests.authorities writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from compliance.verify import der

__all__ = ["SIGNATURE", "Edited", "edited", "part_of", "replaced", "token_attacks"]

Edit = Callable[[bytes], bytes]
Place = tuple[int, ...]
# where the parts of a token stand in it
_SIGNED: Place = (1, 0)
_INFO: Place = (*_SIGNED, 2, 1, 0, 0)
_CERTIFICATES: Place = (*_SIGNED, 3)
_SIGNERS: Place = (*_SIGNED, 4)
_SIGNER: Place = (*_SIGNERS, 0)
_ATTRIBUTES: Place = (*_SIGNER, 3)
SIGNATURE: Place = (*_SIGNER, 5)
_NOTHING = der.encoded(der.NULL)


class Edited(NamedTuple):
    name: str
    token: bytes
    code: str


def token_attacks(token: bytes) -> Iterator[Edited]:
    """Every attack on the bytes of a token that holds; the same each time."""
    for make in (_encodings, _structures, _signatures):
        yield from make(token)


def edited(data: bytes, path: Sequence[int], edit: Edit) -> bytes:
    """DER with another element at a place; what an OCTET STRING holds counts as inside it."""
    if not path:
        return edit(data)
    [tag] = data[:1]
    wrapping = der.read(data, tag)
    inside = list(der.Element(0x30, wrapping.content, wrapping.content).inside())
    parts = [one.whole for one in inside]
    parts[path[0]] = edited(parts[path[0]], path[1:], edit)
    return der.encoded(tag, *parts)


def part_of(data: bytes, path: Sequence[int]) -> bytes:
    found: list[bytes] = []

    def seen(whole: bytes) -> bytes:
        found.append(whole)
        return whole

    edited(data, path, seen)
    return found[0]


def _encodings(token: bytes) -> Iterator[Edited]:
    """DER that is cut, in another spelling, or of indefinite length."""
    for share in range(12):
        size = len(token) * share // 12
        yield Edited(f"token of which {share} of 12 parts are here", token[:size], "timestamp_malformed")
    yield Edited("token and a byte", token + b"\0", "timestamp_malformed")
    yield Edited("token twice", token * 2, "timestamp_malformed")
    places = {
        "token": (), "signed data": _SIGNED, "content": (*_SIGNED, 2, 1, 0), "certificates": _CERTIFICATES,
        "certificate": (*_CERTIFICATES, 0), "signer": _SIGNER, "time": (*_INFO, 4), "attributes": _ATTRIBUTES,
    }  # fmt: skip
    for what, path in places.items():
        yield Edited(f"{what} of indefinite length", edited(token, path, _indefinite), "timestamp_malformed")
        yield Edited(f"{what} of a length in another spelling", edited(token, path, _long), "timestamp_malformed")
        yield Edited(f"{what} longer than it is", edited(token, path, _longer), "timestamp_malformed")
        yield Edited(f"{what} under a long tag", edited(token, path, _tagged), "timestamp_malformed")


def _indefinite(data: bytes) -> bytes:
    return data[:1] + b"\x80" + der.read(data, data[0]).content + bytes(2)


def _long(data: bytes) -> bytes:
    content = der.read(data, data[0]).content
    return data[:1] + b"\x84" + len(content).to_bytes(4, "big") + content


def _longer(data: bytes) -> bytes:
    content = der.read(data, data[0]).content
    return data[:1] + b"\x84" + (2**31 + len(content)).to_bytes(4, "big") + content


def _tagged(data: bytes) -> bytes:
    return b"\x3f" + data


def _structures(token: bytes) -> Iterator[Edited]:
    """What is DER, and no token: parts that are missing, too many, or of another kind."""
    data, sha1 = der.oid("1.2.840.113549.1.7.1"), der.encoded(der.SEQUENCE, der.oid("1.3.14.3.2.26"))
    ed25519, pss = (der.encoded(der.SEQUENCE, der.oid(name)) for name in ("1.3.101.112", "1.2.840.113549.1.1.10"))
    for what, path, edit in (
        ("content of another kind", (0,), replaced(data)),
        ("content inside of another kind", (*_SIGNED, 2, 0), replaced(data)),
        ("no content", (*_SIGNED, 2, 1), replaced(b"")),
        ("no certificates", _CERTIFICATES, replaced(b"")),
        ("an empty list of certificates", _CERTIFICATES, replaced(der.encoded(0xA0))),
        ("a certificate that is none", _CERTIFICATES, replaced(der.encoded(0xA0, _NOTHING))),
        ("the certificate twice", (*_CERTIFICATES, 0), _twice),
        ("no signer", _SIGNERS, replaced(der.encoded(der.SET))),
        ("two signers", _SIGNER, _twice),
        ("lists of signers twice", _SIGNERS, _twice),
        ("signer of version 3", (*_SIGNER, 0), replaced(der.integer(3))),
        ("signer without a serial number", (*_SIGNER, 1, 1), replaced(b"")),
        ("signer with another serial number", (*_SIGNER, 1, 1), replaced(der.integer(3))),
        ("signer of another issuer", (*_SIGNER, 1, 0), replaced(der.encoded(der.SEQUENCE))),
        ("signer with SHA-1", (*_SIGNER, 2), replaced(sha1)),
        ("signer with no digest", (*_SIGNER, 2), replaced(der.encoded(der.SEQUENCE))),
        ("signer without attributes", _ATTRIBUTES, replaced(b"")),
        ("signature named as of Ed25519", (*_SIGNER, 4), replaced(ed25519)),
        ("signature named as of PSS", (*_SIGNER, 4), replaced(pss)),
        ("no signature", SIGNATURE, replaced(b"")),
        ("signature twice", SIGNATURE, _twice),
        ("version of what is said 2", (*_INFO, 0), replaced(der.integer(2))),
        ("version of what is said in another spelling", (*_INFO, 0), replaced(b"\x02\x02\x00\x01")),
        ("no policy", (*_INFO, 1), replaced(b"")),
        ("no imprint", (*_INFO, 2), replaced(b"")),
        ("an empty imprint", (*_INFO, 2), replaced(der.encoded(der.SEQUENCE))),
        ("no time", (*_INFO, 4), replaced(b"")),
        ("time in two digits of the year", (*_INFO, 4), replaced(der.encoded(0x17, b"261123120000Z"))),
        ("time of no zone", (*_INFO, 4), replaced(der.encoded(der.TIME, b"20261123120000"))),
        ("time of another zone", (*_INFO, 4), replaced(der.encoded(der.TIME, b"20261123120000+0100"))),
        ("time of no such day", (*_INFO, 4), replaced(der.encoded(der.TIME, b"20260230120000Z"))),
        ("time of no such second", (*_INFO, 4), replaced(der.encoded(der.TIME, b"20261123120060Z"))),
        ("time of no such year", (*_INFO, 4), replaced(der.encoded(der.TIME, b"00001123120000Z"))),
        ("time with a point", (*_INFO, 4), replaced(der.encoded(der.TIME, b"20261123120000.Z"))),
        ("time with a zero behind", (*_INFO, 4), replaced(der.encoded(der.TIME, b"20261123120000.50Z"))),
        ("nonce in another spelling", (*_INFO, 6), replaced(b"\x02\x03\x00\x5e\xa1")),
        ("nonce of no bytes", (*_INFO, 6), replaced(der.encoded(der.INTEGER))),
        ("an extension", (*_INFO, 6), lambda nonce: nonce + der.encoded(0xA1)),
        ("something behind a name", (*_INFO, 6), lambda nonce: nonce + der.encoded(0xA0) + _NOTHING),
        ("certificate cut", (*_CERTIFICATES, 0), _inner(lambda content: content[:-9])),
        ("certificate of version 2", (*_CERTIFICATES, 0, 0, 0, 0), replaced(der.integer(1))),
        ("certificate of a later version", (*_CERTIFICATES, 0, 0, 0, 0), replaced(der.integer(3))),
        ("certificate without a name", (*_CERTIFICATES, 0, 0, 5, 0), replaced(der.encoded(der.SET))),
        ("certificate of no zone", (*_CERTIFICATES, 0, 0, 4, 0), replaced(der.encoded(0x17, b"200101000000"))),
        ("certificate with a spare bit", (*_CERTIFICATES, 0, 2), replaced(der.encoded(0x03, b"\x01\x01"))),
    ):  # fmt: skip
        yield Edited(what, edited(token, path, edit), "timestamp_malformed")


def replaced(content: bytes) -> Edit:
    """Other bytes instead of an element."""
    return lambda _: content


def _twice(whole: bytes) -> bytes:
    return whole * 2


def _inner(edit: Edit) -> Edit:
    """An edit of the content of an element."""
    return lambda whole: der.encoded(whole[0], edit(der.read(whole, whole[0]).content))


def _flip(place: int) -> Edit:
    """Another bit at this place of the content."""

    def flipped(content: bytes) -> bytes:
        found = bytearray(content)
        found[place] ^= 1
        return bytes(found)

    return _inner(flipped)


def _signatures(token: bytes) -> Iterator[Edited]:
    """What is signed, and by whom: attributes, the signature, and everything under it."""
    names = ("content type", "digest", "name of the certificate")
    for number, what in enumerate(names):
        path = (*_ATTRIBUTES, number)
        for how, edit in (("removed", replaced(b"")), ("twice", _twice)):
            yield Edited(f"{what} {how}", edited(token, path, edit), "timestamp_signature")
        for how, edit in (
            ("with two values", _twice),
            ("with no value", replaced(b"")),
            ("of null", replaced(_NOTHING)),
        ):
            yield Edited(f"{what} {how}", edited(token, (*path, 1, 0), edit), "timestamp_signature")
    for what, path in (("no certificate", (2, 1, 0, 0)), ("nothing", (2, 1, 0, 0, 0))):
        empty = replaced(der.encoded(der.SEQUENCE))
        yield Edited(
            f"the certificate named as {what}", edited(token, (*_ATTRIBUTES, *path), empty), "timestamp_signature"
        )
    yield Edited(
        "attributes that are none",
        edited(token, _ATTRIBUTES, replaced(der.encoded(0xA0, _NOTHING))),
        "timestamp_signature",
    )
    for place in (0, 1, 3, 5, 20, -1):
        yield Edited(f"signature flipped at {place}", edited(token, SIGNATURE, _flip(place)), "timestamp_signature")
    r = der.integer(1)
    for what, signature in (
        ("empty", b""),
        ("of zeros", der.encoded(der.SEQUENCE, der.integer(0), der.integer(0))),
        ("of one number", der.encoded(der.SEQUENCE, r)),
        ("of three numbers", der.encoded(der.SEQUENCE, r, r, r)),
        ("of large numbers", der.encoded(der.SEQUENCE, der.integer(2**300), r)),
        ("of negative numbers", der.encoded(der.SEQUENCE, b"\x02\x01\xff", r)),
        ("in plain form", bytes(64)),
    ):
        content = replaced(der.encoded(der.OCTETS, signature))
        yield Edited(f"signature {what}", edited(token, SIGNATURE, content), "timestamp_signature")
    for what, path, edit in (
        ("serial number", (*_INFO, 3), replaced(der.integer(8))),
        ("policy", (*_INFO, 1), replaced(der.oid("1.2.3.5"))),
        ("time", (*_INFO, 4), replaced(der.encoded(der.TIME, b"20261123121500Z"))),
        ("imprint", (*_INFO, 2, 1), replaced(der.encoded(der.OCTETS, bytes(32)))),
        ("nonce", (*_INFO, 6), replaced(der.integer(1))),
        ("exactness", (*_INFO, 5), replaced(b"")),
        ("key", (*_CERTIFICATES, 0, 0, 6, 1), _flip(-1)),
        ("usage", (*_CERTIFICATES, 0, 0, 7, 0, 1, 2), _flip(-1)),
        ("signature of the certificate", (*_CERTIFICATES, 0, 2), _flip(20)),
    ):
        yield Edited(f"{what} edited", edited(token, path, edit), "timestamp_signature")
