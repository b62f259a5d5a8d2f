"""Why a JSON Web Token is not accepted. Apart from what reads tokens, which needs a library that only a server has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from policies.errors import Refused, Unusable

__all__ = ["JwksError", "JwtError"]


class JwtError(Refused):
    """A token that says nothing here. Messages tell of the token's form, never what stands in it."""

    hints: ClassVar[Mapping[str, str]] = {
        "jwt_malformed": "Send the access token as the issuer gave it: three parts in base64url, 8,192 bytes at most.",
        "jwt_type": "Send an access token, with typ `at+jwt`, `JWT` or none: other tokens of the issuer open nothing.",
        "jwt_algorithm": "Have the issuer sign with an algorithm that the settings name under [serve.jwt].",
        "jwt_key": "Have the issuer name its key in `kid`, and put its present JWKS into the file of the settings.",
        "jwt_signature": "Get a new token from the issuer: this one was altered, or signed with another key.",
        "jwt_expired": "Get a new token from the issuer: the time of this one is over.",
        "jwt_early": "Wait until the token is valid, and check the clocks of the issuer and of this box.",
        "jwt_issuer": "Get a token from the issuer that the settings name under [serve.jwt].",
        "jwt_audience": "Ask the issuer for a token for the audience that the settings name under [serve.jwt].",
        "jwt_claim": "Have the issuer put every claim into the token that the settings name, each of its type.",
    }


class JwksError(Unusable):
    """The file with the keys of the issuer cannot be used. Until it is mended no token is accepted."""

    hints: ClassVar[Mapping[str, str]] = {
        "jwks_missing": "Put the JWKS of the issuer where the settings name it under [serve.jwt].",
        "jwks_malformed": "Take the JWKS from the issuer again: public keys to sign, each with a kid of its own.",
    }
