"""Every pack that comes with sealpress: its cases hold, each rule refuses in one of them, and none can be weakened."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

import cedarpy
import pytest
from msgspec import structs

from policies import licences
from policies.cedar import Engine, Pack, PolicyError, filled, load, schema
from policies.cedar.cases import Cases, Tried, tried
from policies.cedar.engine import Source
from policies.cedar.source import Rule
from policies.facts import Carried, Overseen
from tests.vectors.make_licence_rows import ROWS, rows
from toolkit.policy import Policy, pack, packs, schema_text

PACKS = packs()
RICH = (
    "LicenseRef-scancode-tencent",
    "LicenseRef-scancode-llama-3.2",
    "LicenseRef-scancode-stability",
    "LicenseRef-scancode-exaone",
    "LicenseRef-scancode-gemma-tou-2025",
)
# no licence in the table forbids derivatives
EQUIVALENT = {"licence.derive": ["condition 0: only the left of &&"]}


@cache
def chosen(name: str) -> list[Pack]:
    """A pack in force: with the base, which permits."""
    return [pack(one) for one in dict.fromkeys(("base", name))]


@cache
def cases(name: str) -> Cases:
    """Its cases; of those made of a table, some whose licences ask for much, as every mutant is tried on all."""
    own = Cases.read(name, pack(name).cases)
    if not pack(name).rows:
        return own
    rows = Cases.read(name, pack(name).rows)
    rich = tuple(one for one in rows.case if one.name.startswith(RICH))
    return structs.replace(own, purposes={**own.purposes, **rows.purposes}, case=own.case + rich)


@cache
def engine(name: str) -> Engine:
    texts = {one.name: one.policy for one in chosen(name)}
    given = cases(name)
    return load(texts, schema(schema_text(), chosen(name)), given.purposes, filled(chosen(name), given.parameters))


def own_rules(name: str) -> list[Rule]:
    """The rules of a pack itself."""
    ids = set(re.findall(r'@id\("([a-z_.]+)"\)', pack(name).policy.decode()))
    return [rule for rule in engine(name).rules if rule.id in ids]


@pytest.mark.parametrize("name", PACKS)
def test_the_cases_hold(name: str) -> None:
    assert cases(name).case
    assert [one for one in tried(engine(name), cases(name)) if not one.ok] == []


def test_the_cases_of_the_licences_are_those_of_the_table_and_hold() -> None:
    """A fact that changes in the table shows here; look at what it does, then make the file anew."""
    assert ROWS.read_text("utf-8") == rows(), "python -m tests.vectors.make_licence_rows"
    found = Policy.shipped("licence").tried()["licence/rows.toml"]
    assert [one for one in found if not one.ok] == []
    assert len(found) > 600


@pytest.mark.parametrize(
    ("spdx", "changed"),
    [
        ("LicenseRef-scancode-llama-2-license-2023", {"users": 600_000_000}),
        ("LicenseRef-scancode-tencent-hunyuan-3d-2.0-cla", {"territories": ("EU", "GB")}),
        ("LicenseRef-scancode-deepseek-la-1.0", {"forbidden": ("military",)}),
        ("LicenseRef-scancode-stability-ai-nc-2023-12-06", {"no_hosting": False}),
        ("CC-BY-NC-4.0", {"commercial": True}),
        ("MIT", {"commercial": None}),
        ("MIT", {"derive": "local"}),
    ],
)
def test_a_fact_that_changes_breaks_a_case(spdx: str, changed: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    plain = licences.entries()[spdx].plain()

    def facts(licence: str) -> licences.Facts:
        return structs.replace(plain, **changed) if licence == spdx else licences.facts(licence)

    monkeypatch.setattr("policies.cedar.request.facts", facts)
    found = Policy.shipped("licence").tried()["licence/rows.toml"]
    assert any(not one.ok and one.name.startswith(f"{spdx},") for one in found)


@pytest.mark.parametrize("name", PACKS)
def test_every_rule_has_a_case_that_it_refuses_and_one_that_it_lets_pass(name: str) -> None:
    results = tried(engine(name), cases(name))
    refusing = {rule for one in results for rule in one.rules}
    asked = {kind for one in results for kind in one.obligations}
    forbids = {rule.id for rule in own_rules(name) if rule.effect == "forbid"}
    # what an answer can carry is no refusal: such a rule is seen by what it asks for
    carried = {rule.id for rule in own_rules(name) if rule.obligation in (*get_args(Carried), *get_args(Overseen))}
    assert forbids - carried <= refusing
    assert {rule.obligation for rule in own_rules(name) if rule.obligation} <= asked
    for rule in own_rules(name):
        if rule.id in forbids:
            # without its conditions it would refuse a call that is allowed: that call is the one that it lets pass
            strict = structs.replace(rule, body={**rule.body, "conditions": []})
            after = outcomes([strict if one.id == rule.id else one for one in engine(name).rules], name)
            assert any(was.allow and now.rules == (rule.id,) for was, now in zip(results, after, strict=True)), rule.id


@pytest.mark.parametrize(("name", "number"), [(name, n) for name in PACKS for n in range(len(own_rules(name)))])
def test_no_rule_can_be_dropped_or_weakened(name: str, number: int) -> None:
    """Mutants of a rule: without it, or with a part of a condition less. One that Cedar itself refuses is none."""
    rule = own_rules(name)[number]
    before = outcomes(engine(name).rules, name)
    survivors = []
    for what, mutant in mutants(rule):
        rules = [mutant if one.id == rule.id else one for one in engine(name).rules]
        if outcomes([one for one in rules if one is not None], name) == before and (
            mutant is None or valid(mutant, name)
        ):
            survivors.append(what)
    assert survivors == EQUIVALENT.get(rule.id, [])


@pytest.mark.parametrize("name", PACKS)
def test_the_article_stands_beside_each_rule(name: str) -> None:
    own = {"base.allow", "base.quota"}
    for rule in own_rules(name):
        assert rule.id in own or len(rule.body["annotations"]["source"]) > 8, rule.id
        assert re.fullmatch(r"[A-Z][^\n]+\.", rule.reason)


@pytest.mark.parametrize("name", PACKS)
def test_the_defaults_fit_the_schema(name: str) -> None:
    """A request with the parameters as the pack has them is one that Cedar takes."""
    types = cedarpy.Schema.from_str(schema(schema_text(), chosen(name)).decode())
    for parameters in ({}, cases(name).parameters):
        facts = {
            "at": 1,
            "data": [],
            "retain_days": 1,
            "usage": 1,
            "sealed": True,
            "obligations": [],
            "served": False,
            "noticed": False,
        }
        facts |= {"detected": [], "unseen": False}
        request = {
            "principal": {"type": "Actor", "id": "ann"},
            "action": {"type": "Action", "id": "infer"},
            "resource": {"type": "Model", "id": "m"},
            "context": json.dumps({**facts, "packs": filled(chosen(name), parameters)}),
        }
        answer = cedarpy.is_authorized(request, "permit (principal, action, resource);", [], types)
        assert answer.decision is cedarpy.Decision.Allow, answer.diagnostics.errors


def test_all_packs_go_together() -> None:
    together = [pack(name) for name in PACKS]
    own = load({one.name: one.policy for one in together}, schema(schema_text(), together), {}, filled(together, {}))
    assert len(own.rules) == sum(len(own_rules(name)) for name in PACKS)


@pytest.mark.parametrize(
    "given",
    [
        {"gdpr": {"nonsense": 1}},
        {"gdpr": {"retain_days": "many"}},
        {"gdpr": {"retain_days": True}},
        {"gdpr": {"retain_days": -1}},
        {"gdpr": {"retain_days": 2**63}},
        {"gdpr": {"regions": "DE"}},
        {"pipl": {"retain_days": 1}},
    ],
)
def test_a_parameter_that_a_pack_does_not_take_is_refused(given: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(PolicyError) as caught:
        filled(chosen("gdpr"), given)
    assert caught.value.code == "policy_pack"


def test_parameters_are_part_of_the_digest() -> None:
    def digest(given: dict[str, dict[str, Any]]) -> str:
        texts = {one.name: one.policy for one in chosen("gdpr")}
        return load(texts, schema(schema_text(), chosen("gdpr")), {}, filled(chosen("gdpr"), given)).digest

    assert digest({}) == digest({"gdpr": {"retain_days": 730}}) != digest({"gdpr": {"retain_days": 731}})


def outcomes(rules: tuple[Rule, ...] | list[Rule], name: str) -> list[Tried]:
    given = cases(name)
    parameters = filled(chosen(name), given.parameters)
    return tried(Engine(rules, Source(texts={}, schema="", purposes=given.purposes, parameters=parameters)), given)


def valid(rule: Rule, name: str) -> bool:
    """Cedar takes no rule that reads an attribute without having asked whether it is there."""
    policies = json.dumps({"staticPolicies": {"mutant": rule.body}, "templates": {}, "templateLinks": []})
    types = cedarpy.Schema.from_str(schema(schema_text(), chosen(name)).decode())
    return cedarpy.validate_policies(cedarpy.policies_from_json_str(policies), types).validation_passed


def mutants(rule: Rule) -> Iterator[tuple[str, Rule | None]]:
    yield "dropped", None
    body = rule.body
    for number, condition in enumerate(body["conditions"]):
        rest = [one for place, one in enumerate(body["conditions"]) if place != number]
        yield f"condition {number} dropped", structs.replace(rule, body={**body, "conditions": rest})
        for what, changed in changes(condition["body"]):
            conditions = [*body["conditions"]]
            conditions[number] = {**condition, "body": changed}
            yield f"condition {number}: {what}", structs.replace(rule, body={**body, "conditions": conditions})
    entities = body["action"].get("entities", [])
    for number, entity in enumerate(entities):
        fewer = [one for place, one in enumerate(entities) if place != number]
        yield f"not {entity['id']}", structs.replace(rule, body={**body, "action": {"op": "in", "entities": fewer}})
    if body["action"]["op"] != "All":
        yield "every action", structs.replace(rule, body={**body, "action": {"op": "All"}})


def changes(node: Any) -> Iterator[tuple[str, Any]]:
    """One change of an expression at a time."""
    if not isinstance(node, dict):
        return
    ((operator, operands),) = node.items()
    if operator in ("&&", "||"):
        for side in ("left", "right"):
            yield f"only the {side} of {operator}", operands[side]
    if operator in ("<", ">", ">=", "<="):
        yield f"{operator} turned", {{"<": "<=", "<=": "<", ">": ">=", ">=": ">"}[operator]: operands}
    if operator == "Set":
        for number in range(len(operands)):
            yield f"without member {number}", {"Set": operands[:number] + operands[number + 1 :]}
    if operator in ("&&", "||", "<", ">", ">=", "<=", "==", "contains", "containsAny"):
        for side in ("left", "right"):
            for what, changed in changes(operands[side]):
                yield what, {operator: {**operands, side: changed}}
    if operator in ("!", "isEmpty"):
        for what, changed in changes(operands["arg"]):
            yield what, {operator: {"arg": changed}}
