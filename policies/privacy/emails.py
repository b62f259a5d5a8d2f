"""E-mail addresses: the form of RFC 5321 that is in use, in Latin letters."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["find"]

MAX_LOCAL = 64  # RFC 5321, section 4.5.3.1.1


def find(text: str) -> Iterator[tuple[int, int, float]]:
    """Start, end and confidence of each address. From every @ it looks a bounded way to both sides."""
    at = text.find("@")
    while at >= 0:
        name = _LOCAL.match(text[max(0, at - MAX_LOCAL) : at][::-1])
        host = _DOMAIN.match(text, at + 1)
        if name and host and ".." not in name[0]:
            start = at - name.end()
            yield start, host.end(), _confidence(text, start, host)
        at = text.find("@", at + 1)


# read backwards from the @: the local part neither begins nor ends with a dot
_LETTER = "A-Za-z0-9\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f"
_LOCAL = re.compile(rf"[{_LETTER}_+-](?:[{_LETTER}%&'._+-]{{0,62}}[{_LETTER}_])?")
_DOMAIN = re.compile(
    rf"(?:[{_LETTER}](?:[{_LETTER}-]{{0,61}}[{_LETTER}])?\.){{1,30}}"
    rf"(?P<top>xn--[a-z0-9-]{{2,59}}|[A-Za-z]{{2,24}})(?![{_LETTER}@])"
)
# names of files ("icon@2x.png") and attributes in source code ("a @ b.transpose()") have the form of an address, too
_FILES = re.compile("css|csv|gif|gz|html|jpe?g|js|json|mjs|pdf|png|svg|tar|txt|wasm|webp|xml|ya?ml", re.IGNORECASE)
_CODE = re.compile(r"[(\[=]")
# a login in an address, or the place of a repository: a name of a service more often than of a person
_LOGIN = re.compile(r"(?:https?|ssh|git|s?ftp|postgres(?:ql)?|mysql|rediss?|amqps?|mongodb|ldaps?)://[^\s/@]{0,64}\Z")
_PLACE = re.compile(r":[/~]")


def _confidence(text: str, start: int, host: re.Match[str]) -> float:
    top, end = host["top"], host.end()
    if (host[0].count(".") == 1 and _FILES.fullmatch(top)) or (len(top) > 4 and _CODE.match(text, end)):
        return 0.2
    if _PLACE.match(text, end) or text.startswith("git@", start) or _LOGIN.search(text[max(0, start - 80) : start]):
        return 0.4
    return 0.95
