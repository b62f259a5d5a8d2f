"""Compiled rules against cedarpy on random policies and requests: how many pairs agree, and what they were."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import NamedTuple

import cedarpy
from msgspec import structs

from benchmarks.cedar import generator
from policies.cedar.compiler import Program, compiled
from policies.cedar.source import Rule, handle, read
from policies.cedar.values import Entity

__all__ = ["Case", "Compiler", "Said", "case", "cases", "compared", "said_by"]

Compiler = Callable[[Sequence[Rule], Sequence[Entity]], Program]

_SCHEMA = cedarpy.Schema.from_str(generator.SCHEMA)
_ENTITIES = cedarpy.Entities.from_json_str(json.dumps(generator.ENTITIES))


class Said(NamedTuple):
    """The answer to a request: whether Cedar allows, the rules whose head is about it, those that decided, and those
    that could not be evaluated."""

    allowed: bool
    about: frozenset[str]
    decided: frozenset[str]
    failed: frozenset[str]


class Case(NamedTuple):
    """A policy with requests, and what cedarpy says to each."""

    text: str
    rules: list[Rule]
    requests: list[generator.Request]
    said: list[Said]


def case(text: str, requests: list[generator.Request]) -> Case:
    """A policy with these requests. Raises PolicyError."""
    rules = read({"drawn": text}, _SCHEMA)
    questions = [generator.asked(one) for one in requests]
    answers = cedarpy.is_authorized_batch(questions, handle(rules), _ENTITIES)
    # each head as a permit without condition: Cedar itself tells which rules are about a request
    bare = [{**rule.body, "effect": "permit", "conditions": []} for rule in rules]
    heads = handle(structs.replace(rule, effect="permit", body=body) for rule, body in zip(rules, bare, strict=True))
    about = cedarpy.is_authorized_batch(questions, heads, _ENTITIES)
    return Case(text, rules, requests, [_said(*both) for both in zip(answers, about, strict=True)])


def cases(seed: int, policies: int, requests: int) -> Iterator[Case]:
    """Random policies with so many requests each."""
    random = Random(seed)  # noqa: S311 - the same each time
    writer = generator.Writer(random)
    for _ in range(policies):
        text = writer.policy()
        yield case(text, [generator.request(random) for _ in range(requests)])


def said_by(case: Case, compiler: Compiler = compiled) -> Iterator[Said]:
    """What the compiled rules say to each request of a case."""
    program, store = compiler(case.rules, list(generator.ACTIONS.values())), generator.store()
    for user, action, doc, context in case.requests:
        principal = store.get(("User", user), Entity(("User", user)))
        resource = store.get(("Doc", doc), Entity(("Doc", doc)))
        values = generator.value_of(context, store)
        others = {uid: entity for uid, entity in store.items() if entity not in (principal, resource)}
        trace = program.trace(principal, generator.ACTIONS[action], resource, values, others)
        named = program.named(generator.ACTIONS[action].uid, resource.uid)
        answer = program.answer(named, trace)
        matched: dict[str, set[str]] = {"permit": set(), "forbid": set()}
        for number in answer.matched:
            matched[case.rules[number].effect].add(case.rules[number].id)
        decided = matched["forbid"] or matched["permit"]
        failed = frozenset(case.rules[number].id for number in answer.errors)
        about = frozenset(case.rules[number].id for number in answer.about)
        yield Said(bool(matched["permit"]) and not matched["forbid"], about, frozenset(decided), failed)


def compared(seed: int, policies: int, requests: int) -> Counter[str]:
    """How many pairs there were of each kind. Raises AssertionError with the first pair that differs."""
    counts: Counter[str] = Counter()
    for drawn in cases(seed, policies, requests):
        for request, expected, said in zip(drawn.requests, drawn.said, said_by(drawn), strict=True):
            if said != expected:
                raise AssertionError(f"{drawn.text}\n{request}\ncedarpy: {expected}\ncompiled: {said}")
            counts["pairs"] += 1
            counts["allow" if expected.allowed else "deny"] += 1
            counts["with errors"] += bool(expected.failed)
    return counts


def _said(answer: cedarpy.AuthzResult, about: cedarpy.AuthzResult) -> Said:
    if answer.decision not in (cedarpy.Decision.Allow, cedarpy.Decision.Deny):
        raise AssertionError(f"cedarpy gives no answer: {answer.diagnostics.errors}")
    failed = frozenset(message.split("`", 2)[1] for message in answer.diagnostics.errors)
    return Said(answer.allowed, frozenset(about.diagnostics.reasons), frozenset(answer.diagnostics.reasons), failed)
