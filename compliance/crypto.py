"""The cryptography of the house, and the only file that imports it from outside, but for X.509 (verify/authority.py).

SHA-256 and HMAC (FIPS 180-4, RFC 2104), keyed BLAKE2b (RFC 7693), Ed25519 (RFC 8032), AES-256-GCM with random nonces
(NIST SP 800-38D), AES-256-SIV (RFC 5297), and HPKE (RFC 9180) over X-Wing, the hybrid of ML-KEM-768 and X25519, so that
a journal or a sealed model copied today stays closed to a quantum computer of tomorrow; ECDSA (FIPS 186-5) for what
tools of others check. Everything that checks returns what it checked or raises; nothing returns a bool.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from typing import ClassVar

from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey, Suite

from policies.errors import Refused

__all__ = [
    "NONCE",
    "TAG",
    "CurveSigner",
    "Opener",
    "Sealer",
    "Signer",
    "Stream",
    "Unauthentic",
    "derive",
    "fresh",
    "kdf",
    "same",
    "seal",
    "sha256",
    "unseal",
    "verify",
]

_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
# the points of order 1, 2, 4 and 8 on edwards25519 by their y (RFC 8032 section 5.1.2), also where y is not below p
_SMALL_ORDER = {
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    b"\xec" + b"\xff" * 30 + b"\x7f",
    b"\xed" + b"\xff" * 30 + b"\x7f",
    b"\xee" + b"\xff" * 30 + b"\x7f",
}
_CURVES: Mapping[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}
_MLKEM_SEED, _MLKEM_PUBLIC, _X25519 = 64, 1184, 32
NONCE, TAG = 12, 16  # bytes before and behind a ciphertext of AES-GCM


class Unauthentic(Refused):
    """A signature or a ciphertext that was not made with the expected key, or was altered."""

    hints: ClassVar[Mapping[str, str]] = {
        "signature": "Compare the key's fingerprint with the one you were given; if it is right, the text was altered.",
        "ciphertext": "Check that this is the matching key; if it is, the bytes were altered.",
        "key_invalid": "Take the key file again from where it was made.",
        "proof": "Ask for the proof again; if it fails again, the log is not the one that was signed.",
        "secret": "Take the secret again from where it was given to you.",
    }


def fresh(size: int = 32) -> bytes:
    """Random bytes from the operating system."""
    return os.urandom(size)


def sha256(*parts: bytes | memoryview) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()


def derive(key: bytes, label: bytes, context: bytes = b"") -> bytes:
    """A 32-byte key from a uniformly random key: HMAC-SHA256 as a pseudo-random function, one label a use."""
    return hmac.digest(key, label + b"\0" + context, "sha256")


def kdf(key: bytes, label: bytes, data: bytes = b"") -> bytes:
    """64 bytes from a uniformly random key: keyed BLAKE2b, one label of one byte a use.

    Where a record is sealed: it takes a third of the time of HMAC.
    """
    return hashlib.blake2b(label + data, key=key).digest()


def same(expected: bytes, given: bytes) -> None:
    """Return when both are the same, compared in a time that tells nothing of them, else raise Unauthentic."""
    if not hmac.compare_digest(expected, given):
        raise Unauthentic("secret", "the secret is not the expected one")


def seal(key: bytes, nonce: bytes, plaintext: bytes, bound: bytes) -> bytes:
    """Encrypt with AES-256-GCM under a fresh nonce, which comes first; `bound` is authenticated, not contained."""
    return nonce + AESGCM(key).encrypt(nonce, plaintext, bound)


def unseal(key: bytes, sealed: bytes, bound: bytes) -> bytes:
    """The plaintext of `seal`. Raises Unauthentic."""
    try:
        return AESGCM(key).decrypt(sealed[:NONCE], sealed[NONCE:], bound)
    except (InvalidTag, ValueError):
        raise Unauthentic("ciphertext", "the ciphertext does not open with this key") from None


class Stream:
    """AES-256-GCM over the chunks of one message, in their order and with the last one marked, so that none can be
    dropped, moved or added, nor the end cut off (STREAM of Hoang, Reyhanitabar, Rogaway and Vizár, 2015).

    The nonce is the place of the chunk and the mark: a key is for one message alone.
    """

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)
        self._place = 0

    def encrypt(self, chunk: bytes | memoryview, *, last: bool) -> bytes:
        """The next chunk, with a tag of 16 bytes behind it."""
        return self._aead.encrypt(self._nonce(last), chunk, None)

    def decrypt_into(self, sealed: bytes | memoryview, plain: memoryview, *, last: bool) -> None:
        """Put the next chunk into `plain`, which has its size. Raises Unauthentic; `plain` is of no use then."""
        try:
            self._aead.decrypt_into(self._nonce(last), sealed, None, plain)
        except (InvalidTag, ValueError):
            raise Unauthentic("ciphertext", f"chunk {self._place} does not open with this key") from None

    def _nonce(self, last: bool) -> bytes:
        self._place += 1
        return self._place.to_bytes(NONCE - 1) + bytes([last])


def pseudonymous(key: bytes, plaintext: bytes, bound: bytes) -> bytes:
    """Seal so that the same value gives the same bytes (AES-256-SIV, RFC 5297), the tag of 16 bytes first; for a key of
    64 bytes."""
    return AESSIV(key).encrypt(plaintext, [bound])


def unpseudonymous(key: bytes, sealed: bytes, bound: bytes) -> bytes:
    """The plaintext. Raises Unauthentic."""
    try:
        return AESSIV(key).decrypt(sealed, [bound])
    except (InvalidTag, ValueError):
        raise Unauthentic("ciphertext", "the pseudonym does not open with this key") from None


class Signer:
    """An Ed25519 signing key. Its bytes are asked for by name and shown nowhere else."""

    def __init__(self, private: bytes) -> None:
        try:
            self._key = Ed25519PrivateKey.from_private_bytes(private)
        except ValueError:
            raise Unauthentic("key_invalid", "a signing key has 32 bytes") from None
        self.public = self._key.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> Signer:
        return cls(fresh())

    def private_bytes(self) -> bytes:
        return self._key.private_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """An Ed25519 signature, 64 bytes."""
        return self._key.sign(message)


def verify(public: bytes, signature: bytes, message: bytes) -> None:
    """Return when the signature over the message was made with the key, else raise Unauthentic.

    A key of small order is refused: some signature is valid under it for any message at all, and OpenSSL takes it.
    """
    if public[:31] + bytes(byte & 0x7F for byte in public[31:]) in _SMALL_ORDER:
        raise Unauthentic("signature", "nobody can sign with this key, so that anybody can")
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise Unauthentic("signature", "the signature does not belong to this key and this text") from None


class CurveSigner:
    """A private key on P-256, P-384 or P-521, of somebody who signs for tools that do not take Ed25519. `public` is its
    public half as PEM (SubjectPublicKeyInfo)."""

    def __init__(self, pem: bytes) -> None:
        """Raises Unauthentic for what is no such key in PEM, or one under a password."""
        try:
            key = serialization.load_pem_private_key(pem, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise Unauthentic("key_invalid", "this is no private key in PEM, or one under a password") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _CURVES:
            raise Unauthentic("key_invalid", "this is no key on P-256, P-384 or P-521")
        self._key = key
        self.public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, message: bytes) -> bytes:
        """An ECDSA signature in DER over the SHA-2 hash that has the size of the curve; the same message gives the same
        bytes (RFC 6979)."""
        return self._key.sign(message, ec.ECDSA(_CURVES[self._key.curve.name], deterministic_signing=True))


class Sealer:
    """The public half of an auditor's key, or of one that bundles are sealed to: it seals, and opens nothing."""

    def __init__(self, public: bytes) -> None:
        try:
            mlkem = MLKEM768PublicKey.from_public_bytes(public[:_MLKEM_PUBLIC])
            x25519 = X25519PublicKey.from_public_bytes(public[_MLKEM_PUBLIC:])
            X25519PrivateKey.generate().exchange(x25519)  # fails for a point of small order, now and not at a record
        except ValueError:
            raise Unauthentic("key_invalid", "this is no public key to seal to, which has 1216 bytes") from None
        self._key = MLKEM768X25519PublicKey(mlkem, x25519)
        self.public = public
        self.fingerprint = sha256(public)

    def seal(self, plaintext: bytes, info: bytes) -> bytes:
        return _SUITE.encrypt(plaintext, self._key, info)


class Opener:
    """The private half of such a key, kept as its 96-byte seed."""

    def __init__(self, private: bytes) -> None:
        try:
            mlkem = MLKEM768PrivateKey.from_seed_bytes(private[:_MLKEM_SEED])
            x25519 = X25519PrivateKey.from_private_bytes(private[_MLKEM_SEED:])
        except ValueError:
            raise Unauthentic("key_invalid", "a private key that opens has 96 bytes") from None
        self._private = private
        self._key = MLKEM768X25519PrivateKey(mlkem, x25519)
        self.public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
        self.fingerprint = sha256(self.public)

    @classmethod
    def generate(cls) -> Opener:
        return cls(fresh(_MLKEM_SEED + _X25519))

    def private_bytes(self) -> bytes:
        return self._private

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """The plaintext of `Sealer.seal`. Raises Unauthentic."""
        try:
            return _SUITE.decrypt(sealed, self._key, info)
        except (InvalidTag, ValueError):
            raise Unauthentic("ciphertext", "this was not sealed to this key") from None
