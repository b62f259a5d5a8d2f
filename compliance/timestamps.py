"""Tokens of time over the joint heads of a box (RFC 3161): asked for, checked when they come, kept beside its journal.

timestamps/SHA256.json                  what came, each by the digest of its token (docs/formats.md)
timestamps/requests/IMPRINT-NONCE.json  what waits for its token: a file like it, without a token
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from compliance.crypto import Unauthentic, fresh
from compliance.disk import put
from compliance.verify import der
from compliance.verify.authority import roots_in
from compliance.verify.errors import NotVerified
from compliance.verify.leaf import Broken
from compliance.verify.note import Note
from compliance.verify.statements import JointHead
from compliance.verify.timestamp import Kept, Stamped, imprint, request
from policies.errors import Unusable

__all__ = ["MAX_RESPONSE", "TIMESTAMPS", "TimestampError", "ask", "kept_in", "roots_of", "take"]

TIMESTAMPS = "timestamps"
MAX_RESPONSE = 131_072  # bytes
_REQUESTS = "requests"
_MAX_FILE, _MAX_ROOTS = 2_000_000, 2_000_000  # bytes
_GRANTED = (0, 1)  # PKIStatus, RFC 3161 section 2.4.2
_NONCE = 16  # bytes


class TimestampError(Unusable):
    """A token of time that cannot be asked for, or taken in."""

    hints: ClassVar[Mapping[str, str]] = {
        "timestamp_roots": "Name files of root certificates (PEM): roots under [timestamps], or --tsa-root.",
        "timestamp_refused": "Ask the authority why, or ask another one: the request itself can be sent again.",
        "timestamp_unasked": "Take the answer to a request of this box: `sealpress journal timestamp --request FILE`.",
        "timestamp_unreachable": "Check the address, or carry the request by hand: --request FILE, then --import FILE.",
    }


def ask(folder: Path, note: str) -> bytes:
    """A request for a token over a joint head, as DER; the box remembers that it asked. Raises Failed."""
    first = Note.parsed(note).first()
    nonce = int.from_bytes(fresh(_NONCE), "big")
    kept = Kept(first, JointHead.parsed(first.text), nonce, b"")
    put(folder / _REQUESTS / f"{imprint(first).hex()}-{nonce:x}.json", kept.written())
    return request(imprint(first), nonce)


def take(folder: Path, response: bytes, roots: Sequence[bytes]) -> Stamped:
    """Check the answer of an authority (RFC 3161 section 2.4.2, DER) up to these roots, and keep its token.

    Raises TimestampError: timestamp_refused (the authority gave none), timestamp_unasked (nothing waits for one);
    NotVerified, where the token does not hold for any request; Failed.
    """
    token = _token(response)
    waiting = sorted((folder / _REQUESTS).glob("*.json"))
    if not waiting:
        raise TimestampError("timestamp_unasked", "this box has asked for no token")
    failed: list[str] = []
    for path in waiting:
        try:
            asked = _read(path)
            kept = Kept(asked.note, asked.head, asked.nonce, token)
            stamped = kept.check(roots)
        except Broken as broken:
            failed.append(broken.code)
            continue
        put(folder / f"{kept.digest}.json", kept.written())
        with suppress(FileNotFoundError):
            path.unlink()
        return stamped
    # of a request that the token is for in part, the reason says more
    failed.sort(key=lambda code: (code == "timestamp_imprint", code == "timestamp_nonce"))
    raise NotVerified.at("token", failed[0])


def kept_in(folder: Path) -> tuple[Kept, ...]:
    """The tokens that are kept. Raises NotVerified: timestamp_malformed."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(_read(path))
        except Broken as broken:
            raise NotVerified.at(path.name, broken.code) from None
    return tuple(found)


def roots_of(paths: Sequence[Path]) -> tuple[bytes, ...]:
    """The certificates in these PEM files, in DER. Raises TimestampError: timestamp_roots."""
    found: list[bytes] = []
    for path in paths:
        try:
            with path.open("rb") as file:
                found += roots_in(file.read(_MAX_ROOTS))
        except (OSError, Unauthentic):
            raise TimestampError("timestamp_roots", f"{path} holds no certificate in PEM") from None
    return tuple(found)


def _token(response: bytes) -> bytes:
    """The token in an answer. Raises TimestampError, NotVerified."""
    try:
        status, *tokens = der.read(response[: MAX_RESPONSE + 1], der.SEQUENCE).inside()
        number = der.number(status.inside()[0])
    except (ValueError, LookupError):
        raise NotVerified.at("token", "timestamp_malformed") from None
    if number not in _GRANTED:
        raise TimestampError("timestamp_refused", f"the authority answered with status {number}")
    if len(tokens) != 1:
        raise NotVerified.at("token", "timestamp_malformed")
    return tokens[0].whole


def _read(path: Path) -> Kept:
    with path.open("rb") as file:
        return Kept.parsed(file.read(_MAX_FILE))
