"""Pseudonyms in texts: what is found of a person becomes a token, which only this box can turn back.

A token is keyed by a salt of its subject (compliance.state.salts, class `token`), and bound to tenant, subject and
category. The same value of the same person has the same token, so that pseudonymised texts can be joined; destroying
the salt, as the erasure of the person does, makes the tokens mean nothing to everybody. Source: RFC 5297 (AES-SIV).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from compliance.crypto import Unauthentic, derive, pseudonymous, unpseudonymous
from compliance.state.salts import TOKEN, Salts
from policies.privacy import Detected

__all__ = ["Pseudonyms"]


class Pseudonyms:
    """The pseudonyms of one person. `subject` is the name under which calls know the person."""

    def __init__(self, salts: Salts, tenant: str, subject: str) -> None:
        self._salts = salts
        self._tenant = tenant
        self._subject = subject

    def pseudonymise(self, text: str, findings: Iterable[Detected]) -> str:
        """The text with a token in the place of every finding. Findings are those of this text and may overlap.

        What already has the form of a token is sealed as well, so that `restored` gives back every text. Raises
        StateError; ValueError for a finding outside the text.
        """
        spans = [(one.start, one.end, str(one.category)) for one in findings]
        if any(not 0 <= start < end <= len(text) for start, end, _ in spans):
            raise ValueError("a finding lies outside the text")
        spans += [(*match.span(), "token") for match in _FORM.finditer(text)]
        _, salt = self._salts.for_call(self._tenant, self._subject, TOKEN, "", "")
        parts, place = [], 0
        for start, end, category in _joined(spans):
            parts += [text[place:start], self._token(salt, category, text[start:end])]
            place = end
        return "".join([*parts, text[place:]])

    def restored(self, text: str) -> str:
        """The text with every token turned back.

        Raises Unauthentic for a token of another person, tenant or box, and when the salt was destroyed. Raises
        StateError.
        """
        rows = self._salts.rows_of(self._tenant, self._subject, TOKEN)
        # a person has at most one such row
        salt = next((salt for row in rows if (salt := self._salts.salt(row)) is not None), None)

        def value(match: re.Match[str]) -> str:
            if salt is None:
                raise Unauthentic("ciphertext", "the salt of these pseudonyms is not there any more")
            sealed = bytes.fromhex(match["sealed"].translate(_DIGITS))
            return unpseudonymous(_key(salt), sealed, self._bound(match["category"])).decode()

        return _FORM.sub(value, text)

    def _token(self, salt: bytes, category: str, value: str) -> str:
        sealed = pseudonymous(_key(salt), value.encode(), self._bound(category))
        return f"\u27e8{category}:{sealed.hex().translate(_LETTERS)}\u27e9"

    def _bound(self, category: str) -> bytes:
        return "\x00".join((self._tenant, self._subject, category)).encode()


# letters alone: a token is no number to a scan, and survives whatever counts words
_LETTERS = str.maketrans("0123456789abcdef", "bcdfghjklmnpqrst")
_DIGITS = str.maketrans("bcdfghjklmnpqrst", "0123456789abcdef")
_FORM = re.compile("\u27e8(?P<category>[a-z_]{1,32}):(?P<sealed>(?:[bcdfghjklmnpqrst]{2}){16,4096})\u27e9")


def _key(salt: bytes) -> bytes:
    return derive(salt, b"token.mac") + derive(salt, b"token.cipher")


def _joined(spans: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """In order, with those that overlap as one."""
    found: list[tuple[int, int, str]] = []
    for span in sorted(spans):
        if found and span[0] < found[-1][1]:
            start, end, category = found[-1]
            found[-1] = start, max(end, span[1]), category
        else:
            found.append(span)
    return found
