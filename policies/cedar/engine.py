"""The engine: rules in force, and the rule by which their answers count.

A call is allowed only if a rule permits it, none forbids it, and no rule failed to evaluate. Cedar by itself skips a
`forbid` whose condition fails, and allows; that refuses here, as does anything unexpected. cedarpy checks every text
at load; calls are decided by the compiled program, which tests compare with cedarpy.

A forbid with an obligation gives way once it is met. What an answer can carry, and how it is looked at while it is
written, is granted here: the fact `obligations` names it, and the rules are asked once more. What has to be done to a
payload is left to the gate, and only where nothing else refuses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from types import MappingProxyType
from typing import Literal, get_args

import cedarpy
import msgspec
from msgspec import Struct

from policies.cedar import request
from policies.cedar.compiler import Answer, Named, Trace, compiled
from policies.cedar.packs import Parameter, Parameters
from policies.cedar.source import PolicyError, Rule, policy_text, read, schema_text
from policies.facts import (
    CATEGORY,
    Call,
    Carried,
    Decision,
    Finding,
    Manifest,
    Obligation,
    Overseen,
    Purpose,
    Sanitised,
    Sanitising,
)
from policies.licences import attribution

__all__ = ["Engine", "load", "reloaded"]

MAX_CACHED = 1_024
MAX_WORDS = 300


def load(
    texts: Mapping[str, bytes],
    schema: bytes,
    purposes: Mapping[str, Purpose],
    parameters: Parameters = MappingProxyType({}),
) -> Engine:
    """The policy made of these files (name to content), the purposes that the settings declare, and the parameters of
    packs, whose types the schema holds.

    Raises PolicyError for a text that is not UTF-8, too large, no valid Cedar, at odds with the schema, without ids
    and reasons, empty, or with a construct that is not supported.
    """
    for name, purpose in purposes.items():
        if not _PURPOSE.fullmatch(name) or purpose.retain_days < 0 or not all(map(CATEGORY.fullmatch, purpose.data)):
            raise PolicyError("policy_purpose", f"{name[:80]!r} cannot be declared as it stands")
    types = schema_text("the schema", schema)
    sources = {name: policy_text(name, texts[name]) for name in sorted(texts)}
    try:
        handle = cedarpy.Schema.from_str(types)
    except ValueError as error:
        raise PolicyError("policy_schema", f"the schema: {error}") from None
    rules = read(sources, handle)
    source = Source(texts=sources, schema=types, purposes=dict(purposes), parameters=dict(parameters))
    return Engine(rules, source)


def reloaded(data: bytes) -> Engine:
    """The policy whose `source` this is. Raises PolicyError, also for what is none."""
    try:
        found = msgspec.json.decode(data, type=Source)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise PolicyError("policy_archive", "these are not the sources of a policy") from None
    texts = {name: text.encode() for name, text in found.texts.items()}
    return load(texts, found.schema.encode(), found.purposes, found.parameters)


class Source(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that a policy is made of. Its canonical JSON is what the digest of a policy stands for."""

    format: Literal[1] = 1
    texts: dict[str, str]
    schema: str
    purposes: dict[str, Purpose]
    parameters: dict[str, dict[str, Parameter]]

    def encoded(self) -> bytes:
        return msgspec.json.encode(self, order="deterministic")


class Engine:
    """A policy in force. `source` is the canonical JSON of its texts, schema, purposes and parameters, and `digest` the
    SHA-256 of that in hexadecimal."""

    def __init__(self, rules: Sequence[Rule], source: Source) -> None:
        self.rules = tuple(rules)
        self.source = source.encoded()
        self.purposes: Mapping[str, Purpose] = MappingProxyType(source.purposes)
        known = (given.get("overrides") for given in source.parameters.values())
        # names of overrides that some pack opens something for
        self.overrides = frozenset(str(name) for names in known if isinstance(names, list) for name in names)
        self._purposes = request.Purposes(source.purposes)
        self._words = _words(self.rules, source.parameters)
        self._parameters = request.parameters(source.parameters)
        self._digest = sha256(self.source).hexdigest()
        self._program = compiled(self.rules, request.ACTIONS.values())
        self._actor = lru_cache(MAX_CACHED)(request.actor)
        self._model = lru_cache(MAX_CACHED)(request.model)
        # many calls differ in nothing that a rule tells apart: what they are told is one object, and so is the decision
        self._told = lru_cache(MAX_CACHED)(self._tell)
        self._decided = lru_cache(MAX_CACHED)(self._decision)

    @property
    def digest(self) -> str:
        return self._digest

    def decide(self, model: Manifest, call: Call) -> Decision:
        """The answer to a call, with the finding of every rule that is about its actor, action and model.

        Never raises: what cannot be evaluated is refused, with a finding that says so.
        """
        try:
            actor = self._actor(call.actor, call.tenant)
            about = self._model(model.digest, model.name, model.task, model.licence, model.purposes, model.stated)
            action = request.ACTIONS[call.action]
            facts = request.context(call, self._purposes, self._parameters)
            named = self._program.named(action.uid, about.uid)
            told = self._told(named, self._program.trace(actor, action, about, facts, {}))
            # each time there is more in it, so this ends
            while not told.carry <= facts["obligations"]:
                facts["obligations"] |= told.carry
                told = self._told(named, self._program.trace(actor, action, about, facts, {}))
            parent = model.lineage[0].name if model.lineage else None
            return self._decided(told, facts["obligations"], model.name, parent, model.licence, call.sanitised)
        except Exception as error:  # noqa: BLE001 - the facts come from anywhere: whatever fails with them is a refusal
            reason = f"The policy could not be evaluated: {type(error).__name__}."
            return Decision(allowed=False, findings=(_stopped(reason),), policy=self._digest)

    def _tell(self, named: Named, trace: Trace) -> _Told:
        answer = self._program.answer(named, trace)
        matched = [self.rules[number] for number in answer.matched]
        permitted = any(rule.effect == "permit" for rule in matched)
        refusing = {rule.obligation for rule in matched if rule.effect == "forbid"}
        findings = [_finding(self.rules[n], n, answer, permitted) for n in sorted(answer.about | answer.errors.keys())]
        if not permitted:
            reason = "Nothing is allowed unless a rule permits it."
            findings.append(Finding(rule="default.deny", ok=False, reason=reason))
        passes = permitted and not answer.errors
        return _Told(
            allowed=passes and not refusing,
            findings=tuple(findings),
            carry=_GRANTED & refusing,
            sanitise=next((kind for kind in _SANITISING if passes and refusing == {kind}), None),
        )

    def _decision(
        self,
        told: _Told,
        met: frozenset[str],
        name: str,
        parent: str | None,
        licence: str,
        done: Sanitised | None,
    ) -> Decision:
        """The decision on a model of this name, made from this parent, where these obligations are met."""
        found: list[Obligation] = []
        if not told.allowed:
            # what was done to a payload once is not done again
            if told.sanitise is not None and done is None:
                found.append(Obligation(kind=told.sanitise))
        else:
            if done is not None:
                found.append(Obligation(kind=done.kind, text=", ".join(sorted(done.data))))
            if "attribution" in met:
                found.append(Obligation(kind="attribution", text=attribution(name, parent, licence)))
            if "ai_notice" in met:
                found.append(Obligation(kind="ai_notice", text=self._words))
            found += [Obligation(kind=kind) for kind in _OVERSEEN if kind in met]
        return Decision(allowed=told.allowed, findings=told.findings, policy=self._digest, obligations=tuple(found))


class _Told(Struct, frozen=True, kw_only=True, eq=False):
    """What the rules say: of those that refuse, what they ask of the answer; and what done to the payload would meet
    all of them, where that is one thing. Two are the same where they are one object."""

    allowed: bool
    findings: tuple[Finding, ...]
    carry: frozenset[str] = frozenset()
    sanitise: Sanitising | None = None


_SANITISING: tuple[Sanitising, ...] = get_args(Sanitising)
_OVERSEEN: tuple[Overseen, ...] = get_args(Overseen)
# what the answer carries, and what whoever hands it out does with it, is promised here
_GRANTED: frozenset[str] = frozenset((*get_args(Carried), *_OVERSEEN))
_PURPOSE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


def _words(rules: Sequence[Rule], parameters: Parameters) -> str:
    """The words of the notice: the parameter `ai_notice` of a pack. Raises PolicyError where a rule asks for one and
    there is none, or no line of text."""
    given = [one["ai_notice"] for one in parameters.values() if "ai_notice" in one]
    asking = [rule for rule in rules if rule.obligation == "ai_notice"]
    if asking and len(given) != 1:
        raise PolicyError(
            "policy_pack", f"{asking[0].file}: rule {asking[0].id} needs the words of one pack, {len(given)} have some"
        )
    for words in given:
        if not isinstance(words, str) or not words.strip() or len(words) > MAX_WORDS or not words.isprintable():
            raise PolicyError("policy_pack", f"ai_notice is no line of 1 to {MAX_WORDS} characters")
    return str(given[0]) if given else ""


def _finding(rule: Rule, number: int, answer: Answer, permitted: bool) -> Finding:
    if number in answer.errors:
        reason = f"The rule could not be evaluated ({answer.errors[number]}): {rule.reason}"
        return Finding(rule=rule.id, ok=False, reason=reason)
    # one permit is enough: where another matched, this one does not stand in the way
    ok = permitted if rule.effect == "permit" else number not in answer.matched
    return Finding(rule=rule.id, ok=ok, reason=rule.reason)


def _stopped(reason: str) -> Finding:
    return Finding(rule="engine.stopped", ok=False, reason=reason)
