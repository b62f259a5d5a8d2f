"""JSON Web Tokens (RFC 7519) of one issuer, as an API is asked with them: verified as RFC 8725 and RFC 9068 say.

The settings fix issuer, audience and algorithms, and only asymmetric ones: nobody who can check a token can make one.
The key is found by the token's `kid` in a file (compliance.issuer.jwks); what a token says of keys or of where to get
them (`jwk`, `jku`, `x5c`, `x5u`) is not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jwt
from msgspec import Struct

from compliance.crypto import sha256
from compliance.issuer.errors import JwtError
from compliance.issuer.jwks import Jwks

__all__ = ["Claims", "Issuer"]

MAX_TOKEN = 8_192
MAX_TEXT, MAX_TEXTS = 200, 64
REMEMBERED = 1_024

_TYPES = {"jwt", "at+jwt", "application/jwt", "application/at+jwt"}
_CODES: Mapping[type[jwt.PyJWTError], str] = {
    jwt.ExpiredSignatureError: "jwt_expired",
    jwt.ImmatureSignatureError: "jwt_early",
    jwt.InvalidAudienceError: "jwt_audience",
    jwt.InvalidIssuerError: "jwt_issuer",
    jwt.InvalidSignatureError: "jwt_signature",
    jwt.MissingRequiredClaimError: "jwt_claim",
    jwt.InvalidIssuedAtError: "jwt_claim",
    jwt.InvalidTokenError: "jwt_malformed",
}


class Claims(Struct, frozen=True, kw_only=True):
    """What a verified token says. None stands for a claim that the settings do not name; an empty one allows nothing.

    `until` is when its time is over, in nanoseconds since 1970, the leeway included.
    """

    subject: str
    tenant: str | None
    models: tuple[str, ...] | None
    purposes: tuple[str, ...] | None
    regions: tuple[str, ...] | None
    until: int


class Issuer:
    """Whose tokens are accepted. For one thread.

    `claims` names the claims that hold the tenant, models, purposes and regions, and a token must have each of them:
    one that is left out would widen what the token opens.
    """

    def __init__(
        self,
        jwks: Path,
        *,
        issuer: str,
        audience: str,
        algorithms: Sequence[str],
        leeway_s: int,
        claims: Mapping[str, str],
    ) -> None:
        """Raises JwksError."""
        self._issuer = issuer
        self._audience = audience
        self._algorithms = algorithms
        self._leeway_s = leeway_s
        self._claims = claims
        self._jwks = Jwks(jwks, algorithms)
        # a signature takes a hundred microseconds to check, and a client sends one token for minutes
        self._verified: dict[bytes, Claims] = {}
        self._jwks.renewed()

    def verified(self, token: str, now: int) -> Claims:
        """What the token says; `now` is in nanoseconds since 1970. Raises JwtError, JwksError."""
        if self._jwks.renewed():
            self._verified.clear()
        if len(token) > MAX_TOKEN or not token.isascii():
            raise JwtError("jwt_malformed", f"the token is not ASCII of at most {MAX_TOKEN} bytes")
        digest = sha256(token.encode())
        known = self._verified.get(digest)
        if known is None:
            known = self._checked(token)
            if len(self._verified) >= REMEMBERED:
                del self._verified[next(iter(self._verified))]
            self._verified[digest] = known
        if known.until <= now:
            del self._verified[digest]
            raise JwtError("jwt_expired", "the time of the token is over")
        return known

    def _checked(self, token: str) -> Claims:
        try:
            algorithm, key = self._key(jwt.get_unverified_header(token))
            said = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                issuer=self._issuer,
                audience=self._audience,
                leeway=self._leeway_s,
                options={"require": ["iss", "sub", "aud", "exp"], "enforce_minimum_key_length": True},
            )
        except jwt.PyJWTError as error:
            code = next((_CODES[family] for family in type(error).__mro__ if family in _CODES), "jwt_malformed")
            # the library's words may quote the token
            raise JwtError(code, f"the token was not accepted: {type(error).__name__}") from None
        return Claims(
            subject=_text(said, "sub"),
            until=(int(said["exp"]) + self._leeway_s) * 10**9,
            tenant=_text(said, self._claims["tenant"]) if "tenant" in self._claims else None,
            **{name: self._texts(said, name) for name in ("models", "purposes", "regions")},
        )

    def _key(self, header: Mapping[str, Any]) -> tuple[str, jwt.PyJWK]:
        type_, algorithm, kid = header.get("typ", "JWT"), header.get("alg"), header.get("kid")
        # a logout token or an ID token has the same issuer, subject and perhaps audience
        if not isinstance(type_, str) or type_.lower() not in _TYPES:
            raise JwtError("jwt_type", "the token is of another type than an access token")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise JwtError("jwt_algorithm", "the token is not signed with an algorithm that the settings name")
        key = self._jwks.get(kid, algorithm) if isinstance(kid, str) else None
        if key is None:
            raise JwtError("jwt_key", "the token names no key of the issuer for its algorithm")
        return algorithm, key

    def _texts(self, said: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
        if name not in self._claims:
            return None
        claim = self._claims[name]
        values = said.get(claim)
        if isinstance(values, str):
            return (_text(said, claim),)
        if not isinstance(values, list) or len(values) > MAX_TEXTS:
            raise JwtError("jwt_claim", f"the claim {claim} is no list of at most {MAX_TEXTS} texts")
        return tuple(_text({claim: value}, claim) for value in values)


def _text(said: Mapping[str, Any], claim: str) -> str:
    value = said.get(claim)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT or not value.isprintable():
        raise JwtError("jwt_claim", f"the claim {claim} is no text of 1 to {MAX_TEXT} characters")
    return value
