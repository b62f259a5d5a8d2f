"""From checked rules to one Python function an action, made of syntax trees, so that no text of a rule becomes code.

Rules without a condition on who or what by name stand in that function one after the other; those about one resource
or one principal (`==`) are reached through a table. Neighbours that first ask whether the same attribute is there are
asked that once, so that rules about what most requests do not have cost next to nothing.
"""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple, cast

from policies.cedar import values
from policies.cedar.expressions import Constants, Expressions, all_of, call, method_of, name_of, not_, uid_of
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
        """Action and resource, the latter only where rules name it: requests alike in this have the same answers."""
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
    """The functions of a policy, and what they refer to."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._functions: dict[tuple[int, ...], ast.FunctionDef] = {}
        self._constants = Constants()
        self._rules = [_compiled_rule(number, rule, self._constants) for number, rule in enumerate(rules)]

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

    def run(self) -> Mapping[str, Any]:
        tree = ast.fix_missing_locations(ast.Module(body=list(self._functions.values()), type_ignores=[]))
        namespace: dict[str, Any] = {"__builtins__": {}, **_GIVEN, **self._constants.values}
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

    @property
    def guard(self) -> str | None:
        """The local whose attribute must be there, or else the rule says nothing: what its condition asks first."""
        if self.head or not self.conditions:
            return None
        first = self.conditions[0]
        match first.values[0] if isinstance(first, ast.BoolOp) and isinstance(first.op, ast.And) else first:
            case ast.Compare(left=ast.Name(id=local), ops=[ast.IsNot()], comparators=[ast.Name(id="ABSENT")]):
                return local
        return None

    def statement(self) -> ast.stmt:
        """if head: note(~number); if conditions: note(number) - where that fails, the error is noted."""
        inner: list[ast.stmt] = [_note(ast.Constant(self.number))]
        if self.conditions:
            inner = [ast.If(all_of(self.conditions), inner, [])]
        if self.head:
            inner = [ast.If(all_of(self.head), [_note(ast.Constant(~self.number)), *inner], [])]
        return ast.Try(inner, [self._handler(error, kind) for error, kind in _ERRORS], [], [])

    def _handler(self, error: str, kind: str | None) -> ast.ExceptHandler:
        told = ast.Constant(kind) if kind else call("str", name_of("error"))
        note = _note(ast.Tuple([ast.Constant(self.number), told], ast.Load()))
        return ast.ExceptHandler(name_of(error), None if kind else "error", [note])


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
    """The attributes that the rules read, each looked up once where it is first needed, then the rules."""
    groups = [(guard, list(some)) for guard, some in groupby(rules, lambda rule: rule.guard)]
    within = [{key: local for rule in some for key, local in rule.read.items()} for _, some in groups]
    users = Counter(local for read in within for local in read.values())
    body: list[ast.stmt] = [_assign("note", ast.Attribute(name_of("trace"), "append", ast.Load()))]
    seen: set[str] = set()
    for (guard, some), read in zip(groups, within, strict=True):
        # what no other group reads is looked up behind the guard
        late = {local for local in read.values() if guard not in (None, local) and users[local] == 1}
        body += _looked_up({key: local for key, local in read.items() if local not in late | seen})
        seen |= {*read.values()}
        statements = [rule.statement() for rule in some]
        if guard is not None:
            inner = [*_looked_up({key: local for key, local in read.items() if local in late}), *statements]
            statements = [ast.If(ast.Compare(name_of(guard), [ast.IsNot()], [name_of("ABSENT")]), inner, [])]
        body += statements
    # parsed, since what a definition consists of differs between versions of Python
    made = cast("ast.FunctionDef", ast.parse(f"def {name}({', '.join(_ARGUMENTS)}): pass").body[0])
    made.body = body
    return made


def _looked_up(read: Mapping[tuple[str, str], str]) -> list[ast.stmt]:
    return [
        _assign(local, method_of(name_of(variable), "get", ast.Constant(attribute), name_of("ABSENT")))
        for (variable, attribute), local in read.items()
    ]


def _compiled_rule(number: int, rule: Rule, constants: Constants) -> _Rule:
    expressions = Expressions(rule, constants)
    head = [part for variable in ("principal", "resource") for part in expressions.scope(variable)]
    conditions = []
    for condition in rule.body["conditions"]:
        match condition:
            case {"kind": "when", "body": body}:
                conditions.append(expressions.of(body))
            case {"kind": "unless", "body": body}:
                conditions.append(not_(expressions.of(body)))
            case _:
                raise expressions.unsupported("this kind of condition")
    return _Rule(number, head, conditions, expressions.read)


def _assign(name: str, value: ast.expr) -> ast.stmt:
    return ast.Assign([ast.Name(name, ast.Store())], value)


def _note(value: ast.expr) -> ast.stmt:
    return ast.Expr(call("note", value))


def _equal(rule: Rule, variable: str) -> Uid | None:
    """The one principal or resource that a rule is about by name."""
    scope = rule.body[variable]
    return uid_of(scope["entity"]) if scope["op"] == "==" else None


def _about_action(rule: Rule, action: Entity) -> bool:
    match rule.body["action"]:
        case {"op": "All"}:
            return True
        case {"op": "==", "entity": entity}:
            return uid_of(entity) == action.uid
        case {"op": "in", "entity": entity}:
            return uid_of(entity) in action.family
        case {"op": "in", "entities": list(entities)}:
            return any(uid_of(entity) in action.family for entity in entities)
    raise PolicyError("policy_unsupported", f"rule {rule.id}: the head's condition on its action is not supported")
