"""Proofs over all calls that there can be: claims about a policy, and what an edit of it widens or narrows.

A policy is one formula, by the same rule as in the engine: some rule permits, none forbids, none fails, once the answer
carries what rules ask for. Where it can be true together with what a claim rules out, the solver gives a request as
example.

Source: Cutler et al., Cedar: A New Language for Expressive, Fast, Safe, and Analyzable Authorization, OOPSLA 2024.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import cedarpy
import z3
from msgspec import Struct, structs

from policies.cedar.claims import Claim, condition
from policies.cedar.formulas import Answers, Example, Requests
from policies.cedar.packs import Parameters
from policies.cedar.source import PolicyError, Rule
from policies.cedar.types import Schema

__all__ = ["Difference", "Example", "Proved", "difference", "proved"]

TIMEOUT_MS = 20_000
# what policies/cedar/request.py makes sure of for every call
_ALWAYS = (
    "if context has purpose then context.purpose.declared || (context.purpose.commercial && "
    "context.purpose.bases.isEmpty() && context.purpose.recipients.isEmpty() && context.purpose.retain_days == 0 && "
    "!(context.purpose has uses)) "
    "else true",
    "resource.licence.known || !(resource.licence has commercial || resource.licence has derive || "
    "resource.licence has share_alike || resource.licence has attribution || resource.licence has notice_file || "
    "resource has terms)",
    'if context has declared then context.declared.state == "open" || !(context.declared has places || '
    "context.declared has users || context.declared has revenue || context.declared has commercial) else true",
)


class Proved(Struct, frozen=True, kw_only=True):
    """A claim, and whether it holds for every call; where it does not, a call that is allowed all the same."""

    name: str
    holds: bool
    example: Example | None = None


class Difference(Struct, frozen=True, kw_only=True):
    """A call that a new policy allows and the old one refuses, and one the other way round, where there is one; and a
    call that the new one decides anew once its payload is sanitised, where the old one refuses, and the other way."""

    widened: Example | None
    narrowed: Example | None
    sanitised: Example | None
    unsanitised: Example | None


def proved(rules: Sequence[Rule], schema: str, claims: Iterable[Claim], parameters: Parameters | None) -> list[Proved]:
    """Try to refute each claim. Without parameters it is proved for every way to fill them.

    Raises PolicyError: policy_unproved for a construct without a formula, or when the solver gives up.
    """
    handle, request = cedarpy.Schema.from_str(schema), Requests(Schema(schema), parameters)
    allowed = request.answers(rules).allowed
    found = []
    for claim in claims:
        never = request.holds(condition(f"claim {claim.name}", claim.never, handle))
        example = _example(request, handle, [allowed, never])
        found.append(Proved(name=claim.name, holds=example is None, example=example))
    return found


def difference(old: tuple[Sequence[Rule], str, Parameters], new: tuple[Sequence[Rule], str, Parameters]) -> Difference:
    """Compare two policies with their schemas and parameters over all calls. Raises PolicyError: policy_unproved."""
    before, after = (Requests(Schema(schema), parameters) for _, schema, parameters in (old, new))
    was, becomes = before.answers(old[0]), after.answers(new[0])
    handle = cedarpy.Schema.from_str(new[1])

    def found(*asked: z3.BoolRef) -> Example | None:
        return _example(after, handle, [*asked, *before.bounds], before)

    return Difference(
        widened=found(becomes.allowed, z3.Not(was.allowed)),
        narrowed=found(was.allowed, z3.Not(becomes.allowed)),
        sanitised=found(_anew(becomes, was), z3.Not(was.allowed)),
        unsanitised=found(_anew(was, becomes), z3.Not(becomes.allowed)),
    )


def _anew(one: Answers, other: Answers) -> z3.BoolRef:
    return z3.Or([z3.And(when, z3.Not(other.sanitised[kind])) for kind, when in one.sanitised.items()])


def _example(
    request: Requests, handle: cedarpy.Schema, asked: list[z3.BoolRef], other: Requests | None = None
) -> Example | None:
    """A request of which all that is asked is true, or None. Another request has the same variables by their names, and
    what only it reads is told as well."""
    solver = z3.Solver()
    solver.set("timeout", TIMEOUT_MS)
    always = [request.holds(condition("always", text, handle)) for text in _ALWAYS]
    solver.add(*asked, *always, *request.bounds)
    # an example is easier to read where nothing was done to the payload
    answer = solver.check(request.sanitised == "")
    if answer != z3.sat:
        answer = solver.check()
    if answer == z3.unknown:
        raise PolicyError("policy_unproved", f"the solver gave up: {solver.reason_unknown()}")
    if answer != z3.sat:
        return None
    found = request.example(solver.model())
    if other is None:
        return found
    also = other.example(solver.model())
    return structs.replace(
        found,
        actor=_merged(found.actor, also.actor),
        model=_merged(found.model, also.model),
        context=_merged(found.context, also.context),
    )


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    both = {name: _merged(one[name], value) for name, value in other.items() if isinstance(one.get(name), dict)}
    return {**other, **one, **both}
