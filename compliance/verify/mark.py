"""The mark of a text that a model wrote: what lets a machine tell that it was, by which model, in which recorded call.

EU AI Act Art. 50(2) asks for outputs that are marked in a machine-readable format and detectable as artificially
generated. Text has no place for that in itself: the mark is a statement beside it, signed by a day key of the box, and
bound to every character. `source` is a term of the IPTC Digital Source Type vocabulary.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from hashlib import sha256

from compliance.crypto import Unauthentic
from compliance.verify.errors import NotVerified
from compliance.verify.keyring import certified
from compliance.verify.leaf import Broken
from compliance.verify.note import DAY, Note
from compliance.verify.statements import Certificate, day_of

__all__ = ["MAX_MARK", "Mark", "packed", "verify_mark"]

MAX_MARK = 20_000  # bytes
SOURCE = "trainedAlgorithmicMedia"


@dataclass(frozen=True)
class Mark:
    """A model wrote a text: the id of the journal, when (ns), the id of the call, the digest of the model (SHA-256 in
    hexadecimal), and the SHA-256 of the text in UTF-8."""

    id: str
    at: int
    call: str
    model: str
    text_hash: bytes

    @classmethod
    def of(cls, id_: str, at: int, call: str, model: str, text: str) -> Mark:
        return cls(id_, at, call, model, _hash(text))

    def text(self) -> str:
        """The statement in its one spelling."""
        return (
            f"sealpress.journal/{self.id}/generated\nsource {SOURCE}\nat {self.at}\ncall {self.call}\n"
            f"model {self.model}\ntext {base64.b64encode(self.text_hash).decode()}\n"
        )

    @classmethod
    def parsed(cls, text: str) -> Mark:
        """Raises ValueError for any other spelling."""
        parts = _STATEMENT.fullmatch(text)
        if parts is None:
            raise ValueError("no mark")
        id_, at, call, model, encoded = parts.groups()
        found = cls(id_, int(at), call, model, base64.b64decode(encoded, validate=True))
        if found.text() != text or found.at >= 2**63:
            raise ValueError("not in its one spelling")
        return found


def packed(note: str, certificate: str) -> str:
    """A mark as it is handed out: format 1, the signed note of the statement, and the note that lets its key sign."""
    value = {"format": 1, "statement": note, "certificate": certificate}
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def verify_mark(data: bytes, root: bytes, text: str) -> Mark:
    """What the mark of this text says, checked against the public key of the journal's root (32 bytes).

    Raises NotVerified: mark_malformed, mark_certificate, mark_signature, mark_text where it is of another text.
    """
    try:
        if len(data) > MAX_MARK:
            raise ValueError("too large")
        value = json.loads(data.decode())
        if type(value) is not dict or value.keys() != {"format", "statement", "certificate"} or value["format"] != 1:
            raise ValueError("no mark of format 1")
        note = Note.parsed(value["statement"])
        statement = Mark.parsed(note.text)
        granted = value["certificate"]
        if type(value["format"]) is not int or type(granted) is not str:
            raise ValueError("members of other types")
    except (ValueError, AttributeError, RecursionError, Unauthentic):
        raise NotVerified.at("mark", "mark_malformed") from None
    try:
        certificate = certified(granted, statement.id, root)
        if not isinstance(certificate, Certificate) or certificate.day != day_of(statement.at):
            raise Broken("certificate_invalid")
    except (Broken, ValueError):
        raise NotVerified.at("certificate", "mark_certificate") from None
    try:
        note.check(DAY, certificate.key)
    except Unauthentic:
        raise NotVerified.at("statement", "mark_signature") from None
    if _hash(text) != statement.text_hash:
        raise NotVerified.at("text", "mark_text")
    return statement


def _hash(text: str) -> bytes:
    # what is no Unicode was marked by nobody, and has a hash all the same
    return sha256(text.encode(errors="surrogatepass")).digest()


_STATEMENT = re.compile(
    rf"sealpress\.journal/([0-9a-f]{{32}})/generated\nsource {SOURCE}\nat (0|[1-9][0-9]{{0,18}})\n"
    r"call ([!-~]{1,64})\nmodel ([0-9a-f]{64})\ntext ([0-9A-Za-z+/]{43}=)\n"
)
