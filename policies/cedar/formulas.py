"""Cedar as formulas for an SMT solver (z3): a rule becomes what it matches, and whether it can be evaluated.

A request is a set of free variables, typed by the schema: one for each attribute, and one for each optional attribute
that says whether it is there. Sets hold strings alone, and no entity has a parent: so are the schemas of packs. The
fact `obligations` is not free: it is what the gate did to the payload, and what the engine grants.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

import z3
from msgspec import Struct

from policies.cedar.packs import Parameters
from policies.cedar.source import PolicyError, Rule
from policies.cedar.types import EntityType, RecordType, Schema, SetType, Type
from policies.facts import Carried, Overseen, Sanitising

__all__ = ["Answers", "Example", "Requests"]

_MOST = 2**63 - 1
_MOST_CHARACTER = 0x2FFFF  # of the strings of SMT-LIB 2.6
_TRUE = z3.BoolVal(True)


class Example(Struct, frozen=True, kw_only=True):
    """A request, as the facts that the rules read: `actor`, `action`, `model` and `context`."""

    action: str
    actor: dict[str, Any]
    model: dict[str, Any]
    context: dict[str, Any]


@dataclass(frozen=True)
class _Value:
    """A value and whether it could be had: `ok` is false where Cedar has an error. `of` is a z3 term, for a record its
    attributes, and for an entity its uid and attributes."""

    of: Any
    ok: z3.BoolRef = _TRUE


class _Attributes:
    """The attributes of a record or an entity: what is there, by name, made when it is first asked for."""

    def __init__(self, request: Requests, path: str, type_: RecordType) -> None:
        self._request = request
        self._path = path
        self.type_ = type_
        self.made: dict[str, tuple[z3.BoolRef, _Value]] = {}

    def get(self, name: str) -> tuple[z3.BoolRef, _Value]:
        """Whether it is there, and its value."""
        if name not in self.made:
            attribute = self.type_.attributes.get(name)
            if attribute is None:
                raise _unproved(f"the attribute {name}, which the schema does not have")
            there = _TRUE
            if attribute.optional:
                there = self._request.variable(f"{self._path} has {name}", z3.BoolSort())
            self.made[name] = there, self._request.free(f"{self._path}.{name}", attribute.type_)
        return self.made[name]


class _Given(_Attributes):
    """A record whose attributes are known."""

    def __init__(self, made: dict[str, tuple[z3.BoolRef, _Value]]) -> None:
        self.made = made


class Answers(NamedTuple):
    """When a policy allows; and when it would decide anew on a payload that was sanitised, by what is done to it."""

    allowed: z3.BoolRef
    sanitised: dict[str, z3.BoolRef]


class Requests:
    """The free variables of all requests under a schema."""

    def __init__(self, schema: Schema, parameters: Parameters | None) -> None:
        self._schema = schema
        self.variables: dict[str, z3.ExprRef] = {}
        self.bounds: list[z3.BoolRef] = []
        self._strings: set[str] = set()
        self.action = self.variable("action", z3.StringSort())
        self.sanitised = self.variable("sanitised", z3.StringSort())  # what was done to the payload, or nothing
        self.bounds.append(z3.Or([self.action == _text(name) for name in schema.actions]))
        self._actor = self.free("principal", EntityType("Actor"))
        self._model = self.free("resource", EntityType("Model"))
        self._context = _Attributes(self, "context", schema.context)
        if parameters is not None and "packs" in schema.context.attributes:
            self._context.made["packs"] = _TRUE, self._given({**parameters})

    def variable(self, name: str, sort: z3.SortRef) -> Any:
        if name not in self.variables:
            self.variables[name] = z3.Const(name, sort)
            if sort == z3.IntSort():
                self.bounds += [self.variables[name] >= 0, self.variables[name] <= _MOST]
        return self.variables[name]

    def free(self, path: str, type_: Type) -> _Value:
        """A value of a type of which nothing is known."""
        match self._schema.resolved(type_):
            case "Bool":
                return _Value(self.variable(path, z3.BoolSort()))
            case "Long":
                return _Value(self.variable(path, z3.IntSort()))
            case "String":
                return _Value(self.variable(path, z3.StringSort()))
            case SetType(of="String"):
                return _Value(self.variable(path, z3.SetSort(z3.StringSort())))
            case RecordType() as record:
                return _Value(_Attributes(self, path, record))
            case EntityType(name=name):
                uid = self.variable(f"{path} uid", z3.StringSort())
                return _Value((name, uid, _Attributes(self, path, self._schema.entity(name))))
        raise PolicyError("policy_unproved", f"{path} has a type of which nothing is proved yet")

    def answers(self, rules: Iterable[Rule]) -> Answers:
        """The answers of these rules. What `holds` is asked afterwards is about calls as they were decided at last."""
        rules = list(rules)
        self._grant([rule for rule in rules if rule.obligation in (*get_args(Carried), *get_args(Overseen))])
        permits: list[z3.BoolRef] = []
        forbids: list[tuple[str | None, z3.BoolRef]] = []
        fails: list[z3.BoolRef] = []
        for rule in rules:
            matches, failed = self._asked(rule)
            if rule.effect == "permit":
                permits.append(matches)
            else:
                forbids.append((rule.obligation, matches))
            fails.append(failed)
        passes = z3.And(z3.Or(permits), z3.Not(z3.Or(fails)))
        sanitised = {}
        for kind in get_args(Sanitising):
            asking = [matches for obligation, matches in forbids if obligation == kind]
            others = [matches for obligation, matches in forbids if obligation != kind]
            sanitised[kind] = z3.And(passes, self.sanitised == _text(""), z3.Or(asking), z3.Not(z3.Or(others)))
        return Answers(z3.And(passes, z3.Not(z3.Or([matches for _, matches in forbids]))), sanitised)

    def _grant(self, carried: Sequence[Rule]) -> None:
        """Set the fact `obligations`, as the engine does."""
        if "obligations" not in self._schema.context.attributes:
            return
        done = self.sanitised
        self.bounds.append(z3.Or([done == self._string(kind) for kind in ("", *get_args(Sanitising))]))
        self.bounds.append(z3.Implies(self.action != _text("infer"), done == _text("")))
        nothing = z3.EmptySet(z3.StringSort())
        met = z3.If(done == _text(""), nothing, z3.SetAdd(nothing, done))
        # each round of the engine adds one kind at least, or is the last one
        for _ in {rule.obligation for rule in carried}:
            self._context.made["obligations"] = _TRUE, _Value(met)
            for rule in carried:
                met = z3.If(self._asked(rule)[0], z3.SetAdd(met, self._string(rule.obligation or "")), met)
        self._context.made["obligations"] = _TRUE, _Value(met)

    def _asked(self, rule: Rule) -> tuple[z3.BoolRef, z3.BoolRef]:
        """That a rule matches, and that it cannot be evaluated."""
        about = z3.And([self._about(rule, name) for name in ("principal", "action", "resource")])
        holds, ok = _TRUE, _TRUE
        for one in rule.body["conditions"]:
            found = self.of(one["body"])
            ok = z3.And(ok, z3.Implies(holds, found.ok))
            holds = z3.And(holds, found.of if one["kind"] == "when" else z3.Not(found.of))
        return z3.And(about, ok, holds), z3.And(about, z3.Not(ok))

    def holds(self, node: dict[str, Any]) -> z3.BoolRef:
        """That a condition can be evaluated, and is true."""
        found = self.of(node)
        return z3.And(found.ok, found.of)

    def _about(self, rule: Rule, variable: str) -> z3.BoolRef:
        scope = rule.body[variable]
        type_, uid = ("Action", self.action) if variable == "action" else self._variable(variable).of[:2]
        match scope:
            case {"op": "All"}:
                return _TRUE
            # no entity of these schemas has a parent, so that `in` is `==`
            case {"op": "==" | "in", "entity": entity}:
                return z3.And(z3.BoolVal(entity["type"] == type_), uid == _text(entity["id"]))
            case {"op": "in", "entities": entities}:
                return z3.Or([uid == _text(entity["id"]) for entity in entities if entity["type"] == type_])
            case {"op": "is", "entity_type": asked, **rest} if not rest:
                return z3.BoolVal(asked == type_)
        raise PolicyError("policy_unproved", f"rule {rule.id}: nothing is proved yet about such a head")

    def _variable(self, name: str) -> _Value:
        match name:
            case "principal":
                return self._actor
            case "resource":
                return self._model
            case "action":
                return _Value(("Action", self.action, _Given({})))
        return _Value(self._context)

    def of(self, node: dict[str, Any]) -> _Value:
        """The formula of an expression in Cedar's JSON. Raises PolicyError: policy_unproved."""
        ((operator, operands),) = node.items()
        match operator:
            case "Value":
                return self._literal(operands)
            case "Var":
                return self._variable(operands)
            case "&&" | "||":
                left, right = self.of(operands["left"]), self.of(operands["right"])
                goes_on = left.of if operator == "&&" else z3.Not(left.of)
                join = z3.And if operator == "&&" else z3.Or
                return _Value(join(left.of, right.of), z3.And(left.ok, z3.Implies(goes_on, right.ok)))
            case "!":
                arg = self.of(operands["arg"])
                return _Value(z3.Not(arg.of), arg.ok)
            case "neg":
                arg = self.of(operands["arg"])
                return _long(-arg.of, arg.ok)
            case "isEmpty":
                arg = self.of(operands["arg"])
                return _Value(arg.of == z3.EmptySet(z3.StringSort()), arg.ok)
            case "if-then-else":
                test, then, other = (self.of(operands[name]) for name in ("if", "then", "else"))
                if not isinstance(then.of, z3.ExprRef):
                    raise _unproved(operator)
                return _Value(z3.If(test.of, then.of, other.of), z3.And(test.ok, z3.If(test.of, then.ok, other.ok)))
            case "." | "has":
                return self._attribute(operator, operands)
            case "like":
                left = self.of(operands["left"])
                return _Value(z3.InRe(left.of, _pattern(operands["pattern"])), left.ok)
            case "is":
                left = self.of(operands["left"])
                if "in" in operands:
                    raise _unproved("is ... in")
                return _Value(z3.BoolVal(left.of[0] == operands["entity_type"]), left.ok)
            case "Set":
                return self._set([self.of(one) for one in operands])
            case "Record":
                made = {name: self.of(one) for name, one in operands.items()}
                known: dict[str, tuple[z3.BoolRef, _Value]] = {name: (_TRUE, one) for name, one in made.items()}
                return _Value(_Given(known), z3.And([one.ok for one in made.values()]))
        if operands.keys() != {"left", "right"}:
            raise _unproved(operator)
        return _binary(operator, self.of(operands["left"]), self.of(operands["right"]))

    def _attribute(self, operator: str, operands: dict[str, Any]) -> _Value:
        left, name = self.of(operands["left"]), operands["attr"]
        attributes = left.of[2] if isinstance(left.of, tuple) else left.of
        if isinstance(attributes, _Given) and name not in attributes.made:
            raise _unproved(f"the attribute {name} of what a rule names itself")
        # a rule may ask whether there is what no schema foresees
        if operator == "has" and not isinstance(attributes, _Given) and name not in attributes.type_.attributes:
            return _Value(z3.BoolVal(False), left.ok)
        there, value = attributes.get(name)
        if operator == "has":
            return _Value(there, left.ok)
        return _Value(value.of, z3.And(left.ok, there, value.ok))

    def _literal(self, value: object) -> _Value:
        match value:
            case bool():
                return _Value(z3.BoolVal(value))
            case int():
                return _Value(z3.IntVal(value))
            case str():
                return _Value(self._string(value))
            case {"__entity": {"type": type_, "id": id_}}:
                return _Value((type_, self._string(id_), _Given({})))
        raise _unproved("a literal of this type")

    def _string(self, value: str) -> z3.SeqRef:
        self._strings.add(value)
        return _text(value)

    def _set(self, members: list[_Value]) -> _Value:
        found = z3.EmptySet(z3.StringSort())
        for member in members:
            if not isinstance(member.of, z3.SeqRef):
                raise _unproved("a set of anything but strings")
            found = z3.SetAdd(found, member.of)
        return _Value(found, z3.And([member.ok for member in members]))

    def _given(self, value: object) -> _Value:
        """A parameter of a pack, or a record of them."""
        if isinstance(value, list):
            return self._set([_Value(self._string(member)) for member in value])
        if isinstance(value, dict):
            return _Value(_Given({name: (_TRUE, self._given(one)) for name, one in value.items()}))
        return self._literal(value)

    def example(self, model: z3.ModelRef) -> Example:
        """What the solver found, as facts: those that some rule or claim reads."""
        chosen = {name: model.eval(one, model_completion=True) for name, one in self.variables.items()}
        strings = self._strings | {_told(one) for one in chosen.values() if isinstance(one, z3.SeqRef)}

        def value(term: z3.ExprRef) -> Any:
            match term:
                case z3.BoolRef():
                    return z3.is_true(term)
                case z3.IntNumRef():
                    return term.as_long()
                case z3.SeqRef():
                    return _told(term)
            candidates = sorted(strings | {_told(one) for one in _literals(term)})
            members = [one for one in candidates if z3.is_true(model.eval(z3.IsMember(_text(one), term)))]
            # of a set of nearly all strings, one that nobody named will do
            return members or (["-"] if z3.is_true(model.eval(z3.IsMember(_text("-"), term))) else [])

        def facts(attributes: _Attributes) -> dict[str, Any]:
            made = {name: one for name, (there, one) in attributes.made.items() if z3.is_true(model.eval(there, True))}
            return {name: told(one) for name, one in made.items()}

        def told(one: _Value) -> Any:
            return facts(one.of) if isinstance(one.of, _Attributes) else value(model.eval(one.of, True))

        return Example(
            action=value(chosen["action"]),
            actor={"id": value(chosen["principal uid"]), **facts(self._actor.of[2])},
            model={"id": value(chosen["resource uid"]), **facts(self._model.of[2])},
            context=facts(self._context),
        )


def _binary(operator: str, left: _Value, right: _Value) -> _Value:
    ok = z3.And(left.ok, right.ok)
    match operator:
        case "==":
            return _Value(_same(left, right), ok)
        case "!=":
            return _Value(z3.Not(_same(left, right)), ok)
        case "in" if isinstance(left.of, tuple) and isinstance(right.of, tuple):
            return _Value(_same(left, right), ok)
        case "<" | "<=" | ">" | ">=":
            compare = {"<": left.of < right.of, "<=": left.of <= right.of, ">": left.of > right.of}
            return _Value(compare.get(operator, left.of >= right.of), ok)
        case "+" | "-" | "*":
            made = {"+": left.of + right.of, "-": left.of - right.of, "*": left.of * right.of}[operator]
            return _long(made, ok)
        case "contains":
            return _Value(z3.IsMember(right.of, left.of), ok)
        case "containsAll":
            return _Value(z3.IsSubset(right.of, left.of), ok)
        case "containsAny":
            return _Value(z3.SetIntersect(left.of, right.of) != z3.EmptySet(z3.StringSort()), ok)
    raise _unproved(operator)


def _same(left: _Value, right: _Value) -> z3.BoolRef:
    if isinstance(left.of, tuple) and isinstance(right.of, tuple):
        return z3.And(z3.BoolVal(left.of[0] == right.of[0]), left.of[1] == right.of[1])
    if isinstance(left.of, z3.ExprRef) and isinstance(right.of, z3.ExprRef):
        return left.of == right.of
    raise _unproved("comparing records as a whole")


def _long(made: z3.ArithRef, ok: z3.BoolRef) -> _Value:
    return _Value(made, z3.And(ok, made >= -_MOST - 1, made <= _MOST))


def _pattern(pattern: Sequence[Any]) -> z3.ReRef:
    anything = z3.Star(z3.AllChar(z3.ReSort(z3.StringSort())))
    parts = [anything if one == "Wildcard" else z3.Re(_text(one["Literal"])) for one in pattern]
    return z3.Concat(z3.Re(""), z3.Re(""), *parts)


def _literals(term: z3.ExprRef) -> Iterator[z3.SeqRef]:
    """The strings that stand in a value of the solver's."""
    if isinstance(term, z3.SeqRef) and term.is_string_value():
        yield term
    for part in term.children():
        yield from _literals(part)


def _unproved(construct: str) -> PolicyError:
    return PolicyError("policy_unproved", f"nothing is proved yet about {construct}")


def _text(value: str) -> z3.SeqRef:
    """A string as it stands; z3 would read the escapes of SMT-LIB in it, and take two rules' literals for one."""
    if any(ord(character) > _MOST_CHARACTER for character in value):
        raise _unproved("a character beyond U+2FFFF")
    return z3.StringVal(value.replace("\\", r"\u{5c}"))


def _told(value: z3.SeqRef) -> str:
    return re.sub(r"\\u\{([0-9a-f]+)\}", lambda match: chr(int(match[1], 16)), value.as_string())
