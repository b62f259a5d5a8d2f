"""E-mail addresses: the form of RFC 5321 that is in use, in Latin letters."""

from __future__ import annotations

import re
from collections.abc import Iterator

from policies.privacy.context import Candidate, Context

__all__ = ["find"]

MAX_LOCAL = 64  # RFC 5321, section 4.5.3.1.1
MAX_LOGIN = 67  # characters from the mark :// of a link to the end of the login in it


def find(context: Context) -> Iterator[Candidate]:
    """The addresses. From every @ it looks a bounded way to both sides."""
    text = context.text
    links = "://" in text
    for host in _HOST.finditer(text):
        at, top = host.start(), host["top"]
        before = text[max(0, at - MAX_LOCAL) : at]
        # the local part does not begin with a sign
        name = before[len(before.rstrip(_LOCAL)) :].lstrip(_SIGNS)
        if not name or ".." in name:
            continue
        start, end = at - len(name), host.end("top")
        if top.lower() in _FILES and text.count(".", at, end) == 1:
            confidence = 0.2
        elif host.lastgroup == "code":
            confidence = 0.2 if len(top) > 4 else 0.95
        elif host.lastgroup == "place" or name == "git" or (links and _is_login(text, start)):
            confidence = 0.4
        else:
            confidence = 0.95
        yield start, end, "email", confidence


def _is_login(text: str, start: int) -> bool:
    """Whether it stands in the address of a service, where it names a service more often than a person."""
    mark = text.rfind("://", max(0, start - MAX_LOGIN), start)
    return mark >= 0 and text.endswith(_SCHEMES, 0, mark) and _LOGIN.fullmatch(text, mark + 3, start) is not None


_LETTER = "A-Za-z0-9\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f"
# what follows an attribute in source code ("a @ b.transpose()"), and the place of a repository
_HOST = re.compile(
    rf"@(?<=[{_LETTER}_+-]@)(?:[{_LETTER}](?:[{_LETTER}-]{{0,61}}[{_LETTER}])?\.){{1,30}}"
    rf"(?P<top>xn--[a-z0-9-]{{2,59}}|[A-Za-z]{{2,24}})(?![{_LETTER}@])(?:(?P<code>[(\[=])|(?P<place>:[/~]))?"
)
_SIGNS = "%&'.+-"
_LOCAL = "".join(filter(re.compile(f"[{_LETTER}_{_SIGNS}]").match, map(chr, range(0x250))))
# names of files have the form of an address, too: icon@2x.png
_FILES = (
    "css", "csv", "gif", "gz", "html", "jpeg", "jpg", "js", "json", "mjs", "pdf", "png", "svg", "tar", "txt", "wasm",
    "webp", "xml", "yaml", "yml",
)  # fmt: skip
_SCHEMES = (
    "http", "https", "ssh", "git", "ftp", "sftp", "postgres", "postgresql", "mysql", "redis", "rediss", "amqp", "amqps",
    "mongodb", "ldap", "ldaps",
)  # fmt: skip
_LOGIN = re.compile(r"[^\s/@]{0,64}")
