"""Who asks, and under what: a key, a token or a client certificate, and the headers of a request, read strictly.

What a call is made under comes from three places. A header comes before a field of the body, and both before what the
key says for calls that say nothing; where header and body say different things, the call is refused: which one was
meant, nobody can know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from compliance.crypto import sha256
from compliance.state.api_key_table import ApiKey
from compliance.state.api_keys import ApiKeyError, ApiKeys
from serve.caller import Caller, must_state
from serve.problems import RequestError
from toolkit.box import MAX_CATEGORIES, MAX_CONTEXT, Box, Context
from toolkit.extras import needs
from toolkit.settings import ServeSettings

if TYPE_CHECKING:
    from compliance.issuer.tokens import Claims, Issuer

__all__ = ["FIELDS", "Identified", "Identity", "context_of", "issuer_of"]

# as bodies write them, and as a Context does
FIELDS = {
    "purpose": "purpose",
    "legal_basis": "basis",
    "consent": "consent",
    "subject": "subject",
    "region": "region",
    "data": "data",
    "override": "override",
}
_HEADERS = {f"x-{field.replace('_', '-')}".encode(): field for field in FIELDS}
_DEFAULTS = ("purpose", "basis", "region", "subject", "consent")
_BEARER = "bearer "
_KEY = "sp_"


class Identified(NamedTuple):
    """Who asks, and what the headers say of the context, by the names of FIELDS."""

    caller: Caller
    said: dict[str, str]


class Identity:
    """Tells who asks. For one thread."""

    def __init__(self, keys: ApiKeys, issuer: Issuer | None, limits: ServeSettings) -> None:
        self._keys = keys
        self._issuer = issuer
        self._limits = limits
        # a key that has not changed is the same object
        self._callers: dict[str, tuple[ApiKey, Caller]] = {}

    def identified(self, headers: Iterable[tuple[bytes, bytes]], certificate: bytes | None, now: int) -> Identified:
        """The caller of a request. `certificate` is the client's, in DER, as TLS has verified it; `now` is in ns.

        A key or a token comes before a certificate. Raises ApiKeyError, JwtError, StateError, JwksError. RequestError:
        request_header for a header of ours that comes twice, is too long or no UTF-8: which one of two would count, a
        proxy before us might see otherwise.
        """
        secret, said = _read(headers)
        if secret.startswith(_KEY):
            return Identified(self._of_key(self._keys.identified(secret, now, certificate)), said)
        if secret:
            if self._issuer is None:
                raise ApiKeyError("api_key_unknown", "the key is not one of this box")
            return Identified(self._of_claims(self._issuer.verified(secret, now)), said)
        if certificate is not None:
            return Identified(self._of_key(self._keys.bound(certificate, now)), said)
        raise ApiKeyError("api_key_missing", "the request brings no key")

    def _of_key(self, key: ApiKey) -> Caller:
        known = self._callers.get(key.id)
        if known is not None and known[0] is key:
            return known[1]
        limits = self._limits
        caller = Caller(
            id=key.id,
            actor=key.id,
            account=key.account,
            rate_per_s=key.rate_per_s or limits.rate_per_s,
            burst=key.burst or limits.burst,
            concurrent=key.concurrent or limits.concurrent,
            key=True,
            counted=key.calls is not None,
            tokens_per_minute=key.tokens_per_minute,
            tokens_per_day=key.tokens_per_day,
            admin=key.admin,
            tenant=key.tenant,
            models=key.models or None,
            purposes=frozenset(key.purposes) or None,
            regions=frozenset(key.regions) or None,
            defaults=key.defaults,
        )
        self._callers[key.id] = key, caller
        return caller

    def _of_claims(self, claims: Claims) -> Caller:
        # on record by name, in logs by a hash: the subject may be somebody's address. No subject is taken for a key
        id_ = f"jwt-{sha256(claims.subject.encode()).hex()[:16]}"
        return Caller(
            id=id_,
            actor=f"jwt:{claims.subject}",
            account=id_,
            rate_per_s=self._limits.rate_per_s,
            burst=self._limits.burst,
            concurrent=self._limits.concurrent,
            tenant=claims.tenant,
            models=claims.models,
            purposes=None if claims.purposes is None else frozenset(claims.purposes),
            regions=None if claims.regions is None else frozenset(claims.regions),
        )


def issuer_of(box: Box) -> Issuer | None:
    """The issuer that the settings name, if they name one. Raises JwksError."""
    named = box.settings.serve.jwt
    if named is None:
        return None
    # the library takes a tenth of a second to load, which only those wait for who use it
    with needs("serve"):
        from compliance.issuer.tokens import Issuer

    return Issuer(
        box.folder / named.jwks,
        issuer=named.issuer,
        audience=named.audience,
        algorithms=named.algorithms,
        leeway_s=named.leeway_s,
        claims=named.claims(),
    )


def context_of(caller: Caller, headers_said: Mapping[str, str], body_said: Mapping[str, Any]) -> Context:
    """The context of a call, from what headers and body say by the names of FIELDS, and the defaults of the key.

    Raises RequestError: request_context where header and body contradict each other, request_type for a field that is
    not known or no text. ScopeError: scope_purpose, scope_region. InputError for what no context can be.
    """
    said: dict[str, Any] = {name: getattr(caller.defaults, name) for name in _DEFAULTS}
    for field, value in body_said.items():
        if field not in FIELDS:
            raise RequestError("request_type", "the context in the body has a field that is not known")
        if field == "data":
            continue
        if not isinstance(value, str):
            raise RequestError("request_type", f"{field} in the body is no text")
        if headers_said.get(field, value) != value:
            raise RequestError("request_context", f"header and body say different things of {field}")
        said[FIELDS[field]] = value
    said |= {FIELDS[field]: value for field, value in headers_said.items() if field != "data"}
    # categories are added up: one that is declared anywhere is there
    said["data"] = _categories(headers_said.get("data", "")) | _categories(body_said.get("data", ""))
    must_state(caller, said["purpose"], said["region"])
    return Context(actor=caller.actor, tenant=caller.tenant, **said)


def _categories(said: object) -> frozenset[str]:
    """Categories as a list of texts, or as one text with commas between them."""
    if isinstance(said, str):
        said = said.split(",")
    if not isinstance(said, list) or not all(isinstance(category, str) for category in said):
        raise RequestError("request_type", "data in the body is no list of texts")
    if len(said) > MAX_CATEGORIES:
        raise RequestError("request_type", f"data has more than {MAX_CATEGORIES} categories")
    return frozenset(filter(None, (category.strip() for category in said)))


def _read(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, dict[str, str]]:
    secret: str | None = None
    said: dict[str, str] = {}
    for name, value in headers:
        if name == b"authorization":
            if secret is not None:
                raise RequestError("request_header", "the header Authorization is there twice")
            secret = _secret(value)
        elif name in _HEADERS:
            field = _HEADERS[name]
            if field in said:
                raise RequestError("request_header", f"the header {name.decode()} is there twice")
            said[field] = _text(name, value)
    return secret or "", said


def _secret(value: bytes) -> str:
    text = value.decode("latin-1")
    return text[len(_BEARER) :].strip() if text.lower().startswith(_BEARER) else ""


def _text(name: bytes, value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise RequestError("request_header", f"the header {name.decode()} is no UTF-8") from None
    if len(text) > MAX_CONTEXT:
        raise RequestError("request_header", f"the header {name.decode()} has more than {MAX_CONTEXT} characters")
    return text
