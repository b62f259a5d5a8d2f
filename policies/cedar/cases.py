"""Cases: calls with the answer that a policy must give, in TOML; whoever writes a rule also writes what it is for.

    [purposes.triage]                   purposes beside those of the settings, and
    [parameters.gdpr]                   parameters of packs, for these cases only

    [[case]]
    name = "health data without explicit consent"
    allow = false
    rules = ["gdpr.special"]            all rules that refuse, and no others
    call = { purpose = "triage", basis = "contract", data = ["health"] }
    model = { licence = "MIT" }
    obligations = ["redact"]            what the decision asks for; left out, any will do

Fields of a call and a model are those of policies/facts.py; what is left out is that of an ordinary call, and an empty
text stands for a fact that is not known.
"""

from __future__ import annotations

import tomllib
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct, structs

from policies.cedar.engine import Engine
from policies.cedar.packs import Parameter
from policies.cedar.source import MAX_BYTES, PolicyError
from policies.facts import Call, Decision, Manifest, Purpose

__all__ = ["Case", "Cases", "Tried", "decoded", "tried"]

MAX_CASES = 2_000
_T = TypeVar("_T")

_MODEL: dict[str, Any] = {
    "format": 1,
    "name": "model",
    "version": "1",
    "digest": "0" * 64,
    "task": "embed",
    "licence": "Apache-2.0",
    "inputs": [],
    "outputs": [],
}
_CALL: dict[str, Any] = {
    "id": "case",
    "at": 1_800_000_000 * 10**9,
    "actor": "ann",
    "tenant": "local",
    "action": "infer",
    "signer": "ed25519:case",
    "sealed": True,
}


class Case(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One case. `rules` are those that refuse, all of them; `obligations`, where given, all that the decision names."""

    name: str
    allow: bool
    rules: frozenset[str] = frozenset()
    obligations: frozenset[str] | None = None
    call: dict[str, Any] = {}
    model: dict[str, Any] = {}


class Cases(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of cases."""

    purposes: dict[str, Purpose] = {}
    parameters: dict[str, dict[str, Parameter]] = {}
    case: Annotated[tuple[Case, ...], Meta(max_length=MAX_CASES)] = ()

    @classmethod
    def read(cls, name: str, data: bytes) -> Cases:
        """Raises PolicyError: policy_cases."""
        return decoded(name, data, cls)


class Tried(Struct, frozen=True, kw_only=True):
    """How a case came out: whether as it must, and what the policy said."""

    name: str
    ok: bool
    allow: bool
    rules: tuple[str, ...]
    obligations: tuple[str, ...] = ()


def tried(engine: Engine, cases: Cases) -> list[Tried]:
    """Decide every case. Raises PolicyError: policy_cases for a case whose call or model is none."""
    found = []
    for case in cases.case:
        decision = _decided(engine, case)
        refusing = frozenset(finding.rule for finding in decision.findings if not finding.ok)
        asked = tuple(one.kind for one in decision.obligations)
        ok = decision.allowed is case.allow and (refusing == case.rules or case.allow)
        ok &= case.obligations is None or case.obligations == frozenset(asked)
        found.append(
            Tried(name=case.name, ok=ok, allow=decision.allowed, rules=tuple(sorted(refusing)), obligations=asked)
        )
    return found


def decoded(name: str, data: bytes, type_: type[_T]) -> _T:
    """A file in TOML that stands beside rules, as a value of this type. Raises PolicyError: policy_cases."""
    if len(data) > MAX_BYTES:
        raise PolicyError("policy_cases", f"{name}: {len(data)} bytes; at most {MAX_BYTES} are read")
    try:
        return msgspec.convert(tomllib.loads(data.decode()), type_)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise PolicyError("policy_cases", f"{name}: {str(error)[:300]}") from None


def _decided(engine: Engine, case: Case) -> Decision:
    try:
        model = msgspec.convert({**_MODEL, **case.model}, Manifest)
        said = {"model": model.digest, **_CALL, **case.call}
        call = msgspec.convert({name: value for name, value in said.items() if value != ""}, Call)
    except msgspec.ValidationError as error:
        raise PolicyError("policy_cases", f"case {case.name[:80]!r}: {error}") from None
    purpose = engine.purposes.get(call.purpose or "")
    if purpose is not None:
        days = call.retain_days if "retain_days" in case.call else purpose.retain_days
        call = structs.replace(call, data=call.data | purpose.data, retain_days=days)
    return engine.decide(model, call)
