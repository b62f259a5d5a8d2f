"""A usage grant: a signed promise of an issuer that a holder may use models so much, on one box, for a time.

The file is JSON with `statement` (base64), `key` (`ed25519:...`) and `signature` (base64, Ed25519 over
`sealpress.usage-grant/1` 00 and the statement). It is bound to one box, so that no two boxes can draw on it. Not to be
taken for the Grant of `policies.gate`, which is a ticket for one run.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from compliance.crypto import Signer, Unauthentic, fresh
from compliance.state.grants.errors import GrantError
from compliance.state.model_pattern import fits
from compliance.state.signed_file import opened, written

__all__ = ["GrantKey", "Signed", "Tariffed", "Terms", "covers", "issued", "new_id", "read"]

_LABEL = b"sealpress.usage-grant/1\x00"
# what a head counts exactly, in every verifier
_MOST = 2**53 - 1

_Text = Annotated[str, Meta(min_length=1, max_length=256)]
_Amount = Annotated[int, Meta(ge=1, le=_MOST // 1000)]
_Time = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Id = Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]


class Tariffed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the use is charged by: a tariff, by its name and the SHA-256 of its file (hexadecimal), and a band of it."""

    name: _Text
    digest: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    band: _Text


class GrantKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key that bundles are sealed to: `public` (1216 bytes), and `wrapped`, its private half (96 bytes), sealed to
    the box of the holder (compliance.sealed.granted)."""

    public: Annotated[bytes, Meta(min_length=1216, max_length=1216)]
    wrapped: Annotated[bytes, Meta(max_length=2048)]


class Terms(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is signed. Times are in nanoseconds since 1970: from `starts` until before `ends`.

    `box` is the identity of the journal on which it counts. `models` are NAME or NAME@VERSION, where a * at the end of
    either stands for any ending, or `sha256:` and the digest of one. What has no limit (`calls`, `tokens`, `cpu_s`) may
    be used as much as wanted. `sealing` is there where bundles can be sealed to the grant.
    """

    format: Literal[1] = 1
    id: _Id
    issuer: _Text
    holder: _Text
    box: _Id
    models: Annotated[tuple[_Text, ...], Meta(min_length=1, max_length=64)]
    starts: _Time
    ends: _Time
    calls: _Amount | None = None
    tokens: _Amount | None = None
    cpu_s: _Amount | None = None
    tariff: Tariffed | None = None
    sealing: GrantKey | UnsetType = UNSET


class Signed(Struct, frozen=True, kw_only=True):
    """A usage grant whose signature was checked: its terms, the key that signed them (`ed25519:...`), and its file."""

    terms: Terms
    key: str
    file: bytes


def issued(terms: Terms, signer: Signer) -> Signed:
    """Sign terms. Raises GrantError: usage_grant_terms for such as nobody could use."""
    statement = msgspec.json.encode(terms, order="deterministic")
    try:
        if msgspec.json.decode(statement, type=Terms) != terms or terms.starts >= terms.ends:
            raise GrantError("usage_grant_terms", "the grant would be over before it starts")
    except msgspec.ValidationError as error:
        raise GrantError("usage_grant_terms", str(error)) from None
    return read(written(_LABEL, statement, signer))


def read(file: bytes) -> Signed:
    """The grant in a file, whoever signed it: the signature holds, and nothing else was checked.

    Raises GrantError: usage_grant_malformed, usage_grant_forged.
    """
    try:
        statement, key = opened(_LABEL, file)
        terms = msgspec.json.decode(statement, type=Terms)
    except (msgspec.MsgspecError, ValueError):
        raise GrantError("usage_grant_malformed", "the file holds no usage grant of format 1") from None
    except Unauthentic:
        raise GrantError("usage_grant_forged", "the signature does not belong to this key and these terms") from None
    return Signed(terms=terms, key=key, file=file)


def new_id() -> str:
    """A name for a new grant that no other one has."""
    return fresh(16).hex()


def covers(terms: Terms, name: str, version: str, digest: str) -> bool:
    """Whether a grant is for this model, by the name, version and digest of its manifest."""
    return any(fits(pattern, name, version) or pattern == f"sha256:{digest}" for pattern in terms.models)
