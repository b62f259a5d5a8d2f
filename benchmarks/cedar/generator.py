"""Random policies that pass Cedar's strict validation, and requests on which they are decided both ways.

Every operator that the compiler knows is drawn, over every type of the schema below; so are numbers that overflow,
attributes that a request leaves out, and entities that do not exist: what makes a rule fail to be evaluated.
"""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any

from policies.cedar.values import Entity, Record, Uid

__all__ = ["ACTIONS", "ENTITIES", "SCHEMA", "Request", "Writer", "asked", "request", "store"]

SCHEMA = """
entity Team in [Team] { level: Long };
entity User in [Team] {
  name: String, age: Long, admin: Bool, boss?: User, labels: Set<String>, home: { city: String, zip?: Long },
} tags Long;
entity Doc in [Team] {
  owner: User, title: String, size: Long, open: Bool, readers: Set<User>, codes: Set<Long>,
  kind?: String, points: Set<{ x: Long, y: Long }>,
} tags String;
action any;
action "odd \\"name\\"" appliesTo { principal: User, resource: Doc, context: Facts };
action read, write in [any] appliesTo { principal: User, resource: Doc, context: Facts };
type Facts = {
  n: Long, m?: Long, s: String, "odd key"?: String, flag: Bool, items: Set<String>, numbers: Set<Long>,
  who?: User, place: { x: Long, y: Long }, teams: Set<Team>,
};
"""
ACTIONS = {
    name: Entity(("Action", name), ancestors=frozenset({("Action", "any")} if name in ("read", "write") else ()))
    for name in ("read", "write", 'odd "name"')
}
_WORDS = ("", "a", "ab", "abc", "a*b", 'q"', "é", "日本", "b", "aba", "abab", "aab")
_LONGS = (0, 1, 2, 3, 5, -1, 7, 2**63 - 1, -(2**63), 2**62)
_TEAMS, _USERS, _DOCS = ("t0", "t1", "t2"), ("u0", "u1", "u2", "u3", "u4"), ("d0", "d1", "d2", "d3")
_GHOST = "ghost"  # named by rules and attributes, and not there

Request = tuple[str, str, str, dict[str, Any]]  # user, action, document, context


# Productions: <Type> is an expression of that type, <word> and the like are drawn from the lists above.
_LEAVES: dict[str, tuple[str, ...]] = {
    "Bool": (
        *("true", "false", "context.flag", "principal.admin", "resource.open", "(principal has boss)"),
        *("(context has m)", "(context has who)", '(context has "odd key")', "(resource has kind)"),
        *("(context.s like <pattern>)", "(principal.name like <pattern>)", "(context.n <= <long>)"),
        *("(action == <action>)", "(action in <action>)", "(principal in <team>)"),
    ),
    "Long": (
        *("<long>", "<long>", "context.n", "context.place.x", "principal.age", "resource.size", "resource.owner.age"),
    ),
    "String": ("<word>", "context.s", "principal.name", "resource.title", "principal.home.city"),
    "User": ("principal", "resource.owner", "<user>"),
    "Team": ("<team>",),
    "Doc": ("resource", "<doc>"),
    "Point": ("context.place", "{x: <long>, y: <long>}"),
    "Strings": ("context.items", "principal.labels", "[<word>, <word>]"),
    "Longs": ("context.numbers", "resource.codes", "[<long>, <long>]"),
    "Users": ("resource.readers", "[<user>, principal]"),
    "Teams": ("context.teams", "[<team>, <team>]"),
    "Points": ("resource.points", "[context.place]"),
}
_SETS = {"Strings": "String", "Longs": "Long", "Users": "User", "Points": "Point"}
_NODES: dict[str, tuple[str, ...]] = {
    "Bool": (
        *("(<Bool> && <Bool>)", "(<Bool> || <Bool>)", "(<Bool> && <Bool> && <Bool>)", "!(<Bool>)", "!(<Bool>)"),
        *(f"(<{type_}> {operator} <{type_}>)" for type_ in _LEAVES if type_ != "Teams" for operator in ("==", "!=")),
        *(f"(<Long> {operator} <Long>)" for operator in ("<", "<=", ">", ">=")),
        *(f"<{of}>.contains(<{member}>)" for of, member in _SETS.items()),
        *(f"<{of}>.{method}(<{of}>)" for of in _SETS for method in ("containsAll", "containsAny")),
        *(f"<{of}>.isEmpty()" for of in _SETS),
        *("(<String> like <pattern>)", "(<User> is User)", "(<User> is User in <Team>)", "(<User> in <Team>)"),
        *("(<User> in <User>)", "(<Doc> in <Teams>)", "(<Team> in <Team>)", "(if <Bool> then <Bool> else <Bool>)"),
        *('(principal.hasTag("k") && principal.getTag("k") > <Long>)', "(<Doc>.hasTag(<word>) || <Bool>)"),
        *('(resource.owner.hasTag("k") && resource.owner.getTag("k") != <Long>)', '<user>.hasTag("k")'),
        "(resource.hasTag(context.s) && resource.getTag(context.s) == <String>)",
        # attributes that may be missing, read where they are there
        *("(context has m && context.m < <Long>)", "(context has who && context.who.age > 3)"),
        *(
            '(context has "odd key" && context["odd key"] == <String>)',
            '(resource has kind && resource.kind like "a*")',
        ),
        *("(principal has boss && (principal.boss.admin || <Bool>))", "(context has who && context.who has boss)"),
        "(principal.home has zip && principal.home.zip >= <Long>)",
        *("<user>.admin", "(<user> has boss)", "(<user> has boss && <user> == principal)"),
    ),
    "Long": (
        *("(<Long> + <Long>)", "(<Long> - <Long>)", "(<Long> * <Long>)", "(-(<Long>))", "<user>.age", "<Point>.y"),
        *("(<long> + 0)", "(0 - <long>)", "(1 * <long>)", "(<long> + <long>)", "-(<long>)"),
        *("(if <Bool> then <Long> else <Long>)", "(if context has m then context.m else 4)", "{a: <Long>, b: 1}.a"),
    ),
    "String": ("(if <Bool> then <String> else <String>)", "<User>.name", "<Doc>.title"),
    "User": ("(if <Bool> then <User> else <User>)", "<Doc>.owner"),
    "Team": ("(if <Bool> then <Team> else <Team>)",),
    "Doc": ("(if <Bool> then <Doc> else <Doc>)",),
    "Point": ("{x: <Long>, y: <Long>}",),
    "Strings": ("[<String>, <String>]", "(if <Bool> then <Strings> else <Strings>)"),
    "Longs": ("[<Long>, <Long>, 1]",),
    "Users": ("[<User>]", "[<User>, <User>]"),
    "Teams": ("[<Team>]",),
    "Points": ("[<Point>, <Point>]",),
}
_PRODUCED = re.compile(r"<(\w+)>")
_HEADS = {
    "principal": ("principal == <user>", "principal is User", "principal in <team>", "principal is User in <team>"),
    "action": ("action == <declared>", "action in [<action>, <action>]", 'action in Action::"any"'),
    "resource": ("resource == <doc>", "resource is Doc", "resource in <team>", "resource is Doc in <team>"),
}


class Writer:
    """Writes rules. They are numbered, so that ids differ."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._number = 0

    def policy(self) -> str:
        """One to five rules, the first of which permits."""
        others = [self.rule(self._random.choice(("permit", "forbid"))) for _ in range(self._random.randrange(5))]
        return "\n".join([self.rule("permit", bare=self._random.random() < 0.6), *others])

    def rule(self, effect: str, *, bare: bool = False) -> str:
        """One rule; a bare one is about everything."""
        self._number += 1
        about = [
            variable if bare or self._random.random() < 0.5 else self._filled(self._random.choice(heads), 0)
            for variable, heads in _HEADS.items()
        ]
        conditions = [
            f" {self._random.choice(('when', 'unless'))} {{ {self._of('Bool', self._random.randrange(1, 4))} }}"
            for _ in range(0 if bare else self._random.choice((0, 1, 1, 1, 2)))
        ]
        head = f'@id("r.n{self._number}") @reason("A rule that was drawn.") {effect} ({", ".join(about)})'
        return head + "".join(conditions) + ";"

    def _of(self, type_: str, depth: int) -> str:
        productions = _LEAVES[type_] if depth <= 0 else _LEAVES[type_] + _NODES[type_] * 2
        return self._filled(self._random.choice(productions), depth - 1)

    def _filled(self, production: str, depth: int) -> str:
        return _PRODUCED.sub(lambda match: self._produced(match[1], depth), production)

    def _produced(self, name: str, depth: int) -> str:
        pick = self._random.choice
        match name:
            case "long":
                return str(pick(_LONGS))
            case "word":
                return json.dumps(pick(_WORDS), ensure_ascii=False)
            case "pattern":
                return (
                    '"'
                    + "".join(pick(("*", "*", "*", "a", "b", "ab", "\\*", "")) for _ in range(pick((1, 2, 4, 5, 6))))
                    + '"'
                )
            case "action" | "declared":
                return f"Action::{json.dumps(pick((*ACTIONS, 'any') if name == 'action' else (*ACTIONS,)))}"
            case "user" | "team" | "doc":
                names = {"user": _USERS, "team": _TEAMS, "doc": _DOCS}[name]
                return f'{name.capitalize()}::"{pick((*names, *names, _GHOST))}"'
        return self._of(name, depth)


def _uid(type_: str, id_: str) -> dict[str, Any]:
    return {"__entity": {"type": type_, "id": id_}}


def _user(random: Random) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "name": random.choice(_WORDS), "age": random.choice(_LONGS), "admin": random.random() < 0.5,
        "labels": random.sample(_WORDS, 3), "home": {"city": random.choice(_WORDS)},
    }  # fmt: skip
    if random.random() < 0.6:
        attributes["boss"] = _uid("User", random.choice((*_USERS, _GHOST)))
    if random.random() < 0.5:
        attributes["home"]["zip"] = random.choice(_LONGS)
    return attributes


def _doc(random: Random) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "owner": _uid("User", random.choice((*_USERS, *_USERS, _GHOST))), "title": random.choice(_WORDS),
        "size": random.choice(_LONGS), "open": random.random() < 0.5, "codes": random.sample(_LONGS, 2),
        "readers": [_uid("User", user) for user in random.sample(_USERS, 2)],
        "points": [{"x": random.choice(_LONGS), "y": random.choice(_LONGS)}, {"x": 1, "y": 2}],
    }  # fmt: skip
    if random.random() < 0.5:
        attributes["kind"] = random.choice(_WORDS)
    return attributes


def _entities() -> list[dict[str, Any]]:
    random = Random(1)  # noqa: S311 - the same each time
    made: list[dict[str, Any]] = [
        {"uid": {"type": "Action", "id": name}, "attrs": {}, "parents": [{"type": "Action", "id": "any"}]}
        for name in ("read", "write")
    ]
    for id_ in _TEAMS:
        parents = [{"type": "Team", "id": "t0"}] if id_ == "t2" else []
        made.append({"uid": {"type": "Team", "id": id_}, "attrs": {"level": int(id_[1])}, "parents": parents})
    for type_, ids, attributes in (("User", _USERS, _user), ("Doc", _DOCS, _doc)):
        for id_ in ids:
            parents = [{"type": "Team", "id": team} for team in random.sample(_TEAMS, random.randrange(3))]
            tags: dict[str, Any] = {"k": random.choice(_LONGS)} if type_ == "User" else {random.choice(_WORDS): "ab"}
            if random.random() < 0.4:
                tags = {}
            attrs = attributes(random)
            made.append({"uid": {"type": type_, "id": id_}, "attrs": attrs, "parents": parents, "tags": tags})
    # what does not fit the schema: an attribute that should be there is not
    del made[-1]["attrs"]["size"], made[-5]["attrs"]["admin"]
    return made


ENTITIES = _entities()


def request(random: Random) -> Request:
    """A request: user, action and document by id, and the context."""
    context: dict[str, Any] = {
        "n": random.choice(_LONGS), "s": random.choice(_WORDS), "flag": random.random() < 0.5,
        "items": random.sample(_WORDS, random.randrange(4)), "numbers": random.sample(_LONGS, random.randrange(3)),
        "place": {"x": random.choice(_LONGS), "y": random.choice(_LONGS)},
        "teams": [_uid("Team", team) for team in random.sample(_TEAMS, random.randrange(3))],
    }  # fmt: skip
    for name, value in (
        ("m", random.choice(_LONGS)),
        ("who", _uid("User", random.choice((*_USERS, _GHOST)))),
        ("odd key", random.choice(_WORDS)),
    ):
        if random.random() < 0.5:
            context[name] = value
    if random.random() < 0.03:
        del context[random.choice(("n", "s", "flag", "place"))]
    return random.choice((*_USERS, _GHOST)), random.choice((*ACTIONS,)), random.choice((*_DOCS, _GHOST)), context


def asked(request: Request) -> dict[str, Any]:
    """The request as cedarpy takes it."""
    user, action, doc, context = request
    return {
        "principal": {"type": "User", "id": user},
        "action": {"type": "Action", "id": action},
        "resource": {"type": "Doc", "id": doc},
        "context": json.dumps(context),
    }


def store() -> dict[Uid, Entity]:
    """The same entities as values; those that only are named are there without attributes."""
    parents = {(one["uid"]["type"], one["uid"]["id"]): one["parents"] for one in ENTITIES}

    def ancestors(uid: Uid) -> frozenset[Uid]:
        above = [(parent["type"], parent["id"]) for parent in parents.get(uid, ())]
        return frozenset(above).union(*(ancestors(one) for one in above))

    found = {uid: Entity(uid, ancestors=ancestors(uid)) for uid in parents}
    for one in ENTITIES:
        entity = found[one["uid"]["type"], one["uid"]["id"]]
        entity.update({name: value_of(value, found) for name, value in one["attrs"].items()})
        entity.tags = {name: value_of(value, found) for name, value in one.get("tags", {}).items()}
    return found


def value_of(value: Any, found: dict[Uid, Entity]) -> Any:
    """A JSON value of Cedar as the compiled rules take it."""
    match value:
        case {"__entity": {"type": type_, "id": id_}}:
            return found.get((type_, id_), Entity((type_, id_)))
        case dict():
            return Record({name: value_of(one, found) for name, one in value.items()})
        case list():
            return frozenset(value_of(one, found) for one in value)
    return value
