"""Tokens of time over joint heads (RFC 3161, in CMS after RFC 5652): an authority saw the head at its time.

A token is checked here with nothing but what is in it and the head that it is for; a chain to a root needs roots from
whoever checks. The order of the checks and their codes are those of docs/formats.md, "Tokens of time".
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from compliance.crypto import Unauthentic, sha256
from compliance.verify import der
from compliance.verify.archive import canonical, parsed
from compliance.verify.authority import DIGESTS, Authority
from compliance.verify.claims import decoded
from compliance.verify.der import Element, element, named
from compliance.verify.leaf import Broken
from compliance.verify.note import Note
from compliance.verify.statements import JointHead

__all__ = ["CLOCKS", "MAX_AGE", "Kept", "Stamped", "imprint", "request"]

CLOCKS = 300 * 10**9  # ns that the clocks of a box and of an authority may be apart
MAX_AGE = 7 * 86_400 * 10**9  # ns from the head to its token
MAX_TOKEN = 65_536  # bytes
_MAX_KEPT = 1_000_000  # bytes of a file: no joint head comes near
_SIGNED_DATA, _TST_INFO = "1.2.840.113549.1.7.2", "1.2.840.113549.1.9.16.1.4"
_CONTENT_TYPE, _MESSAGE_DIGEST = "1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4"
# which certificate signed, by SHA-1 (RFC 2634) or by another digest, SHA-256 where none is named (RFC 5035)
_BY_SHA1, _BY_DIGEST = "1.2.840.113549.1.9.16.2.12", "1.2.840.113549.1.9.16.2.47"
_SIGNING = (
    "1.2.840.113549.1.1.1",  # RSA, with the digest that is named beside it
    "1.2.840.113549.1.1.11",
    "1.2.840.113549.1.1.12",
    "1.2.840.113549.1.1.13",
    "1.2.840.10045.4.3.2",  # ECDSA
    "1.2.840.10045.4.3.3",
    "1.2.840.10045.4.3.4",
)
_OIDS = {der.oid(name): name for name in (*DIGESTS, *_SIGNING, _SIGNED_DATA, _TST_INFO, _CONTENT_TYPE)}
_OIDS |= {der.oid(name): name for name in (_MESSAGE_DIGEST, _BY_SHA1, _BY_DIGEST)}
_SHA256 = next(name for name, digest in DIGESTS.items() if digest == "sha256")


@dataclass(frozen=True)
class Stamped:
    """A token that holds: the SHA-256 of the token and of the head, the head's own time and the token's (ns), who
    signed, and whether a chain to a root was checked."""

    token: str
    head: str
    head_at: int
    at: int
    authority: str
    chained: bool


def imprint(note: Note) -> bytes:
    """What an authority is shown of a joint head: the SHA-256 of it as its box signed it, without its witnesses."""
    return sha256(note.first().written().encode())


def request(imprinted: bytes, nonce: int) -> bytes:
    """A request for a token (RFC 3161 section 2.4.1) in DER, which asks for the certificate as well."""
    return der.encoded(
        der.SEQUENCE, der.integer(1), _imprinted(imprinted), der.integer(nonce), der.encoded(der.BOOLEAN, b"\xff")
    )


@dataclass(frozen=True)
class Kept:
    """A token as it is kept, format 1: the joint head as its box signed it, the nonce of the request, and the token in
    DER."""

    note: Note
    head: JointHead
    nonce: int
    token: bytes

    @classmethod
    def parsed(cls, data: bytes) -> Kept:
        """Raises Broken: timestamp_malformed."""
        try:
            value = parsed(data) if len(data) <= _MAX_KEPT else {}
            if value.keys() != {"format", "head", "nonce", "token"} or value["format"] != 1:
                raise ValueError("another format")
            note, token = Note.parsed(value["head"]), decoded(value["token"])
            found = cls(note, JointHead.parsed(note.text), int(value["nonce"], 16), token)
            if len(note.signatures) != 1 or len(token) > MAX_TOKEN or found.written() != data:
                raise ValueError("not in its one spelling")
            return found
        except (Unauthentic, AttributeError, KeyError, TypeError, ValueError):
            raise Broken("timestamp_malformed") from None

    def written(self) -> bytes:
        """The file that it is kept in."""
        return canonical(
            {
                "format": 1,
                "head": self.note.written(),
                "nonce": f"{self.nonce:x}",
                "token": base64.b64encode(self.token).decode(),
            }
        )

    @property
    def digest(self) -> str:
        """The SHA-256 of the token, in hexadecimal."""
        return sha256(self.token).hex()

    def check(self, roots: Sequence[bytes] | None) -> Stamped:
        """Check the token against its head, and up to one of these roots (DER) unless there are None.

        Raises Broken: timestamp_malformed, timestamp_signature (the authority did not sign it), timestamp_usage (its
        certificate is not for stamping time), timestamp_imprint, timestamp_nonce, timestamp_early, timestamp_late (the
        time of the token before the head's, or too long behind it), timestamp_chain.
        """
        try:
            token = _Token(self.token)
        except (Unauthentic, LookupError, ValueError):
            raise Broken("timestamp_malformed") from None
        token.check_signature()
        _checked("timestamp_usage", token.authority.check_usage)
        if token.imprint != imprint(self.note):
            raise Broken("timestamp_imprint")
        if token.nonce != self.nonce:
            raise Broken("timestamp_nonce")
        if token.at < self.head.at - CLOCKS:
            raise Broken("timestamp_early")
        if token.at > self.head.at + MAX_AGE:
            raise Broken("timestamp_late")
        if roots is not None:
            _checked("timestamp_chain", token.authority.check_chain, roots, token.at)
        return Stamped(
            token=self.digest,
            head=imprint(self.note).hex(),
            head_at=self.head.at,
            at=token.at,
            authority=token.authority.subject,
            chained=roots is not None,
        )


class _Token:
    """What a token says. Raises ValueError, LookupError, Unauthentic: not as RFC 3161 and RFC 5652 have it."""

    def __init__(self, token: bytes) -> None:
        kind, explicit = der.read(token, der.SEQUENCE).inside()
        _is(kind, _SIGNED_DATA)
        parts = der.read(_explicit(explicit).whole, der.SEQUENCE).inside()
        der.number(named(parts, der.INTEGER))
        named(parts, der.SET)
        kind, explicit = named(parts, der.SEQUENCE).inside()
        _is(kind, _TST_INFO)
        self._content = named([_explicit(explicit)], der.OCTETS).content
        certificates = [one.whole for one in named(parts, 0xA0).inside()]
        element(parts, 0xA1)  # lists of what is revoked
        [signer] = named(parts, der.SET).inside()
        if parts:
            raise ValueError("more than a token")
        self._read_info()
        self._read_signer(signer, certificates)

    def check_signature(self) -> None:
        """Raises Broken: timestamp_signature."""
        # what is signed are the attributes as a set, whatever tag they bear in the token
        signed = b"\x31" + self._attributes.whole[1:]
        attributes = self._attributes_by_kind()
        content_digest = hashlib.new(self._digest, self._content).digest()
        try:
            _is(named(attributes[_CONTENT_TYPE], der.OID), _TST_INFO)
            said = named(attributes[_MESSAGE_DIGEST], der.OCTETS).content
            fine = said == content_digest and self._is_named(attributes)
        except (LookupError, ValueError):
            fine = False
        if not fine:
            raise Broken("timestamp_signature")
        _checked("timestamp_signature", self.authority.check_signature, self._signature, signed, self._digest)

    def _read_info(self) -> None:
        """TSTInfo, RFC 3161 section 2.4.2."""
        info = der.read(self._content, der.SEQUENCE).inside()
        if der.number(named(info, der.INTEGER)) != 1:
            raise ValueError("another version")
        named(info, der.OID)
        imprinted = named(info, der.SEQUENCE)
        found = imprinted.inside()
        self.imprint = found[-1].content if _imprinted(found[-1].content) == imprinted.whole else b""
        named(info, der.INTEGER)
        self.at = der.moment(named(info, der.TIME))
        element(info, der.SEQUENCE)  # how exact the time is
        element(info, der.BOOLEAN)
        nonce = element(info, der.INTEGER)
        self.nonce = None if nonce is None else der.number(nonce)
        element(info, 0xA0)
        # an extension may be critical, and none is known
        if info:
            raise ValueError("more than is known")

    def _read_signer(self, signer: Element, certificates: list[bytes]) -> None:
        """SignerInfo, RFC 5652 section 5.3."""
        parts = signer.inside()
        version, who = der.number(named(parts, der.INTEGER)), parts.pop(0)
        self._digest = DIGESTS[_oid(named(parts, der.SEQUENCE).inside()[0])]
        self._attributes = named(parts, 0xA0)
        if _oid(named(parts, der.SEQUENCE).inside()[0]) not in _SIGNING:
            raise ValueError("signed in another way")
        self._signature = named(parts, der.OCTETS).content
        element(parts, 0xA1)
        if parts or version != 1:
            raise ValueError("another signer")
        issuer, serial = named([who], der.SEQUENCE).inside()
        every = [Authority(one, [beside for beside in certificates if beside != one]) for one in certificates]
        [self.authority] = [one for one in every if one.issued == (issuer.whole, der.number(serial))]

    def _attributes_by_kind(self) -> dict[str, list[Element]]:
        """The one value of each attribute that is known here. Raises Broken: timestamp_signature, where one comes
        twice."""
        found: dict[str, list[Element]] = {}
        try:
            for attribute in self._attributes.inside():
                kind, values = attribute.inside()
                name = _OIDS.get(kind.whole)
                if name is not None and (name in found or len(values.inside()) != 1):
                    raise ValueError("an attribute twice")
                if name is not None:
                    found[name] = values.inside()
        except ValueError:
            raise Broken("timestamp_signature") from None
        return found

    def _is_named(self, attributes: dict[str, list[Element]]) -> bool:
        """Whether what is signed names the certificate of the signer. Raises ValueError, LookupError."""
        by_digest = _BY_DIGEST in attributes
        named_ = named(attributes[_BY_DIGEST if by_digest else _BY_SHA1], der.SEQUENCE)
        parts = named_.inside()[0].inside()[0].inside()
        algorithm = element(parts, der.SEQUENCE) if by_digest else None
        digest = "sha256" if by_digest else "sha1"
        if algorithm is not None:
            digest = DIGESTS[_oid(algorithm.inside()[0])]
        return named(parts, der.OCTETS).content == self.authority.hashed(digest)


def _imprinted(digest: bytes) -> bytes:
    """A MessageImprint by SHA-256."""
    algorithm = der.encoded(der.SEQUENCE, der.oid(_SHA256), der.encoded(der.NULL))
    return der.encoded(der.SEQUENCE, algorithm, der.encoded(der.OCTETS, digest))


def _explicit(one: Element) -> Element:
    [inside] = named([one], 0xA0).inside()
    return inside


def _oid(one: Element) -> str:
    """Raises ValueError for one that is not known here."""
    if one.whole not in _OIDS:
        raise ValueError("an identifier that is not known here")
    return _OIDS[one.whole]


def _is(one: Element, expected: str) -> None:
    if _oid(one) != expected:
        raise ValueError("another kind of content")


def _checked(code: str, check: Callable[..., None], *given: object) -> None:
    try:
        check(*given)
    except Unauthentic:
        raise Broken(code) from None
