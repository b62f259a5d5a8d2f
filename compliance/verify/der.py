"""DER (ITU-T X.690, section 10) as far as tokens of time have it: tags of one byte, and lengths in one spelling."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

__all__ = [
    "BOOLEAN",
    "INTEGER",
    "NULL",
    "OCTETS",
    "OID",
    "SEQUENCE",
    "SET",
    "TIME",
    "Element",
    "element",
    "encoded",
    "integer",
    "moment",
    "named",
    "number",
    "oid",
    "read",
]

BOOLEAN, INTEGER, OCTETS, NULL, OID, TIME, SEQUENCE, SET = 0x01, 0x02, 0x04, 0x05, 0x06, 0x18, 0x30, 0x31
_MOST = 2**20  # elements in one
_CONSTRUCTED = 0x20


class Element(NamedTuple):
    """An element: its tag, what is in it, and all of its bytes."""

    tag: int
    content: bytes
    whole: bytes

    def inside(self) -> list[Element]:
        """The elements in it. Raises ValueError."""
        if not self.tag & _CONSTRUCTED:
            raise ValueError("nothing is inside this element")
        return list(_elements(self.content))


def read(data: bytes, tag: int) -> Element:
    """The one element that the bytes are. Raises ValueError."""
    found = list(_elements(data))
    if len(found) != 1 or found[0].tag != tag:
        raise ValueError("another element")
    return found[0]


def element(found: list[Element], tag: int) -> Element | None:
    """Take the first element off the list when it has this tag."""
    return found.pop(0) if found and found[0].tag == tag else None


def named(found: list[Element], tag: int) -> Element:
    """Take the first element off the list, which must have this tag. Raises ValueError."""
    first = element(found, tag)
    if first is None:
        raise ValueError("another element")
    return first


def number(one: Element) -> int:
    """The value of an INTEGER in its shortest spelling. Raises ValueError."""
    content = one.content
    padded = len(content) > 1 and content[0] in (0, 0xFF) and (content[0] ^ content[1]) < 0x80
    if one.tag != INTEGER or not content or padded:
        raise ValueError("no number")
    return int.from_bytes(content, "big", signed=True)


def moment(one: Element) -> int:
    """The time of a GeneralizedTime as RFC 3161 has it, in UTC with any fraction of a second, in ns since 1970. Raises
    ValueError."""
    text = one.content.decode("ascii")
    whole, point, fraction = text.removesuffix("Z").partition(".")
    plain = whole.isdigit() and len(whole) == 14 and text.endswith("Z")
    if one.tag != TIME or not plain or (point and (not fraction.isdigit() or fraction.endswith("0"))):
        raise ValueError("no time")
    seconds = int(datetime.strptime(whole, "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp())
    return seconds * 10**9 + int(fraction[:9].ljust(9, "0"))


def encoded(tag: int, *parts: bytes) -> bytes:
    """An element with these contents, one behind the other."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def integer(value: int) -> bytes:
    """An INTEGER that is not negative."""
    return encoded(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def oid(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER."""
    first, second, *rest = map(int, dotted.split("."))
    content = bytearray()
    for value in (first * 40 + second, *rest):
        groups = [value & 0x7F]
        while value := value >> 7:
            groups.append(0x80 | (value & 0x7F))
        content += bytes(reversed(groups))
    return encoded(OID, bytes(content))


def _elements(data: bytes) -> Iterator[Element]:
    start = 0
    for _ in range(_MOST):
        if start == len(data):
            return
        tag, length, begin = data[start], *_length(data, start + 1)
        end = begin + length
        if tag & 0x1F == 0x1F or end > len(data):
            raise ValueError("no element")
        yield Element(tag, data[begin:end], data[start:end])
        start = end
    raise ValueError("too many elements")


def _length(data: bytes, at: int) -> tuple[int, int]:
    """How long the content is, and where it begins."""
    if at >= len(data):
        raise ValueError("cut")
    first = data[at]
    if first < 0x80:
        return first, at + 1
    size = first & 0x7F
    content = data[at + 1 : at + 1 + size]
    length = int.from_bytes(content, "big")
    if not 1 <= size <= 4 or len(content) != size or length < 0x80 or content[0] == 0:
        raise ValueError("a length in another spelling")
    return length, at + 1 + size
