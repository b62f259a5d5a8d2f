"""An authority for time with every key in hand (RFC 3161): certificates, and tokens that hold or do not.

authority = TimeAuthority()                      # a root, and a certificate for stamping time
token = authority.token(imprint, nonce, at)      # changes of what it says: usage=..., days=..., signer=...
response = authority.answer(request, at)         # what it answers over HTTP, with the token in it
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from compliance.crypto import sha256
from compliance.verify import der

__all__ = ["STAMPING", "TimeAuthority"]

STAMPING = ((ExtendedKeyUsageOID.TIME_STAMPING,), True)
_SHA256, _ECDSA = "2.16.840.1.101.3.4.2.1", "1.2.840.10045.4.3.2"
_TST_INFO = "1.2.840.113549.1.9.16.1.4"


def _key(number: int) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(number, ec.SECP256R1())


class TimeAuthority:
    """The root signs the certificate that stamps from `since` until before `until`, for the `usage` that it names."""

    def __init__(
        self,
        name: str = "Test authority",
        *,
        usage: tuple[Sequence[x509.ObjectIdentifier], bool] | None = STAMPING,
        since: datetime = datetime(2020, 1, 1, tzinfo=UTC),
        until: datetime = datetime(2090, 1, 1, tzinfo=UTC),
    ) -> None:
        number = int.from_bytes(sha256(name.encode())[:16])
        self._root_key, self._key = _key(number), _key(number + 1)
        root = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} root")])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signs = x509.KeyUsage(False, False, False, False, False, True, False, False, False)
        public = self._root_key.public_key()
        self.root = (
            x509.CertificateBuilder(
                root, root, public, 1, datetime(2019, 1, 1, tzinfo=UTC), datetime(2095, 1, 1, tzinfo=UTC)
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(signs, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self._root_key, hashes.SHA256(), ecdsa_deterministic=True)
        )
        builder = x509.CertificateBuilder(root, subject, self._key.public_key(), 2, since, until).add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False
        )
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usage[0]), critical=usage[1])
        self.certificate = builder.sign(self._root_key, hashes.SHA256(), ecdsa_deterministic=True)

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

    def token(self, imprint: bytes, nonce: int | None, at: int, *, named: bytes | None = None) -> bytes:
        """A token; `named` is the digest of the certificate by which the signed attributes name it."""
        when = f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at // 1000):%Y%m%d%H%M%S}Z".encode()
        digest = der.encoded(der.SEQUENCE, der.oid(_SHA256), der.encoded(der.NULL))
        info = der.encoded(
            der.SEQUENCE,
            der.integer(1),
            der.oid("1.2.3.4"),
            der.encoded(der.SEQUENCE, digest, der.encoded(der.OCTETS, imprint)),
            der.integer(7),
            der.encoded(der.TIME, when),
            der.encoded(der.SEQUENCE, der.integer(1)),
            b"" if nonce is None else der.integer(nonce),
        )
        certificate = self.certificate.public_bytes(Encoding.DER)
        naming = der.encoded(der.SEQUENCE, der.encoded(der.OCTETS, named or sha256(certificate)))
        attributes = b"".join(
            der.encoded(der.SEQUENCE, der.oid(kind), der.encoded(der.SET, value))
            for kind, value in (
                ("1.2.840.113549.1.9.3", der.oid(_TST_INFO)),
                ("1.2.840.113549.1.9.4", der.encoded(der.OCTETS, sha256(info))),
                ("1.2.840.113549.1.9.16.2.47", der.encoded(der.SEQUENCE, der.encoded(der.SEQUENCE, naming))),
            )
        )
        signature = self._key.sign(
            der.encoded(der.SET, attributes), ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
        )
        serial = der.integer(self.certificate.serial_number)
        signer = der.encoded(
            der.SEQUENCE,
            der.integer(1),
            der.encoded(der.SEQUENCE, self.certificate.issuer.public_bytes(), serial),
            digest,
            der.encoded(0xA0, attributes),
            der.encoded(der.SEQUENCE, der.oid(_ECDSA)),
            der.encoded(der.OCTETS, signature),
        )
        content = der.encoded(der.SEQUENCE, der.oid(_TST_INFO), der.encoded(0xA0, der.encoded(der.OCTETS, info)))
        signed = der.encoded(
            der.SEQUENCE,
            der.integer(3),
            der.encoded(der.SET, digest),
            content,
            der.encoded(0xA0, certificate),
            der.encoded(der.SET, signer),
        )
        return der.encoded(der.SEQUENCE, der.oid("1.2.840.113549.1.7.2"), der.encoded(0xA0, signed))
