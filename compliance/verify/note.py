"""Signed notes and checkpoints as C2SP has them (c2sp.org/signed-note, c2sp.org/tlog-checkpoint), with Ed25519."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass

from compliance.crypto import Signer, Unauthentic, sha256, verify

__all__ = ["Head", "opened", "signed"]

KEY_NAME = "sealpress.journal"
_ED25519 = b"\x01"


def signed(text: str, signer: Signer) -> str:
    """The note: the text, an empty line, the signature line. The text ends with a newline and has no empty line."""
    signature = _key_id(signer.public) + signer.sign(text.encode())
    return f"{text}\n— {KEY_NAME} {base64.b64encode(signature).decode()}\n"


def opened(note: str, public: bytes) -> str:
    """The text of a note that was signed with this key. Raises Unauthentic."""
    text, line, rest = note.partition(f"\n\n— {KEY_NAME} ")
    text += "\n"
    try:
        signature = base64.b64decode(rest.removesuffix("\n"), validate=True)
    except (binascii.Error, ValueError):
        signature = b""
    # written again and compared, so that no second spelling of the same note passes
    if not line or f"{text}\n— {KEY_NAME} {base64.b64encode(signature).decode()}\n" != note:
        raise Unauthentic("signature", "this is no signed note")
    if signature[:4] != _key_id(public):
        raise Unauthentic("signature", "the note was signed with another key")
    verify(public, signature[4:], text.encode())
    return text


@dataclass(frozen=True)
class Head:
    """A signed statement on a shard: so many leaves with this root, at this time, with these cumulative counters."""

    origin: str
    size: int
    root: bytes
    at: int  # nanoseconds since 1970
    counters: str  # JSON: {"allowed": calls, "refused": calls, "rules": {name: calls refused by it}}

    def text(self) -> str:
        root = base64.b64encode(self.root).decode()
        return f"{self.origin}\n{self.size}\n{root}\nat {self.at}\ncounters {self.counters}\n"

    @classmethod
    def parsed(cls, text: str) -> Head:
        """Raises ValueError for anything that the journal would not have written."""
        origin, size, root, at, counters = text.removesuffix("\n").split("\n")
        head = cls(
            origin=origin,
            size=int(size),
            root=base64.b64decode(root, validate=True),
            at=int(at.removeprefix("at ")),
            counters=counters.removeprefix("counters "),
        )
        if head.text() != text or head.size < 0 or head.at < 0 or len(head.root) != 32:
            raise ValueError("not in canonical form")
        _check_counters(counters.removeprefix("counters "))
        return head


def _check_counters(text: str) -> None:
    try:
        counters = json.loads(text)
        allowed, refused, rules = counters.pop("allowed"), counters.pop("refused"), counters.pop("rules")
        numbers = [allowed, refused, *rules.values()]
    except (AttributeError, KeyError, RecursionError, TypeError):
        raise ValueError("no counters") from None
    if counters or not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("no counters")


def _key_id(public: bytes) -> bytes:
    return sha256(KEY_NAME.encode(), b"\n", _ED25519, public)[:4]
