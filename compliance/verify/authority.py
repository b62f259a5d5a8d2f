"""Certificates of an authority that stamps time (RFC 5280, RFC 3161 section 2.3), by the X.509 of `cryptography`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import (
    BasicConstraints,
    Certificate,
    DuplicateExtension,
    ExtendedKeyUsage,
    ExtensionNotFound,
    InvalidVersion,
    KeyUsage,
    ObjectIdentifier,
    UnsupportedGeneralNameType,
    load_der_x509_certificate,
    load_pem_x509_certificates,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from compliance.crypto import Unauthentic

__all__ = ["Authority", "roots_in"]

# the algorithms that a token may be signed with, by the OIDs of their digests
DIGESTS: Mapping[str, str] = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
_HASHES: Mapping[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
# critical extensions that are looked at, here or by the library; a chain with any other is none
_KNOWN = frozenset({BasicConstraints.oid, KeyUsage.oid, ExtendedKeyUsage.oid})
# what the library raises for certificates that are none, some of it only when a part is looked at
_ODD = (DuplicateExtension, InvalidVersion, TypeError, UnsupportedAlgorithm, UnsupportedGeneralNameType, ValueError)
_LEAST_RSA = 2048
_MOST_ROOTS = 1_000


class Authority:
    """Who signed a token: the certificate, with those that came beside it. Raises Unauthentic: key_invalid.

    `subject` is the name in the certificate (RFC 4514), `issued` the issuer's name in DER and the serial number.
    """

    def __init__(self, certificate: bytes, beside: Sequence[bytes]) -> None:
        self.der = certificate
        self._certificate = _loaded(certificate)
        self._beside = [_loaded(one) for one in beside]
        try:
            self.subject = self._certificate.subject.rfc4514_string()
            self.issued = self._certificate.issuer.public_bytes(), self._certificate.serial_number
        except _ODD:
            raise Unauthentic("key_invalid", "the certificate has no names that can be read") from None

    def hashed(self, algorithm: str) -> bytes:
        """The digest of the certificate, as a token names it; SHA-1 tells certificates apart here, and no more."""
        return hashlib.new(algorithm, self.der, usedforsecurity=False).digest()

    def check_usage(self) -> None:
        """The key is for stamping time, and by a critical extension for nothing else. Raises Unauthentic: signature."""
        try:
            usage = self._certificate.extensions.get_extension_for_class(ExtendedKeyUsage)
        except (ExtensionNotFound, *_ODD):
            raise Unauthentic("signature", "the certificate does not say what its key is for") from None
        if not usage.critical or list(usage.value) != [ExtendedKeyUsageOID.TIME_STAMPING]:
            raise Unauthentic("signature", "the certificate is not for stamping time alone")

    def check_signature(self, signature: bytes, message: bytes, digest: str) -> None:
        """RSA (PKCS #1 v1.5, 2,048 bits and more), or ECDSA over a curve of NIST. Raises Unauthentic: signature."""
        hashing = _HASHES[digest]
        try:
            key = self._certificate.public_key()
            if isinstance(key, rsa.RSAPublicKey) and key.key_size >= _LEAST_RSA:
                key.verify(signature, message, padding.PKCS1v15(), hashing)
            elif isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in (
                "secp256r1",
                "secp384r1",
                "secp521r1",
            ):
                key.verify(signature, message, ec.ECDSA(hashing))
            else:
                raise Unauthentic("signature", "tokens are signed with RSA or ECDSA")
        except (InvalidSignature, *_ODD):
            raise Unauthentic("signature", "the signature does not belong to this certificate") from None

    def check_chain(self, roots: Sequence[bytes], at: int) -> None:
        """A chain leads to one of these roots (DER), and every certificate of it was valid at this time (ns). Whether
        one was revoked is not asked. Raises Unauthentic: signature."""
        if not roots:
            raise Unauthentic("signature", "there is no root to trust")
        # the defaults are those of servers on the web, which an authority for time is none of
        issuing = (
            ExtensionPolicy.permit_all()
            .require_present(BasicConstraints, Criticality.AGNOSTIC, _issues)
            .may_be_present(KeyUsage, Criticality.AGNOSTIC, _signs)
        )
        policy = (
            PolicyBuilder()
            .store(Store([_loaded(root) for root in roots]))
            .time(datetime.fromtimestamp(at // 10**9, UTC))
            .extension_policies(ca_policy=issuing, ee_policy=ExtensionPolicy.permit_all())
        )
        try:
            chain = policy.build_client_verifier().verify(self._certificate, self._beside).chain
            if all(_KNOWN.issuperset(_critical(one)) for one in chain):
                return
        except (VerificationError, *_ODD):
            pass
        raise Unauthentic("signature", "no chain leads from the certificate to a root at that time")


def roots_in(data: bytes) -> tuple[bytes, ...]:
    """The certificates in a PEM file, in DER. Raises Unauthentic: key_invalid."""
    try:
        found = load_pem_x509_certificates(data)
        if len(found) <= _MOST_ROOTS:
            return tuple(one.public_bytes(Encoding.DER) for one in found)
    except _ODD:
        pass
    raise Unauthentic("key_invalid", "this holds no certificate in PEM")


def _issues(_: Policy, __: Certificate, extension: BasicConstraints) -> None:
    if not extension.ca:
        raise ValueError("this certificate issues none")


def _signs(_: Policy, __: Certificate, extension: KeyUsage | None) -> None:
    if extension is not None and not extension.key_cert_sign:
        raise ValueError("this key signs no certificates")


def _critical(certificate: Certificate) -> set[ObjectIdentifier]:
    return {one.oid for one in certificate.extensions if one.critical}


def _loaded(der: bytes) -> Certificate:
    try:
        return load_der_x509_certificate(der)
    except _ODD:
        raise Unauthentic("key_invalid", "this is no certificate") from None
