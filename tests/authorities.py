"""An authority for time with every key in hand (RFC 3161): certificates, and tokens that hold or do not.

authority = TimeAuthority()                      # a root, and a certificate for stamping time
token = authority.token(imprint, nonce, at)      # changes of what it says: usage=..., days=..., signer=...
response = authority.answer(request, at)         # what it answers over HTTP, with the token in it
TimeAuthority(key=rsa_key, digest="sha512", between=(Between(),))   # other algorithms, and a longer chain
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from compliance.crypto import sha256
from compliance.verify import der

__all__ = ["STAMPING", "Between", "TimeAuthority"]

STAMPING = ((ExtendedKeyUsageOID.TIME_STAMPING,), True)
_DIGESTS = {"sha256": "2.16.840.1.101.3.4.2.1", "sha384": "2.16.840.1.101.3.4.2.2", "sha512": "2.16.840.1.101.3.4.2.3"}
_HASHES: dict[str, Any] = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
_RSA, _ECDSA = "1.2.840.113549.1.1.1", "1.2.840.10045.4.3.2"
_BY_SHA1, _BY_DIGEST = "1.2.840.113549.1.9.16.2.12", "1.2.840.113549.1.9.16.2.47"
_TST_INFO = "1.2.840.113549.1.9.16.1.4"


def _key(number: int) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(number, ec.SECP256R1())


class Between(NamedTuple):
    """A certificate between the root and the one that stamps: whether it issues others, how many may stand below it,
    how long it holds, and what it says beside that."""

    issues: bool = True
    length: int | None = None
    signs: bool = True
    until: datetime = datetime(2090, 1, 1, tzinfo=UTC)
    says: tuple[x509.ExtensionType, bool] | None = None


class TimeAuthority:
    """The root signs the certificate that stamps from `since` until before `until`, for the `usage` that it names, or
    the certificates `between` do. The `key` stamps with this `digest`; `pss` is how RSA signs the certificate."""

    def __init__(
        self,
        name: str = "Test authority",
        *,
        usage: tuple[Sequence[x509.ObjectIdentifier], bool] | None = STAMPING,
        since: datetime = datetime(2020, 1, 1, tzinfo=UTC),
        until: datetime = datetime(2090, 1, 1, tzinfo=UTC),
        key: Any = None,
        digest: str = "sha256",
        between: Sequence[Between] = (),
        root_key: rsa.RSAPrivateKey | None = None,
        pss: bool = False,
    ) -> None:
        number = int.from_bytes(sha256(name.encode())[:16])
        self._root_key: Any = root_key or _key(number)
        self._key, self._digest, self._pss = key or _key(number + 1), digest, pss
        root = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} root")])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signs = x509.KeyUsage(False, False, False, False, False, True, False, False, False)
        public = self._root_key.public_key()
        self.root = (
            x509.CertificateBuilder(
                root, root, public, 1, datetime(2019, 1, 1, tzinfo=UTC), datetime(2095, 1, 1, tzinfo=UTC)
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=None if between else 0), critical=True)
            .add_extension(signs, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self._root_key, hashes.SHA256(), **self._how(self._root_key))
        )
        issuer, issuing = root, self._root_key
        self.between: list[bytes] = []
        for place, one in enumerate(between):
            issuer, issuing = self._between(issuer, issuing, f"{name} {place}", one, number + 2 + place)
        builder = x509.CertificateBuilder(issuer, subject, self._key.public_key(), 2, since, until).add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuing.public_key()), critical=False
        )
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usage[0]), critical=usage[1])
        self.certificate = builder.sign(issuing, hashes.SHA256(), **self._how(issuing))

    def _between(
        self, issuer: x509.Name, issuing: Any, name: str, one: Between, number: int
    ) -> tuple[x509.Name, ec.EllipticCurvePrivateKey]:
        key, subject = _key(number), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(not one.signs, False, False, False, False, one.signs, False, False, False)
        builder = (
            x509.CertificateBuilder(
                issuer, subject, key.public_key(), number, datetime(2019, 1, 1, tzinfo=UTC), one.until
            )
            .add_extension(x509.BasicConstraints(one.issues, one.length), critical=True)
            .add_extension(usage, critical=True)
        )
        if one.says is not None:
            builder = builder.add_extension(one.says[0], critical=one.says[1])
        certificate = builder.sign(issuing, hashes.SHA256(), **self._how(issuing))
        self.between.append(certificate.public_bytes(Encoding.DER))
        return subject, key

    def _how(self, key: Any) -> dict[str, Any]:
        """How this key signs certificates: the same each time, apart from PSS."""
        if isinstance(key, ec.EllipticCurvePrivateKey):
            return {"ecdsa_deterministic": True}
        return {"rsa_padding": padding.PSS(padding.MGF1(hashes.SHA256()), 32)} if self._pss else {}

    @property
    def pem(self) -> bytes:
        """The root, as an auditor is given it."""
        return self.root.public_bytes(Encoding.PEM)

    @property
    def roots(self) -> tuple[bytes, ...]:
        return (self.root.public_bytes(Encoding.DER),)

    def answer(self, request: bytes, at: int) -> bytes:
        """What is answered to a request at a time (ns)."""
        _, imprinted, nonce, _ = der.read(request, der.SEQUENCE).inside()
        token = self.token(imprinted.inside()[1].content, der.number(nonce), at)
        return der.encoded(der.SEQUENCE, der.encoded(der.SEQUENCE, der.integer(0)), token)

    def token(
        self,
        imprint: bytes,
        nonce: int | None,
        at: int,
        *,
        named: bytes | None = None,
        named_by: str = "sha256",
        fraction: str = "",
        beside: Sequence[bytes] | None = None,
        more: tuple[bytes, bytes] = (b"", b""),
    ) -> bytes:
        """A token; `named` is the digest of the certificate by which the signed attributes name it, made as `named_by`
        says. `beside` are the certificates that come along, `more` is what stands behind the signed attributes and
        behind the certificates."""
        when = f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at // 10**9):%Y%m%d%H%M%S}{fraction}Z".encode()
        digest, by_sha256 = (
            der.encoded(der.SEQUENCE, der.oid(_DIGESTS[one]), der.encoded(der.NULL)) for one in (self._digest, "sha256")
        )
        info = der.encoded(
            der.SEQUENCE,
            der.integer(1),
            der.oid("1.2.3.4"),
            der.encoded(der.SEQUENCE, by_sha256, der.encoded(der.OCTETS, imprint)),
            der.integer(7),
            der.encoded(der.TIME, when),
            der.encoded(der.SEQUENCE, der.integer(1)),
            b"" if nonce is None else der.integer(nonce),
        )
        certificate = self.certificate.public_bytes(Encoding.DER)
        naming = der.encoded(der.OCTETS, named or hashlib.new(named_by, certificate).digest())
        if named_by in ("sha384", "sha512"):
            naming = der.encoded(der.SEQUENCE, der.oid(_DIGESTS[named_by])) + naming
        naming = der.encoded(der.SEQUENCE, der.encoded(der.SEQUENCE, der.encoded(der.SEQUENCE, naming)))
        said = [
            der.encoded(der.SEQUENCE, der.oid(kind), der.encoded(der.SET, value))
            for kind, value in (
                ("1.2.840.113549.1.9.3", der.oid(_TST_INFO)),
                ("1.2.840.113549.1.9.4", der.encoded(der.OCTETS, hashlib.new(self._digest, info).digest())),
                (_BY_SHA1 if named_by == "sha1" else _BY_DIGEST, naming),
            )
        ]
        attributes = b"".join(sorted([*said, more[0]]))  # in the order that DER asks of a set
        serial = der.integer(self.certificate.serial_number)
        signer = der.encoded(
            der.SEQUENCE,
            der.integer(1),
            der.encoded(der.SEQUENCE, self.certificate.issuer.public_bytes(), serial),
            digest,
            der.encoded(0xA0, attributes),
            der.encoded(der.SEQUENCE, der.oid(_RSA if isinstance(self._key, rsa.RSAPrivateKey) else _ECDSA)),
            der.encoded(der.OCTETS, self._signature(der.encoded(der.SET, attributes))),
        )
        content = der.encoded(der.SEQUENCE, der.oid(_TST_INFO), der.encoded(0xA0, der.encoded(der.OCTETS, info)))
        signed = der.encoded(
            der.SEQUENCE,
            der.integer(3),
            der.encoded(der.SET, digest),
            content,
            der.encoded(0xA0, *sorted([certificate, *(self.between if beside is None else beside)])),
            more[1],
            der.encoded(der.SET, signer),
        )
        return der.encoded(der.SEQUENCE, der.oid("1.2.840.113549.1.7.2"), der.encoded(0xA0, signed))

    def _signature(self, message: bytes) -> bytes:
        hashing = _HASHES[self._digest]
        if isinstance(self._key, rsa.RSAPrivateKey):
            signature: bytes = self._key.sign(message, padding.PKCS1v15(), hashing)
        elif isinstance(self._key, ec.EllipticCurvePrivateKey):
            signature = self._key.sign(message, ec.ECDSA(hashing, deterministic_signing=True))
        else:
            signature = self._key.sign(message)
        return signature
