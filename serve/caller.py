"""Who asks, once it is known, and what they may ask for. A scope is checked before the gate, which still decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from msgspec import Struct

from compliance.state.api_key_table import Defaults
from compliance.state.model_pattern import fits
from policies.errors import Refused

__all__ = ["Caller", "ScopeError", "must_administer", "must_reach", "must_state"]


class ScopeError(Refused):
    """A caller who is known, and asks for what is not theirs. Messages name neither that nor the scope."""

    hints: ClassVar[Mapping[str, str]] = {
        "scope_model": "Ask for a model that the key or token is for: GET /v1/models lists them.",
        "scope_purpose": "State a purpose that the key or token is for, or ask the operator for one that has it.",
        "scope_region": "State a region that the key or token is for, or ask the operator for one that has it.",
        "scope_admin": "Use a key that was made with `sealpress key create --admin`.",
    }


class Caller(Struct, frozen=True, kw_only=True):
    """Who asks. `actor` is the name on record, `id` the one in logs, `account` whose limits are drawn on.

    `models`, `purposes` and `regions` are what they may ask for: None is everything, an empty one nothing. `key`: they
    ask with a key of this box; `counted`: its account has a quota of calls, `tokens_per_minute` and `tokens_per_day`:
    one of tokens.
    """

    id: str
    actor: str
    account: str
    rate_per_s: float
    burst: int
    concurrent: int | None = None
    key: bool = False
    counted: bool = False
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    admin: bool = False
    tenant: str | None = None
    models: tuple[str, ...] | None = None
    purposes: frozenset[str] | None = None
    regions: frozenset[str] | None = None
    defaults: Defaults = Defaults()

    def sees(self, name: str, version: str) -> bool:
        """Whether a list that is shown to them has this model."""
        return self.models is None or any(fits(pattern, name, version) for pattern in self.models)


def must_reach(caller: Caller, name: str, version: str) -> None:
    """Return when the caller may use this model, by the name and version of its manifest. Raises ScopeError."""
    if not caller.sees(name, version):
        raise ScopeError("scope_model", "the key or token is not for this model")


def must_administer(caller: Caller) -> None:
    """Return when the caller may load and unload models. Raises ScopeError."""
    if not caller.admin:
        raise ScopeError("scope_admin", "the key or token may not load or unload models")


def must_state(caller: Caller, purpose: str | None, region: str | None) -> None:
    """Return when the caller may ask under these; who is for some of them alone has to state one. Raises ScopeError."""
    if caller.purposes is not None and purpose not in caller.purposes:
        raise ScopeError("scope_purpose", "the key or token is for other purposes, or none was stated")
    if caller.regions is not None and region not in caller.regions:
        raise ScopeError("scope_region", "the key or token is for other regions, or none was stated")
