"""Claims: what no call that a policy allows may ever be, in TOML beside the rules, to be proved for every call.

    [[claim]]
    name = "no commercial use of a non-commercial licence"
    never = 'context has purpose && context.purpose.commercial && !resource.licence.commercial'

`never` is a condition in Cedar over principal, action, resource and context, as it stands in a rule.
"""

from __future__ import annotations

from typing import Annotated, Any

import cedarpy
from msgspec import Meta, Struct

from policies.cedar.cases import decoded
from policies.cedar.source import PolicyError, read

__all__ = ["Claim", "Claims", "condition"]

MAX_CLAIMS = 200


class Claim(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    never: str


class Claims(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of claims."""

    claim: Annotated[tuple[Claim, ...], Meta(max_length=MAX_CLAIMS)] = ()

    @classmethod
    def read(cls, name: str, data: bytes) -> Claims:
        """Raises PolicyError: policy_cases."""
        return decoded(name, data, cls)


def condition(name: str, text: str, schema: cedarpy.Schema) -> dict[str, Any]:
    """A condition in Cedar's JSON. Raises PolicyError for what is none, or does not fit the schema."""
    head = '@id("claim.never") @reason("A condition of a claim.") forbid (principal, action, resource) when {\n'
    rules = read({name: f"{head}{text}\n}};"}, schema)
    if len(rules) != 1 or len(rules[0].body["conditions"]) != 1:
        raise PolicyError("policy_cases", f"{name}: a claim is one condition")
    found: dict[str, Any] = rules[0].body["conditions"][0]["body"]
    return found
