"""From checked rules to one Python function an action, made of syntax trees, so that no text of a rule becomes code.

Rules without a condition on who or what by name stand in that function one after the other; those about one resource
or one principal (`==`) are reached through a table. A construct that is not known here is refused at load. What is
compiled has passed Cedar's strict validation, so every operand has the one type that its operator takes.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from policies.cedar import values
from policies.cedar.source import PolicyError, Rule
from policies.cedar.values import Entity, EvaluationError, Uid

__all__ = ["Answer", "Named", "Program", "Trace", "compiled"]

# What a rule said of a request: its number where it matched, ~number where its head is about the request (noted only
# where that depends on the request), number and kind of error where it could not be evaluated. In order of evaluation.
Trace = tuple[int | tuple[int, str], ...]
# action, and the resource where rules name it: what an answer depends on beside the trace
Named = tuple[Uid, Uid | None]
_Decide = Callable[[Entity, Entity, Entity, Mapping[str, Any], Mapping[Uid, Entity], list[Any]], None]


class Answer(NamedTuple):
    """What the rules say: those whose head is about the request, those that matched, and errors by rule; by number."""

    about: frozenset[int]
    matched: frozenset[int]
    errors: dict[int, str]


class _Entry(NamedTuple):
    """What is run for an action: the rules that are always about it, and those by resource and by principal."""

    decide: _Decide
    always: frozenset[int]
    by_resource: dict[Uid, tuple[_Decide, frozenset[int]]]
    by_principal: dict[Uid, _Decide]


class Program:
    """Compiled rules."""

    def __init__(self, entries: dict[Uid, _Entry]) -> None:
        self._entries = entries

    def trace(
        self,
        principal: Entity,
        action: Entity,
        resource: Entity,
        context: Mapping[str, Any],
        others: Mapping[Uid, Entity],
    ) -> Trace:
        """Ask all rules. `others` are entities beside principal and resource that a rule may name by a literal.

        Never raises for what a rule does; KeyError for an action that it was not compiled for.
        """
        decide, _, by_resource, by_principal = self._entries[action.uid]
        trace: list[Any] = []
        decide(principal, action, resource, context, others, trace)
        if by_resource and (entry := by_resource.get(resource.uid)):
            entry[0](principal, action, resource, context, others, trace)
        if by_principal and (also := by_principal.get(principal.uid)):
            also(principal, action, resource, context, others, trace)
        return tuple(trace)

    def named(self, action: Uid, resource: Uid) -> Named:
        return action, resource if resource in self._entries[action].by_resource else None

    def answer(self, named: Named, trace: Trace) -> Answer:
        """What a trace says. It depends on the arguments alone, so it may be remembered."""
        action, resource = named
        entry = self._entries[action]
        about = entry.always if resource is None else entry.always | entry.by_resource[resource][1]
        numbers = [note for note in trace if isinstance(note, int)]
        return Answer(
            about=about | {~number for number in numbers if number < 0},
            matched=frozenset(number for number in numbers if number >= 0),
            errors=dict(note for note in trace if not isinstance(note, int)),
        )


def compiled(rules: Sequence[Rule], actions: Iterable[Entity]) -> Program:
    """The program of these rules for requests with these actions.

    Raises PolicyError: policy_unsupported with the construct and the rule, policy_too_large.
    """
    try:
        module = _Module(rules)
        plans = {action.uid: module.plan(rules, action) for action in actions}
        functions = module.run()
    except (RecursionError, MemoryError):
        raise PolicyError("policy_too_large", "the rules are too deep to be compiled") from None
    return Program({uid: plan.entry(functions) for uid, plan in plans.items()})


class _Plan(NamedTuple):
    """The names of the functions of one action, with the rules that are always about what they are run for."""

    always: tuple[str, frozenset[int]]
    by_resource: dict[Uid, tuple[str, frozenset[int]]]
    by_principal: dict[Uid, str]

    def entry(self, functions: Mapping[str, Any]) -> _Entry:
        return _Entry(
            functions[self.always[0]],
            self.always[1],
            {uid: (functions[name], about) for uid, (name, about) in self.by_resource.items()},
            {uid: functions[name] for uid, name in self.by_principal.items()},
        )


class _Module:
    """The functions of a policy, the constants that they refer to, and the names of what they read only once."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._functions: dict[tuple[int, ...], ast.FunctionDef] = {}
        self._constants: dict[str, object] = {}
        self._locals: dict[tuple[str, str], str] = {}
        self._rules = [_compiled_rule(number, rule, self) for number, rule in enumerate(rules)]

    def plan(self, rules: Sequence[Rule], action: Entity) -> _Plan:
        always: list[int] = []
        by_resource: defaultdict[Uid, list[int]] = defaultdict(list)
        by_principal: defaultdict[Uid, list[int]] = defaultdict(list)
        for number, rule in enumerate(rules):
            if _about_action(rule, action):
                resource, principal = _equal(rule, "resource"), _equal(rule, "principal")
                if resource is not None:
                    by_resource[resource].append(number)
                elif principal is not None:
                    by_principal[principal].append(number)
                else:
                    always.append(number)
        return _Plan(
            self._function(always),
            {uid: self._function(numbers) for uid, numbers in by_resource.items()},
            {uid: self._function(numbers)[0] for uid, numbers in by_principal.items()},
        )

    def constant(self, value: object) -> ast.expr:
        name = f"k{len(self._constants)}"
        self._constants[name] = value
        return _name(name)

    def local(self, variable: str, attribute: str) -> str:
        """The name of the local variable in which every function keeps this attribute."""
        return self._locals.setdefault((variable, attribute), f"v{len(self._locals)}")

    def run(self) -> Mapping[str, Any]:
        tree = ast.fix_missing_locations(ast.Module(body=list(self._functions.values()), type_ignores=[]))
        namespace: dict[str, Any] = {"__builtins__": {}, **_GIVEN, **self._constants}
        exec(compile(tree, "<policy>", "exec"), namespace)  # noqa: S102 - a tree built here; no text of a rule is parsed
        return namespace

    def _function(self, numbers: Sequence[int]) -> tuple[str, frozenset[int]]:
        """The name of the function that asks these rules, and those of them that are about whatever it is asked for."""
        rules = [self._rules[number] for number in numbers]
        made = self._functions.get(tuple(numbers))
        if made is None:
            made = self._functions[tuple(numbers)] = _definition(f"decide{len(self._functions)}", rules)
        return made.name, frozenset(rule.number for rule in rules if not rule.head)


class _Rule(NamedTuple):
    """A rule as expressions, with the attributes that they read: (variable, attribute) -> name of a local."""

    number: int
    head: list[ast.expr]
    conditions: list[ast.expr]
    read: dict[tuple[str, str], str]

    def statement(self) -> ast.stmt:
        """if head: note(~number); if conditions: note(number) - where that fails, the error is noted."""
        inner: list[ast.stmt] = [_note(ast.Constant(self.number))]
        if self.conditions:
            inner = [ast.If(_all(self.conditions), inner, [])]
        if self.head:
            inner = [ast.If(_all(self.head), [_note(ast.Constant(~self.number)), *inner], [])]
        return ast.Try(inner, [self._handler(error, kind) for error, kind in _ERRORS], [], [])

    def _handler(self, error: str, kind: str | None) -> ast.ExceptHandler:
        told = ast.Constant(kind) if kind else _call("str", _name("error"))
        note = _note(ast.Tuple([ast.Constant(self.number), told], ast.Load()))
        return ast.ExceptHandler(_name(error), None if kind else "error", [note])


_ERRORS = (("EvaluationError", None), ("KeyError", "missing attribute"), ("Exception", "type error"))
_ARGUMENTS = ("principal", "action", "resource", "context", "others", "trace")
# all that a compiled function can reach, beside its constants
_GIVEN: Mapping[str, object] = {
    **{f.__name__: f for f in (values.add, values.subtract, values.multiply, values.negate)},
    **{f.__name__: f for f in (values.like, values.within, values.known, values.record)},
    **{f.__name__: f for f in (KeyError, Exception, EvaluationError, frozenset, str)},
    "ABSENT": values.ABSENT,
}


def _definition(name: str, rules: Sequence[_Rule]) -> ast.FunctionDef:
    """The attributes that the rules read, each looked up once, then the rules."""
    read = {key: local for rule in rules for key, local in rule.read.items()}
    body: list[ast.stmt] = [
        _assign(local, _method(_name(variable), "get", ast.Constant(attribute), _name("ABSENT")))
        for (variable, attribute), local in read.items()
    ]
    body.append(_assign("note", ast.Attribute(_name("trace"), "append", ast.Load())))
    body += [rule.statement() for rule in rules]
    # parsed, since what a definition consists of differs between versions of Python
    made = cast("ast.FunctionDef", ast.parse(f"def {name}({', '.join(_ARGUMENTS)}): pass").body[0])
    made.body = body
    return made


def _compiled_rule(number: int, rule: Rule, module: _Module) -> _Rule:
    expressions = _Expressions(rule, module)
    head = [part for variable in ("principal", "resource") for part in expressions.scope(variable)]
    conditions = []
    for condition in rule.body["conditions"]:
        match condition:
            case {"kind": "when", "body": body}:
                conditions.append(expressions.of(body))
            case {"kind": "unless", "body": body}:
                conditions.append(_not(expressions.of(body)))
            case _:
                raise expressions.unsupported("this kind of condition")
    return _Rule(number, head, conditions, expressions.read)


class _Expressions:
    """The expressions of one rule."""

    def __init__(self, rule: Rule, module: _Module) -> None:
        self._rule = rule
        self._module = module
        self.read: dict[tuple[str, str], str] = {}

    def unsupported(self, construct: str) -> PolicyError:
        return PolicyError("policy_unsupported", f"rule {self._rule.id}: {construct} is not supported")

    def scope(self, variable: str) -> list[ast.expr]:
        """What the head asks of principal or resource; a rule about one resource is asked for no other."""
        match self._rule.body[variable]:
            case {"op": "All"}:
                return []
            case {"op": "==", "entity": _} if variable == "resource":
                return []
            case {"op": "==", "entity": entity}:
                return [_compare(_attribute(_name(variable), "uid"), ast.Eq(), self._module.constant(_uid(entity)))]
            case {"op": "in", "entity": entity, **rest} if not rest:
                return [self._descends(_name(variable), _uid(entity))]
            case {"op": "is", "entity_type": str(type_), **rest} if not rest:
                return [self._is(_name(variable), type_)]
            case {"op": "is", "entity_type": str(type_), "in": {"entity": entity}, **rest} if not rest:
                return [self._is(_name(variable), type_), self._descends(_name(variable), _uid(entity))]
        raise self.unsupported(f"the head's condition on its {variable}")

    def of(self, node: object) -> ast.expr:
        """An expression of Cedar's JSON. Raises PolicyError: policy_unsupported."""
        if not isinstance(node, dict) or len(node) != 1:
            raise self.unsupported("an expression that is none")
        ((operator, operands),) = node.items()
        match operator, operands:
            case "Value", _:
                return self._value(operands)
            case "Var", "principal" | "action" | "resource" | "context":
                return _name(operands)
            case "&&" | "||", {"left": _, "right": _, **rest} if not rest:
                join = ast.And() if operator == "&&" else ast.Or()
                # flat, as a chain of a hundred would be too deep for Python's own compiler
                return ast.BoolOp(join, [self.of(part) for part in _chain(operator, node)])
            case "!", {"arg": argument, **rest} if not rest:
                return _not(self.of(argument))
            case "neg", {"arg": argument, **rest} if not rest:
                return _call("negate", self.of(argument))
            case "isEmpty", {"arg": argument, **rest} if not rest:
                return _not(self.of(argument))
            case "if-then-else", {"if": test, "then": then, "else": other, **rest} if not rest:
                return ast.IfExp(self.of(test), self.of(then), self.of(other))
            case ".", {"left": left, "attr": str(attribute), **rest} if not rest:
                return self._get(left, attribute)
            case "has", {"left": left, "attr": str(attribute), **rest} if not rest:
                return self._has(left, attribute)
            case "like", {"left": left, "pattern": list(pattern), **rest} if not rest:
                return _call("like", self.of(left), self._module.constant(self._pieces(pattern)))
            case "is", {"left": left, "entity_type": str(type_), **rest} if rest.keys() <= {"in"}:
                asked = [self._is(self.of(left), type_)]
                return _all(asked + ([self._in(left, rest["in"])] if "in" in rest else []))
            case "in", {"left": left, "right": right, **rest} if not rest:
                return self._in(left, right)
            case "Set", list(members):
                return self._set([self.of(member) for member in members])
            case "Record", dict(attributes):
                names = self._module.constant(tuple(attributes))
                return _call("record", names, *map(self.of, attributes.values()))
            case _, {"left": left, "right": right, **rest} if not rest and operator in _BINARY:
                return _BINARY[operator](self._entity(left) if operator in _TAGS else self.of(left), self.of(right))
        raise self.unsupported(f"the operator or function {str(operator)[:80]}")

    def _value(self, value: object) -> ast.expr:
        match value:
            case bool() | int() | str():
                return ast.Constant(value)
            case {"__entity": entity, **rest} if not rest:
                return self._module.constant(Entity(_uid(entity)))
        raise self.unsupported("a literal of this type")

    def _get(self, left: object, attribute: str) -> ast.expr:
        if (local := self._local(left, attribute)) is not None:
            return _name(local)
        return ast.Subscript(self._entity(left), ast.Constant(attribute), ast.Load())

    def _has(self, left: object, attribute: str) -> ast.expr:
        if (local := self._local(left, attribute)) is not None:
            return _compare(_name(local), ast.IsNot(), _name("ABSENT"))
        return _compare(ast.Constant(attribute), ast.In(), self._entity(left))

    def _local(self, left: object, attribute: str) -> str | None:
        match left:
            case {"Var": "principal" | "action" | "resource" | "context" as variable}:
                return self.read.setdefault((variable, attribute), self._module.local(variable, attribute))
        return None

    def _entity(self, node: object) -> ast.expr:
        """An expression whose attributes, tags or ancestors are asked for: a literal becomes the entity it names."""
        match node:
            case {"Value": {"__entity": entity}}:
                literal = self._module.constant(Entity(_uid(entity)))
                return _call("known", literal, _name("principal"), _name("resource"), _name("others"))
            case {"if-then-else": {"if": test, "then": then, "else": other}}:
                return ast.IfExp(self.of(test), self._entity(then), self._entity(other))
        return self.of(node)

    def _is(self, entity: ast.expr, type_: str) -> ast.expr:
        return _compare(_attribute(entity, "type"), ast.Eq(), ast.Constant(type_))

    def _in(self, left: object, right: object) -> ast.expr:
        match right:
            case {"Value": {"__entity": entity}}:
                return self._descends(self._entity(left), _uid(entity))
        return _call("within", self._entity(left), self.of(right))

    def _descends(self, entity: ast.expr, uid: Uid) -> ast.expr:
        return _compare(self._module.constant(uid), ast.In(), _attribute(entity, "family"))

    def _set(self, members: list[ast.expr]) -> ast.expr:
        constants = [member.value for member in members if isinstance(member, ast.Constant)]
        if len(constants) == len(members):
            return self._module.constant(frozenset(constants))
        return _call("frozenset", ast.Tuple(members, ast.Load()))

    def _pieces(self, pattern: list[object]) -> tuple[str, ...]:
        pieces = [""]
        for element in pattern:
            match element:
                case "Wildcard":
                    pieces.append("")
                case {"Literal": str(literal), **rest} if not rest:
                    pieces[-1] += literal
                case _:
                    raise self.unsupported("this pattern of like")
        return tuple(pieces)


def _all(parts: list[ast.expr]) -> ast.expr:
    return parts[0] if len(parts) == 1 else ast.BoolOp(ast.And(), parts)


def _not(part: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.Not(), part)


def _compare(left: ast.expr, operator: ast.cmpop, right: ast.expr) -> ast.expr:
    return ast.Compare(left, [operator], [right])


def _call(function: str, *arguments: ast.expr) -> ast.expr:
    return ast.Call(_name(function), list(arguments), [])


def _method(value: ast.expr, method: str, *arguments: ast.expr) -> ast.expr:
    return ast.Call(_attribute(value, method), list(arguments), [])


def _attribute(value: ast.expr, attribute: str) -> ast.expr:
    return ast.Attribute(value, attribute, ast.Load())


def _name(name: str) -> ast.expr:
    return ast.Name(name, ast.Load())


def _assign(name: str, value: ast.expr) -> ast.stmt:
    return ast.Assign([ast.Name(name, ast.Store())], value)


def _note(value: ast.expr) -> ast.stmt:
    return ast.Expr(_call("note", value))


_BINARY: Mapping[str, Callable[[ast.expr, ast.expr], ast.expr]] = {
    "==": lambda left, right: _compare(left, ast.Eq(), right),
    "!=": lambda left, right: _compare(left, ast.NotEq(), right),
    "<": lambda left, right: _compare(left, ast.Lt(), right),
    "<=": lambda left, right: _compare(left, ast.LtE(), right),
    ">": lambda left, right: _compare(left, ast.Gt(), right),
    ">=": lambda left, right: _compare(left, ast.GtE(), right),
    "+": lambda left, right: _call("add", left, right),
    "-": lambda left, right: _call("subtract", left, right),
    "*": lambda left, right: _call("multiply", left, right),
    "contains": lambda left, right: _compare(right, ast.In(), left),
    "containsAll": lambda left, right: _compare(left, ast.GtE(), right),
    "containsAny": lambda left, right: _not(_method(left, "isdisjoint", right)),
    "hasTag": lambda left, right: _compare(right, ast.In(), _attribute(left, "tags")),
    "getTag": lambda left, right: ast.Subscript(_attribute(left, "tags"), right, ast.Load()),
}
_TAGS = ("hasTag", "getTag")


def _chain(operator: str, node: dict[str, Any]) -> list[dict[str, Any]]:
    """The operands of a chain of one operator that groups to the left, or to the right, in order."""
    parts: list[dict[str, Any]] = []
    waiting = [node]
    while waiting:
        part = waiting.pop()
        match part:
            case dict() if part.keys() == {operator} and part[operator].keys() == {"left", "right"}:
                waiting += [part[operator]["right"], part[operator]["left"]]
            case _:
                parts.append(part)
    return parts


def _uid(entity: Mapping[str, str]) -> Uid:
    return entity["type"], entity["id"]


def _equal(rule: Rule, variable: str) -> Uid | None:
    """The one principal or resource that a rule is about by name."""
    scope = rule.body[variable]
    return _uid(scope["entity"]) if scope["op"] == "==" else None


def _about_action(rule: Rule, action: Entity) -> bool:
    match rule.body["action"]:
        case {"op": "All"}:
            return True
        case {"op": "==", "entity": entity}:
            return _uid(entity) == action.uid
        case {"op": "in", "entity": entity}:
            return _uid(entity) in action.family
        case {"op": "in", "entities": list(entities)}:
            return any(_uid(entity) in action.family for entity in entities)
    raise PolicyError("policy_unsupported", f"rule {rule.id}: the head's condition on its action is not supported")
