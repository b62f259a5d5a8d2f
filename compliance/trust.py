"""Whom a box trusts, and with what: signers with scopes, the time until which they are trusted, and since when no more.

A signature has no time that could be relied on. So whatever a signer signed counts as long as the signer does, and no
longer: what was signed before counts no more either, once the signer has expired or was revoked.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Annotated, Literal, get_args

from msgspec import Meta, Struct

__all__ = ["SCOPES", "Scope", "Trusted", "all_trusted", "trusted_with"]

Scope = Literal["models", "policies", "grants", "declarations"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

_Text = Annotated[str, Meta(min_length=1, max_length=256)]


class Trusted(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A signer: the public key, as ed25519:..., for what it may sign, until which day and since which one not any more.

    Days are in UTC: the first day on which nothing of this signer is accepted.
    """

    key: str
    scopes: Annotated[tuple[Scope, ...], Meta(min_length=1)]
    name: _Text | None = None
    expires: date | None = None
    revoked: date | None = None

    def against(self, at: int) -> str | None:
        """Why nothing of this signer is accepted at the time `at` (ns): "expired", "revoked"; None where it is."""
        day = datetime.fromtimestamp(at // 10**9, UTC).date()
        if self.revoked is not None and day >= self.revoked:
            return "revoked"
        return "expired" if self.expires is not None and day >= self.expires else None


def all_trusted(signers: Iterable[str | Trusted]) -> list[Trusted]:
    """The signers as the settings list them: a key alone is one whose models and proofs of policies are accepted."""
    return [Trusted(key=one, scopes=("models", "policies")) if isinstance(one, str) else one for one in signers]


def trusted_with(signers: Iterable[str | Trusted], scope: Scope, at: int) -> frozenset[str]:
    """The keys, as ed25519:..., of those who are trusted with this at the time `at` (ns).

    A key that is listed twice is trusted as far as every one of its lines says.
    """
    listed = all_trusted(signers)
    out = {one.key for one in listed if one.against(at) is not None or scope not in one.scopes}
    return frozenset(one.key for one in listed) - out
