"""The public keys of an issuer: a JSON Web Key Set (RFC 7517) in a file, read again when the file changes.

A key is bound to the algorithms that fit its kind, so that no token chooses how its key is used: RFC 8725 sections 2.1
and 3.1. Private and symmetric keys have no place in such a file; one that holds any is refused as a whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jwt
import msgspec

from compliance.issuer.errors import JwksError

__all__ = ["Jwks"]

MAX_FILE, MAX_KEYS = 262_144, 64
_KINDS = {"EdDSA": ("OKP", "Ed25519"), "ES256": ("EC", "P-256"), "RS256": ("RSA", None), "PS256": ("RSA", None)}
_PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

_Stamp = tuple[int, int, int]  # time of change in ns, size, inode


class Jwks:
    """The keys in a file, by their id and algorithm. For one thread."""

    def __init__(self, path: Path, algorithms: Sequence[str]) -> None:
        self._path = path
        self._algorithms = algorithms
        self._stamp: _Stamp | None = None
        self._keys: dict[tuple[str, str], jwt.PyJWK] = {}
        self._fault: JwksError | None = None

    def renewed(self) -> bool:
        """Read the file if it was written since the last time; whether it was. Raises JwksError."""
        try:
            with_stamp = _stamp(os.stat(self._path))  # noqa: PTH116 - at every request, and thrice as fast
        except OSError as error:
            raise self._missing(error) from None
        changed = with_stamp != self._stamp
        if changed:
            self._keys, self._fault = {}, None
            try:
                self._stamp, text = self._read()
                self._keys = _parsed(text, self._algorithms, str(self._path))
            except JwksError as error:
                # what cannot be read is not read again and again, and no key of before stays in force
                self._fault = error
        if self._fault is not None:
            raise JwksError(self._fault.code, str(self._fault))
        return changed

    def get(self, kid: str, algorithm: str) -> jwt.PyJWK | None:
        """The key of this id, if it is one for the algorithm."""
        return self._keys.get((kid, algorithm))

    def _read(self) -> tuple[_Stamp, bytes]:
        try:
            with self._path.open("rb") as file:
                stamp = _stamp(os.fstat(file.fileno()))
                return stamp, file.read(MAX_FILE + 1)
        except OSError as error:
            raise self._missing(error) from None

    def _missing(self, error: OSError) -> JwksError:
        self._stamp = None
        return JwksError("jwks_missing", f"{self._path}: no JWKS can be read here ({error.strerror})")


def _parsed(text: bytes, algorithms: Sequence[str], source: str) -> dict[tuple[str, str], jwt.PyJWK]:
    found: dict[tuple[str, str], jwt.PyJWK] = {}
    for number, key in enumerate(_listed(text, source)):
        if _PRIVATE & key.keys():
            raise _malformed(source, f"key {number} is not a public one")
        kid = key.get("kid")
        if not isinstance(kid, str) or not kid:
            raise _malformed(source, f"key {number} has no kid")
        if key.get("use", "sig") != "sig":
            continue
        for algorithm in algorithms:
            if (key.get("kty"), key.get("crv")) != _KINDS[algorithm] or key.get("alg", algorithm) != algorithm:
                continue
            if (kid, algorithm) in found:
                raise _malformed(source, f"key {number} has the kid of another one")
            found[kid, algorithm] = _key(key, algorithm, source, number)
    if not found:
        raise _malformed(source, "no key is for an algorithm that the settings name")
    return found


def _listed(text: bytes, source: str) -> Iterator[dict[str, Any]]:
    try:
        keys = msgspec.json.decode(text, type=dict[str, Any]).get("keys")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise _malformed(source, "it is no JSON object") from None
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise _malformed(source, "it has no list of keys")
    if len(text) > MAX_FILE or len(keys) > MAX_KEYS:
        raise _malformed(source, f"it has more than {MAX_KEYS} keys or {MAX_FILE} bytes")
    return iter(keys)


def _key(key: dict[str, Any], algorithm: str, source: str, number: int) -> jwt.PyJWK:
    try:
        found = jwt.PyJWK(key, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError):
        raise _malformed(source, f"key {number} cannot be read") from None
    if found.Algorithm.check_key_length(found.key) is not None:
        raise _malformed(source, f"key {number} is too short")
    return found


def _malformed(source: str, reason: str) -> JwksError:
    return JwksError("jwks_malformed", f"{source}: {reason}")


def _stamp(status: os.stat_result) -> _Stamp:
    return status.st_mtime_ns, status.st_size, status.st_ino
