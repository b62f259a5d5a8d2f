"""The end of a usage grant, signed by who issued it: from its import on, nothing more may be used under the grant.

The file is JSON with `revocation` (base64), `key` (`ed25519:...`) and `signature` (base64, Ed25519 over
`sealpress.usage-grant-revocation/1` 00 and the revocation). No other key than that of the grant can end it, trusted or
not, and none does on another box.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from compliance.crypto import Signer, Unauthentic
from compliance.keys import to_text
from compliance.state.grants.errors import GrantError
from compliance.state.grants.meter import Kept
from compliance.state.grants.terms import Signed
from compliance.state.signed_file import MAX_FILE, opened, written

__all__ = ["Revocation", "Revoked", "is_revocation", "must_end", "read_revocation", "revoked"]

_LABEL = b"sealpress.usage-grant-revocation/1\x00"
_FIELD = "revocation"  # and not `statement`: so it is told from a grant

_Id = Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]


class Revocation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is signed: which grant ends, on which box, and when that was said (nanoseconds since 1970)."""

    format: Literal[1] = 1
    grant: _Id
    box: _Id
    said: Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Revoked(Struct, frozen=True, kw_only=True):
    """A revocation whose signature was checked, the key that signed it (`ed25519:...`), and its file."""

    revocation: Revocation
    key: str
    file: bytes


class _Which(Struct):
    revocation: str


def revoked(grant: Signed, said: int, signer: Signer) -> Revoked:
    """Sign the end of a grant. Raises GrantError: usage_revocation_foreign where another key issued it."""
    if to_text(signer.public) != grant.key:
        raise GrantError("usage_revocation_foreign", f"the grant {grant.terms.id} was issued with another key")
    made = msgspec.json.encode(Revocation(grant=grant.terms.id, box=grant.terms.box, said=said), order="deterministic")
    return read_revocation(written(_LABEL, made, signer, _FIELD))


def is_revocation(file: bytes) -> bool:
    """Whether a file is to be read as a revocation; it may be a broken one."""
    try:
        msgspec.json.decode(file[: MAX_FILE + 1], type=_Which)
    except (msgspec.MsgspecError, ValueError):
        return False
    return True


def read_revocation(file: bytes) -> Revoked:
    """The revocation in a file, whoever signed it: the signature holds, and nothing else was checked.

    Raises GrantError: usage_revocation_malformed, usage_revocation_forged.
    """
    try:
        statement, key = opened(_LABEL, file, _FIELD)
        said = msgspec.json.decode(statement, type=Revocation)
    except (msgspec.MsgspecError, ValueError):
        told = "the file holds no revocation of a usage grant of format 1"
        raise GrantError("usage_revocation_malformed", told) from None
    except Unauthentic:
        raise GrantError("usage_revocation_forged", "the signature does not belong to this key and grant") from None
    return Revoked(revocation=said, key=key, file=file)


def must_end(revoked: Revoked, kept: Kept) -> None:
    """Return where a revocation ends this grant, which lies here.

    Raises GrantError: usage_revocation_foreign, usage_revocation_replayed.
    """
    said, terms = revoked.revocation, kept.signed.terms
    if (said.grant, said.box) != (terms.id, terms.box):
        raise GrantError("usage_revocation_foreign", f"it ends {said.grant} on the box {said.box}")
    if revoked.key != kept.signed.key:
        raise GrantError("usage_revocation_foreign", f"the grant {terms.id} was issued with another key")
    if kept.revoked is not None:
        raise GrantError("usage_revocation_replayed", f"the grant {terms.id} is revoked here already")
