"""Decisions by the compiled rules beside cedarpy with handles, and a million pairs on which both must agree."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import cedarpy

from benchmarks.cedar.differential import compared
from benchmarks.frame import Result, in_turn, measured
from policies.cedar import filled, load, request, schema
from policies.cedar.compiler import compiled
from policies.cedar.source import handle
from policies.cedar.values import Entity
from policies.facts import Call, Manifest, Purpose
from toolkit.policy import pack, schema_text

ROUNDS = 9
PAIRS = (10_000, 100)
MODEL = Manifest(
    format=1, name="model", version="1", digest="ab" * 32, task="embed", licence="MIT", inputs=(), outputs=()
)
CALL = Call(
    id="c", at=1, actor="ann", tenant="t", action="infer", model=MODEL.digest, purpose="search", signer="s",
    sealed=True, retain_days=30,
)  # fmt: skip
PURPOSES = {"search": Purpose(bases=frozenset({"contract"}), retain_days=30)}
_ALLOW = '@id("a.allow") @reason("All may be done here.") permit (principal, action, resource);'


def run() -> list[Result]:
    own = [pack("base")]
    whole = [pack(name) for name in ("base", "gdpr", "licence")]
    scoped = "\n".join(
        f'@id("a.n{n}") @reason("One rule of many.") forbid (principal, action, resource == Model::"{n:064x}") '
        "when { context.usage > 5 };"
        for n in range(1_000)
    )
    conditions = "\n".join(
        f'@id("a.n{n}") @reason("One rule of many.") forbid (principal, action, resource) '
        f'when {{ resource.name == "model-{n}" && context.usage > 5 }};'
        for n in range(1_000)
    )
    results = [
        _compared("policy-base", "the pack base, 11 rules", {"base": own[0].policy}, own),
        _compared("policy-packs", "base, gdpr and licence, 42 rules", {p.name: p.policy for p in whole}, whole),
        _compared("policy-1000-scoped", "1,000 rules, each about another model", {"own": _with(scoped)}, []),
        _compared("policy-1000-conditions", "1,000 rules about every model", {"own": _with(conditions)}, []),
    ]
    return [*results, _agreed()]


def _with(rules: str) -> bytes:
    return f"{_ALLOW}\n{rules}".encode()


def _compared(name: str, what: str, texts: dict[str, bytes], packs: list[Any]) -> Result:
    parameters = filled(packs, {})
    types = schema(schema_text(), packs)
    engine = load(texts, types, PURPOSES, parameters)
    program = compiled(engine.rules, request.ACTIONS.values())
    actor = request.actor(CALL.actor, CALL.tenant)
    model = request.model(MODEL.digest, MODEL.name, MODEL.task, MODEL.licence, MODEL.purposes)
    context = request.context(CALL, request.Purposes(PURPOSES), request.parameters(parameters))
    # the call as it is decided at last: with what the answer will carry
    context["obligations"] = frozenset(one.kind for one in engine.decide(MODEL, CALL).obligations)
    question = {
        "principal": {"type": "Actor", "id": CALL.actor},
        "action": {"type": "Action", "id": CALL.action},
        "resource": {"type": "Model", "id": MODEL.digest},
        "context": json.dumps(_json(context)),
    }
    store = [
        {"uid": {"type": one.uid[0], "id": one.uid[1]}, "attrs": _json(one), "parents": []} for one in (actor, model)
    ]
    rules, types_handle = handle(engine.rules), cedarpy.Schema.from_str(types.decode())
    entities = cedarpy.Entities.from_json_str(json.dumps(store), types_handle)
    action = request.ACTIONS[CALL.action]
    assert engine.decide(MODEL, CALL).allowed  # noqa: S101 - all candidates must do the same
    assert cedarpy.is_authorized(question, rules, entities, types_handle).allowed  # noqa: S101 - the same
    rounds = in_turn(
        {
            "cedarpy with handles": _timed(lambda: cedarpy.is_authorized(question, rules, entities, types_handle), 200),
            "compiled rules": _timed(lambda: program.trace(actor, action, model, context, {}), 5_000),
            "decide: facts checked, rules, findings": _timed(lambda: engine.decide(MODEL, CALL), 5_000),
        },
        ROUNDS,
    )
    return measured(
        name,
        f"Microseconds a decision on one allowed call: {what}.",
        "us",
        "cedarpy with handles",
        rounds,
        notes=[
            "cedarpy is given parsed rules, entities and schema, and the context as JSON; the compiled rules are given "
            "their values, `decide` a call and a manifest."
        ],
        packages=["cedarpy"],
    )  # fmt: skip


def _agreed() -> Result:
    start = time.perf_counter()
    counts = compared(2026, *PAIRS)
    took = time.perf_counter() - start
    pairs = counts["pairs"]
    return measured(
        "policy-agreement",
        "Random policies and requests on which the compiled rules and cedarpy say the same: decision, deciding rules, "
        "rules in scope, and rules that fail. One that differs ends the run.",
        "pairs",
        "pairs",
        {
            "pairs": [float(pairs)],
            "of them allowed": [float(counts["allow"])],
            "of them with a rule that fails": [float(counts["with errors"])],
        },
        notes=[f"{PAIRS[0]:,} policies with {PAIRS[1]} requests each, in {took:.0f} s."],
        packages=["cedarpy"],
    )


def _json(value: Any) -> Any:
    if isinstance(value, (dict, Entity)):
        return {name: _json(one) for name, one in value.items()}
    return sorted(value) if isinstance(value, frozenset) else value


def _timed(work: Callable[[], object], times: int) -> Callable[[], float]:
    def once() -> float:
        start = time.perf_counter()
        for _ in range(times):
            work()
        return (time.perf_counter() - start) / times * 1e6

    return once
