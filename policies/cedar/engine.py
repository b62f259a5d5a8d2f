"""The engine: one seam in front of cedarpy, and the rule by which its answer counts.

A call is allowed only if Cedar says Allow and no rule failed to evaluate. Cedar by itself skips a `forbid` whose
condition fails, and allows; and it gives no decision at all for a request that does not fit the schema. Both refuse
here, as does anything unexpected.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any

import cedarpy
import msgspec
from msgspec import structs

from policies.cedar import request
from policies.cedar.source import PolicyError, Rule, handle, policy_text, read, schema_text
from policies.facts import Call, Decision, Finding, Manifest, Purpose

__all__ = ["Engine", "load"]

MAX_CACHED = 1_024


def load(texts: Mapping[str, bytes], schema: bytes, purposes: Mapping[str, Purpose]) -> Engine:
    """The policy made of these files (name to content) and the purposes that the settings declare.

    Raises PolicyError for a text that is not UTF-8, too large, no valid Cedar, at odds with the schema, without ids
    and reasons, or empty.
    """
    for name, purpose in purposes.items():
        if not _PURPOSE.fullmatch(name) or purpose.retain_days < 0:
            raise PolicyError("policy_purpose", f"{name[:80]!r} cannot be declared as it stands")
    types = schema_text("the schema", schema)
    sources = {name: policy_text(name, texts[name]) for name in sorted(texts)}
    try:
        handle = cedarpy.Schema.from_str(types)
    except ValueError as error:
        raise PolicyError("policy_schema", f"the schema: {error}") from None
    rules = read(sources, handle)
    # the first field is the version of this encoding
    parts = (1, sources, types, dict(purposes))
    digest = sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()
    return Engine(rules, handle, dict(purposes), digest)


class Engine:
    """A policy in force. `digest` is the SHA-256 of its texts, schema and purposes, in hexadecimal."""

    def __init__(
        self, rules: Iterable[Rule], schema: cedarpy.Schema, purposes: Mapping[str, Purpose], digest: str
    ) -> None:
        self._rules = tuple(rules)
        self._schema = schema
        self._purposes = purposes
        self._digest = digest
        self._all = handle(self._rules)
        self._permits = handle(rule for rule in self._rules if rule.effect == "permit")
        # every head as a permit without condition: Cedar itself tells which rules are about a call
        self._heads = handle(
            Rule(
                id=rule.id,
                reason=rule.reason,
                effect="permit",
                body={**rule.body, "effect": "permit", "conditions": []},
            )
            for rule in self._rules
        )
        self._unread = _unread(self._rules)
        self._scoped = lru_cache(MAX_CACHED)(self._scope)
        self._answered = lru_cache(MAX_CACHED)(self._evaluate)

    @property
    def digest(self) -> str:
        return self._digest

    def decide(self, model: Manifest, call: Call) -> Decision:
        """The answer to a call, with the finding of every rule that is about its actor, action and model.

        Never raises: what cannot be evaluated is refused, with a finding that says so.
        """
        try:
            # facts come from callers in this process, and a fact that no rule reads must still be one
            call = _FACTS.decode(msgspec.msgpack.encode(call))
            # an answer depends on the facts that rules read and on nothing else, so calls alike in them share it
            terms = (model.digest, model.name, model.task, model.licence, model.purposes)
            allowed, findings = self._answered(terms, structs.replace(call, id="", model="", **self._unread))
        except Exception as error:  # noqa: BLE001 - the engine is foreign code: whatever fails in it is a refusal
            allowed, findings = False, (_stopped(f"The policy could not be evaluated: {type(error).__name__}."),)
        return Decision(allowed=allowed, findings=findings, policy=self._digest)

    def _evaluate(self, terms: request.Terms, call: Call) -> tuple[bool, tuple[Finding, ...]]:
        entities, about = self._scoped(call.actor, call.tenant, call.action, terms)
        question = {
            **request.uids(call.actor, call.action, terms[0]),
            "context": json.dumps(request.context(call, self._purposes)),
        }
        answer = cedarpy.is_authorized(question, self._all, entities, self._schema)
        if answer.decision not in (cedarpy.Decision.Allow, cedarpy.Decision.Deny):
            return False, (_stopped("The call does not fit the schema of the policy, so that no rule could be asked."),)
        errors = dict(map(_error, answer.diagnostics.errors))
        allowed = answer.decision is cedarpy.Decision.Allow and not errors
        matched = set(answer.diagnostics.reasons)
        if answer.decision is cedarpy.Decision.Deny:
            # a refusal names the rules that forbid only: ask again for those that would have permitted
            matched |= set(cedarpy.is_authorized(question, self._permits, entities, self._schema).diagnostics.reasons)
        findings = [_finding(rule, matched, errors) for rule in self._rules if rule.id in about]
        findings += [_stopped(f"A rule could not be evaluated: {errors[id_]}.") for id_ in errors.keys() - about]
        if not any(rule.effect == "permit" and rule.id in matched for rule in self._rules):
            findings.append(
                Finding(rule="default.deny", ok=False, reason="Nothing is allowed unless a rule permits it.")
            )
        return allowed, tuple(findings)

    def _scope(
        self, actor: str, tenant: str, action: str, terms: request.Terms
    ) -> tuple[cedarpy.Entities, frozenset[str]]:
        """The entities of a call, and the rules that are about it: what stays the same from call to call."""
        entities = cedarpy.Entities.from_json_str(request.entities(actor, tenant, terms), self._schema)
        answer = cedarpy.is_authorized(request.uids(actor, action, terms[0]), self._heads, entities)
        return entities, frozenset(answer.diagnostics.reasons)


_PURPOSE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_ERROR = re.compile(r"error while evaluating policy `([^`]+)`: (.*)", re.DOTALL)
_KINDS = (
    ("integer overflow", "integer overflow"),
    ("type error", "type error"),
    ("does not have the attribute", "missing attribute"),
    ("does not exist", "missing entity"),
)


_FACTS = msgspec.msgpack.Decoder(Call)
# what a call says of a fact that no rule reads
_SILENT: dict[str, Any] = {
    "at": 0,
    "purpose": None,
    "basis": None,
    "consent": None,
    "subject": None,
    "region": None,
    "data": frozenset(),
    "retain_days": 0,
    "usage": 0,
}


def _unread(rules: Iterable[Rule]) -> dict[str, Any]:
    """The facts of a call that no rule reads, each with its silent value; none when a rule takes the context whole."""
    read: set[str] = set()
    for rule in rules:
        read |= set(_read_by(rule.body))
    return {} if "*" in read else {name: value for name, value in _SILENT.items() if name not in read}


def _read_by(node: object) -> Iterator[str]:
    """The attributes of the context that a part of Cedar's JSON reads, or * for the context as a whole."""
    match node:
        case {"left": {"Var": "context"}, "attr": str(attribute)}:
            yield attribute
        case {"Var": "context"}:
            yield "*"
        case dict():
            for part in node.values():
                yield from _read_by(part)
        case list():
            for part in node:
                yield from _read_by(part)


def _error(message: str) -> tuple[str, str]:
    """The rule and the kind of its error. Cedar's own message quotes facts of the call, so it goes no further."""
    match = _ERROR.fullmatch(message)
    rule, text = match.groups() if match else ("?", message)
    return rule, next((kind for sign, kind in _KINDS if sign in text), "error")


def _finding(rule: Rule, matched: set[str], errors: Mapping[str, str]) -> Finding:
    if rule.id in errors:
        reason = f"The rule could not be evaluated ({errors[rule.id]}): {rule.reason}"
        return Finding(rule=rule.id, ok=False, reason=reason)
    ok = (rule.id in matched) == (rule.effect == "permit")
    return Finding(rule=rule.id, ok=ok, reason=rule.reason)


def _stopped(reason: str) -> Finding:
    return Finding(rule="engine.stopped", ok=False, reason=reason)
