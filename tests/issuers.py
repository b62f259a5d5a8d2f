"""An issuer of JSON Web Tokens with real keys, and tokens that are wrong in one way each."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from functools import cache
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from jwt.algorithms import get_default_algorithms

ISSUER, AUDIENCE = "https://id.clinic.example", "sealpress"
ALGORITHMS = ("EdDSA", "ES256", "RS256", "PS256")
CLAIMS = {"tenant": "org", "models": "models", "purposes": "purposes", "regions": "regions"}


def private(algorithm: str, number: int = 0) -> Any:
    """A private key for an algorithm, the same each time; RS256 and PS256 share theirs."""
    return _private("RS256" if algorithm == "PS256" else algorithm, number)


@cache
def _private(algorithm: str, number: int) -> Any:
    match algorithm:
        case "EdDSA":
            return Ed25519PrivateKey.generate()
        case "ES256":
            return generate_ec(SECP256R1())
        case "short":
            return generate_rsa(65_537, 1024)  # noqa: S505 - that it is refused is the test
        case _:
            return generate_rsa(65_537, 2048)


def jwk(algorithm: str, number: int = 0, **members: Any) -> dict[str, Any]:
    """The public half as a JWK, its kid the algorithm and the number; a member of None is left out."""
    key = private(algorithm, number)
    made = get_default_algorithms()["RS256" if algorithm == "short" else algorithm].to_jwk(key.public_key(), True)
    found = {**made, "kid": f"{algorithm}-{number}", "use": "sig", "alg": algorithm, **members}
    found.pop("key_ops", None)
    return {name: value for name, value in found.items() if value is not None}


def write_jwks(path: Path, *keys: dict[str, Any]) -> Path:
    """A file with these keys, by default one for each algorithm, in place at once as an operator should do it."""
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps({"keys": keys or [jwk(algorithm) for algorithm in ALGORITHMS]}), "utf-8")
    return beside.rename(path)


def said(**claims: Any) -> dict[str, Any]:
    """Claims that are right, but for those that are given; a claim of None is left out."""
    now = int(time.time())
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "nurse-7",
        "iat": now,
        "exp": now + 600,
        "org": "clinic",
        "models": ["minilm"],
        "purposes": ["search"],
        "regions": ["DE"],
    }
    return {name: value for name, value in {**good, **claims}.items() if value is not None}


def token(claims: dict[str, Any] | None = None, algorithm: str = "EdDSA", number: int = 0, **header: Any) -> str:
    """A token signed by the key of this algorithm and number, and named so in its header."""
    headers = {"kid": f"{algorithm}-{number}", **header}
    return jwt.encode(claims or said(), private(algorithm, number), algorithm, headers)


def joined(header: dict[str, Any] | bytes, claims: dict[str, Any] | bytes, signature: bytes = b"") -> str:
    """A token from its parts, as nobody's library would make it."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
    return ".".join(urlsafe_b64encode(part).rstrip(b"=").decode() for part in (*parts, signature))
