"""The expressions of a rule as syntax trees of Python. A construct that is not known here is refused.

What is compiled has passed Cedar's strict validation, so every operand has the one type that its operator takes.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

from policies.cedar.source import PolicyError, Rule
from policies.cedar.values import Entity, Uid

__all__ = ["Constants", "Expressions", "all_of", "call", "method_of", "name_of", "not_", "uid_of"]


class Constants:
    """What the functions of a policy refer to: values, and a local variable for each attribute that they read."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}
        self._locals: dict[tuple[str, str], str] = {}

    def constant(self, value: object) -> ast.expr:
        name = f"k{len(self.values)}"
        self.values[name] = value
        return name_of(name)

    def local(self, variable: str, attribute: str) -> str:
        """The name of the local variable in which every function keeps this attribute."""
        return self._locals.setdefault((variable, attribute), f"v{len(self._locals)}")


class Expressions:
    """The expressions of one rule."""

    def __init__(self, rule: Rule, constants: Constants) -> None:
        self._rule = rule
        self._constants = constants
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
                return [
                    _compare(attribute_of(name_of(variable), "uid"), ast.Eq(), self._constants.constant(uid_of(entity)))
                ]
            case {"op": "in", "entity": entity, **rest} if not rest:
                return [self._descends(name_of(variable), uid_of(entity))]
            case {"op": "is", "entity_type": str(type_), **rest} if not rest:
                return [self._is(name_of(variable), type_)]
            case {"op": "is", "entity_type": str(type_), "in": {"entity": entity}, **rest} if not rest:
                return [self._is(name_of(variable), type_), self._descends(name_of(variable), uid_of(entity))]
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
                return name_of(operands)
            case "&&" | "||", {"left": _, "right": _, **rest} if not rest:
                join = ast.And() if operator == "&&" else ast.Or()
                # flat, as a chain of a hundred would be too deep for Python's own compiler
                return ast.BoolOp(join, [self.of(part) for part in _chain(operator, node)])
            case "!", {"arg": argument, **rest} if not rest:
                return not_(self.of(argument))
            case "neg", {"arg": argument, **rest} if not rest:
                return call("negate", self.of(argument))
            case "isEmpty", {"arg": argument, **rest} if not rest:
                return not_(self.of(argument))
            case "if-then-else", {"if": test, "then": then, "else": other, **rest} if not rest:
                return ast.IfExp(self.of(test), self.of(then), self.of(other))
            case ".", {"left": left, "attr": str(attribute), **rest} if not rest:
                return self._get(left, attribute)
            case "has", {"left": left, "attr": str(attribute), **rest} if not rest:
                return self._has(left, attribute)
            case "like", {"left": left, "pattern": list(pattern), **rest} if not rest:
                return call("like", self.of(left), self._constants.constant(self._pieces(pattern)))
            case "is", {"left": left, "entity_type": str(type_), **rest} if rest.keys() <= {"in"}:
                asked = [self._is(self.of(left), type_)]
                return all_of(asked + ([self._in(left, rest["in"])] if "in" in rest else []))
            case "in", {"left": left, "right": right, **rest} if not rest:
                return self._in(left, right)
            case "Set", list(members):
                return self._set([self.of(member) for member in members])
            case "Record", dict(attributes):
                names = self._constants.constant(tuple(attributes))
                return call("record", names, *map(self.of, attributes.values()))
            case _, {"left": left, "right": right, **rest} if not rest and operator in _BINARY:
                return _BINARY[operator](self._entity(left) if operator in _TAGS else self.of(left), self.of(right))
        raise self.unsupported(f"the operator or function {str(operator)[:80]}")

    def _value(self, value: object) -> ast.expr:
        match value:
            case bool() | int() | str():
                return ast.Constant(value)
            case {"__entity": entity, **rest} if not rest:
                return self._constants.constant(Entity(uid_of(entity)))
        raise self.unsupported("a literal of this type")

    def _get(self, left: object, attribute: str) -> ast.expr:
        if (local := self._local(left, attribute)) is not None:
            return name_of(local)
        return ast.Subscript(self._entity(left), ast.Constant(attribute), ast.Load())

    def _has(self, left: object, attribute: str) -> ast.expr:
        if (local := self._local(left, attribute)) is not None:
            return _compare(name_of(local), ast.IsNot(), name_of("ABSENT"))
        return _compare(ast.Constant(attribute), ast.In(), self._entity(left))

    def _local(self, left: object, attribute: str) -> str | None:
        match left:
            case {"Var": "principal" | "action" | "resource" | "context" as variable}:
                return self.read.setdefault((variable, attribute), self._constants.local(variable, attribute))
        return None

    def _entity(self, node: object) -> ast.expr:
        """An expression whose attributes, tags or ancestors are asked for: a literal becomes the entity it names."""
        match node:
            case {"Value": {"__entity": entity}}:
                literal = self._constants.constant(Entity(uid_of(entity)))
                return call("known", literal, name_of("principal"), name_of("resource"), name_of("others"))
            case {"if-then-else": {"if": test, "then": then, "else": other}}:
                return ast.IfExp(self.of(test), self._entity(then), self._entity(other))
        return self.of(node)

    def _is(self, entity: ast.expr, type_: str) -> ast.expr:
        return _compare(attribute_of(entity, "type"), ast.Eq(), ast.Constant(type_))

    def _in(self, left: object, right: object) -> ast.expr:
        match right:
            case {"Value": {"__entity": entity}}:
                return self._descends(self._entity(left), uid_of(entity))
        return call("within", self._entity(left), self.of(right))

    def _descends(self, entity: ast.expr, uid: Uid) -> ast.expr:
        return _compare(self._constants.constant(uid), ast.In(), attribute_of(entity, "family"))

    def _set(self, members: list[ast.expr]) -> ast.expr:
        constants = [member.value for member in members if isinstance(member, ast.Constant)]
        if len(constants) == len(members):
            return self._constants.constant(frozenset(constants))
        return call("frozenset", ast.Tuple(members, ast.Load()))

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


def all_of(parts: list[ast.expr]) -> ast.expr:
    return parts[0] if len(parts) == 1 else ast.BoolOp(ast.And(), parts)


def not_(part: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.Not(), part)


def _compare(left: ast.expr, operator: ast.cmpop, right: ast.expr) -> ast.expr:
    return ast.Compare(left, [operator], [right])


def call(function: str, *arguments: ast.expr) -> ast.expr:
    return ast.Call(name_of(function), list(arguments), [])


def method_of(value: ast.expr, method: str, *arguments: ast.expr) -> ast.expr:
    return ast.Call(attribute_of(value, method), list(arguments), [])


def attribute_of(value: ast.expr, attribute: str) -> ast.expr:
    return ast.Attribute(value, attribute, ast.Load())


def name_of(name: str) -> ast.expr:
    return ast.Name(name, ast.Load())


_BINARY: Mapping[str, Callable[[ast.expr, ast.expr], ast.expr]] = {
    "==": lambda left, right: _compare(left, ast.Eq(), right),
    "!=": lambda left, right: _compare(left, ast.NotEq(), right),
    "<": lambda left, right: _compare(left, ast.Lt(), right),
    "<=": lambda left, right: _compare(left, ast.LtE(), right),
    ">": lambda left, right: _compare(left, ast.Gt(), right),
    ">=": lambda left, right: _compare(left, ast.GtE(), right),
    "+": lambda left, right: call("add", left, right),
    "-": lambda left, right: call("subtract", left, right),
    "*": lambda left, right: call("multiply", left, right),
    "contains": lambda left, right: _compare(right, ast.In(), left),
    "containsAll": lambda left, right: _compare(left, ast.GtE(), right),
    "containsAny": lambda left, right: not_(method_of(left, "isdisjoint", right)),
    "hasTag": lambda left, right: _compare(right, ast.In(), attribute_of(left, "tags")),
    "getTag": lambda left, right: ast.Subscript(attribute_of(left, "tags"), right, ast.Load()),
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


def uid_of(entity: Mapping[str, str]) -> Uid:
    return entity["type"], entity["id"]
