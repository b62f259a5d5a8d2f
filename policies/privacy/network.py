"""Addresses of machines, and places on earth: IPv4, IPv6, MAC, coordinates, each with what it is often taken for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

from policies.privacy.context import Candidate, Context, Weights

__all__ = ["find"]


def find(context: Context) -> Iterator[Candidate]:
    """The addresses and places."""
    text = context.text
    if _DOTTED.search(text):
        for match in chain(_MACHINE.finditer(text), context.doubtful(_UNLIKELY, "address")):
            start = match.start() + 1
            if match["named"] is None or not _VERSION.search(text, max(0, start - 12), start):
                yield start, match.end(), "ip_address", _MACHINES[match.re]
    colons = text.count(":")
    if colons >= 7 or "::" in text:
        for match in _IPV6.finditer(text):
            if _is_ipv6(match[0]):
                yield match.start() + 1, match.end(), "ip_address", 0.85 if match["local"] is None else 0.3
    if colons >= 5 or text.count("-") >= 5:
        for match in _MAC.finditer(text):
            # all zeros and all ones name no machine
            yield match.start() + 1, match.end(), "mac_address", 0.85 if len(set(match[0][1:].lower())) > 2 else 0.3
    if _FRACTION.search(text):
        for match in _MARKED.finditer(text):
            yield match.start() + 1, match.end(), "location", 0.9
        for match in context.doubtful(_DECIMAL, "place"):
            yield match.start() + 1, match.end(), "location", _PLACE
    if "\N{DEGREE SIGN}" in text:
        for match in _SEXAGESIMAL.finditer(text):
            yield match.start() + 1, match.end(), "location", 0.95


def _is_ipv6(found: str) -> bool:
    """Whether it has eight groups at most, and is no name of source code such as abc::def."""
    colons = found.count(":")
    return colons < 8 and (colons > 3 or any(map(str.isdigit, found)))


_PLACE = Weights("place", 0.9, 0.4, 0.4)
_VERSION = re.compile(r"(?:version|release|build|\bv|[=~^<>]=|oid|section|chapter)[ :=]{0,3}\Z", re.IGNORECASE)

_DOTTED = re.compile(r"\.[0-9]{1,3}\.[0-9]")
_FRACTION = re.compile(r"\.[0-9]{4}")
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_UP_TO_31 = "(?:[12]?[0-9]|3[01])"
# the registry of special addresses (IANA, RFC 6890), of which loopback, unspecified and multicast are no machine's
_NOWHERE = r"127\.|0\.0\.0\.0(?![0-9])|2(?:2[4-9]|3[0-9])\."
_SPECIAL = (
    r"(?:0|10|24[0-9]|25[0-5])\.|100\.(?:6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7])\.|169\.254\.|172\.(?:1[6-9]|2[0-9]|3[01])\."
    r"|192\.168\.|192\.0\.[02]\.|198\.(?:1[89]|51\.100)\.|203\.0\.113\."
)
_FOUR = rf"(?:{_OCTET}\.){{3}}{_OCTET}(?![0-9A-Za-z]|\.[0-9])"
_FOUR_SMALL = rf"{_UP_TO_31}(?:\.{_UP_TO_31}){{3}}(?![0-9])"
_NETWORK = r"/[0-9]{1,2}(?![0-9])"
# what stands before it may be the word that makes it a version
_NAMED = "(?P<named>(?<==)|(?<=[A-Za-z=][ :=])|(?<=[A-Za-z=][ :=]{2})|(?<=[A-Za-z=][ :=]{3}))?"
_ADDRESS = r"[^0-9A-Za-z.](?=(?:[0-9]{1,3}\.){3}[0-9])" + _NAMED + f"(?!{_NOWHERE})"
_MACHINE = re.compile(rf"{_ADDRESS}(?!{_SPECIAL}|{_FOUR_SMALL}){_FOUR}(?!{_NETWORK})")
# four small numbers are a version more often than a machine, and a network is none
_UNLIKELY = re.compile(rf"{_ADDRESS}(?:(?={_SPECIAL}|{_FOUR_SMALL}){_FOUR}|{_FOUR}(?={_NETWORK}))")
_MACHINES = {_MACHINE: Weights("address", 0.95, 0.7, 0.7), _UNLIKELY: Weights("address", 0.95, 0.3, 0.3)}
_HEX = "[0-9A-Fa-f]"
# Of the special addresses (RFC 6890) those of a network of one's own are doubtful; loopback, those in documents and of
# protocols are nobody's, nor are eight bytes of a fingerprint. Shortened is only what begins with a group of some size.
_NOBODY = (
    rf"0{{1,4}}:|2001:(?:0?[Dd][Bb]8|[01]?{_HEX}{{0,2}}|0[01]{_HEX}{{2}}):"
    rf"|(?:{_HEX}{{2}}:){{7}}{_HEX}{{2}}(?!{_HEX})"
)
_IPV6 = re.compile(
    rf"""
    [^0-9A-Za-z:.] (?={_HEX}{{1,4}}:) (?!{_NOBODY})
    (?P<local> (?=[Ff](?:[CcDdFf]{_HEX}|[Ee][89ABab]){_HEX}) )?
    (?: {_HEX}{{1,4}}(?::{_HEX}{{1,4}}){{7}}
      | {_HEX}{{3,4}}(?::{_HEX}{{1,4}}){{0,5}}::(?:{_HEX}{{1,4}}(?::{_HEX}{{1,4}}){{0,5}})? )
    (?![0-9A-Za-z:])
    """,
    re.VERBOSE,
)
_MAC = re.compile(
    rf"[^0-9A-Za-z:-]{_HEX}{{2}}(?P<mark>[:-]){_HEX}{{2}}(?:(?P=mark){_HEX}{{2}}){{4}}(?![0-9A-Za-z]|[:-]{_HEX})"
)
_NORTH, _EAST = r"[+-]?(?:[0-8]?[0-9]|90)\.[0-9]{4,10}", r"[+-]?(?:1[0-7][0-9]|[0-9]{1,2}|180)\.[0-9]{4,10}"
_DECIMAL = re.compile(rf"[^0-9A-Za-z.]{_NORTH}[ ]?[,; ][ ]?{_EAST}(?![0-9.])")
_TO_NORTH = r"(?:\N{DEGREE SIGN}[ ]?[NS]?|[ ]?[NS])"
_TO_EAST = r"(?:\N{DEGREE SIGN}?[ ]?[EWO](?![A-Za-z])|\N{DEGREE SIGN})"
_MARKED = re.compile(
    rf"[^0-9A-Za-z.]{_NORTH}(?:{_TO_NORTH}[,; ][ ]?{_EAST}{_TO_EAST}?|[ ]?[,; ][ ]?{_EAST}{_TO_EAST})(?![0-9.])"
)
_PART = r"[0-9]{1,3}\N{DEGREE SIGN}[ ]?[0-9]{1,2}['\u2032][ ]?(?:[0-9]{1,2}(?:\.[0-9]{1,4})?(?:\"|''|\u2033)[ ]?)?"
_SEXAGESIMAL = re.compile(rf"[^0-9]{_PART}[NS][,; ]{{0,2}}{_PART}[EWO](?![A-Za-z])")
