"""Addresses of machines, and places on earth: IPv4, IPv6, MAC, coordinates, each with what it is often taken for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from policies.privacy.context import Words
from policies.privacy.identifiers import Found

__all__ = ["find"]


def find(text: str) -> Iterator[Found]:
    """The addresses and places in a text in plain form."""
    if _DOTTED.search(text):
        for match in _IPV4.finditer(text):
            yield "ip_address", *match.span(), _ipv4(text, match)
    if "::" in text or text.count(":") >= 7:
        for match in _IPV6.finditer(text):
            confidence = _ipv6(match[0])
            if confidence:
                yield "ip_address", *match.span(), confidence
    if text.count(":") >= 5 or text.count("-") >= 5:
        for match in _MAC.finditer(text):
            # all zeros and all ones name no machine
            yield "mac_address", *match.span(), 0.85 if len(set(match[0].lower())) > 2 else 0.3
    if _FRACTION.search(text) or "\N{DEGREE SIGN}" in text:
        yield from _places(text)


def _ipv4(text: str, match: re.Match[str]) -> float:
    before = text[max(0, match.start() - 12) : match.start()]
    address = IPv4Address(match[0])
    if _VERSION.search(before) or address.is_loopback or address.is_unspecified or address.is_multicast:
        return 0.2
    if _ADDRESS_WORDS.before(text, match.start()):
        return 0.95
    # four small numbers are a version more often than a machine; a network is not a machine
    if not address.is_global or _MASK.match(text, match.end()) or max(address.packed) < 10:
        return 0.3
    return 0.7 if max(address.packed) > 31 else 0.4


def _ipv6(written: str) -> float:
    try:
        address = IPv6Address(written)
    except AddressValueError:
        return 0
    if "::" not in written and all(len(group) == 2 for group in written.split(":")):
        return 0  # bytes of a fingerprint
    if "::" in written and written.count(":") < 4 and not any(one.isdigit() for one in written):
        return 0  # names of source code: a::b
    return 0.85 if address.is_global else 0.3


def _places(text: str) -> Iterator[Found]:
    for match in _DECIMAL.finditer(text):
        marked = match["north"] or match["east"] or "\N{DEGREE SIGN}" in match[0]
        yield "location", *match.span(), 0.9 if marked or _PLACE_WORDS.before(text, match.start()) else 0.4
    if "\N{DEGREE SIGN}" in text:
        for match in _SEXAGESIMAL.finditer(text):
            yield "location", *match.span(), 0.95


_DOTTED = re.compile(r"\.[0-9]{1,3}\.[0-9]")
_FRACTION = re.compile(r"\.[0-9]{4}")
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = re.compile(rf"(?<![0-9A-Za-z.])(?:{_OCTET}\.){{3}}{_OCTET}(?![0-9A-Za-z]|\.[0-9])")
_IPV6 = re.compile(r"(?<![0-9A-Za-z:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![0-9A-Za-z:])")
_MAC = re.compile(
    r"(?<![0-9A-Za-z:-])[0-9A-Fa-f]{2}(?P<mark>[:-])[0-9A-Fa-f]{2}(?:(?P=mark)[0-9A-Fa-f]{2}){4}"
    r"(?![0-9A-Za-z]|[:-][0-9A-Fa-f])"
)
_MASK = re.compile(r"/[0-9]{1,2}(?![0-9])")
_VERSION = re.compile(r"(?:version|release|build|\bv|[=~^<>]=|oid|section|chapter)[ :=]{0,3}\Z", re.IGNORECASE)
_ADDRESS_WORDS = Words(
    " ip ", " ips ", " ipv ", " addr", " host", "client", "remote", "adresse", "direcci", "indirizzo", "地址"
)  # fmt: skip
_DECIMAL = re.compile(
    r"(?<![0-9A-Za-z.])[+-]?(?:[0-8]?[0-9]|90)\.[0-9]{4,10}\N{DEGREE SIGN}?[ ]?(?P<north>[NS])?[,; ][ ]?"
    r"[+-]?(?:1[0-7][0-9]|[0-9]{1,2}|180)\.[0-9]{4,10}\N{DEGREE SIGN}?[ ]?(?P<east>[EWO](?![A-Za-z]))?(?![0-9.])"
)
_PART = r"[0-9]{1,3}\N{DEGREE SIGN}[ ]?[0-9]{1,2}['\u2032][ ]?(?:[0-9]{1,2}(?:\.[0-9]{1,4})?(?:\"|''|\u2033)[ ]?)?"
_SEXAGESIMAL = re.compile(rf"(?<![0-9]){_PART}[NS][,; ]{{0,2}}{_PART}[EWO](?![A-Za-z])")
_PLACE_WORDS = Words(
    " lat", " lon", " lng", " gps", "coord", "koord", "location", "position", "standort", "ubicaci", "posizione",
    "坐标", "位置",
)  # fmt: skip
