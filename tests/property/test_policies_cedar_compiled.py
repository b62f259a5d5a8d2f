"""The compiled rules say what cedarpy says, on random policies; and a compiler with a fault in it does not."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import Random
from types import FunctionType, ModuleType
from typing import Any, ClassVar

import pytest

from benchmarks.cedar import generator
from benchmarks.cedar.differential import Case, Compiler, case, cases, compared, said_by
from policies.cedar import compiler, expressions, values

pytestmark = pytest.mark.slow

# what Cedar's JSON has of expressions, apart from the functions of extension types, which are refused
OPERATORS = {
    *("Value", "Var", "!", "neg", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "+", "-", "*", "in", "contains"),
    *("containsAll", "containsAny", "isEmpty", "hasTag", "getTag", ".", "has", "like", "is", "if-then-else"),
    *("Set", "Record"),
}


@pytest.mark.parametrize("seed", range(4))
def test_a_hundred_thousand_pairs_agree(seed: int) -> None:
    counts = compared(seed, policies=250, requests=100)
    assert counts["pairs"] == 25_000
    assert min(counts["allow"], counts["deny"]) > 0.3 * counts["pairs"]
    assert counts["with errors"] > 0.05 * counts["pairs"]


def test_every_operator_is_drawn() -> None:
    drawn = {name for one in _sample() for rule in one.rules for name in _operators(rule.body["conditions"])}
    assert drawn == OPERATORS


def _operators(node: Any) -> Iterator[str]:
    match node:
        case {"body": body}:
            yield from _operators(body)
        case {"__entity": _}:
            return
        case {"Record": attributes}:
            yield "Record"
            for attribute in attributes.values():
                yield from _operators(attribute)
        case dict():
            for name, operands in node.items():
                yield from () if name in _PARTS else (name,)
                yield from _operators(operands)
        case list():
            for operand in node:
                yield from _operators(operand)


_PARTS = ("left", "right", "arg", "if", "then", "else", "attr", "pattern", "entity_type", "Literal")


class _Mutation(ast.NodeTransformer):
    """Makes the change with this number and no other, and says what it was."""

    SWAPPED: ClassVar = {
        "Eq": "NotEq", "NotEq": "Eq", "Lt": "LtE", "LtE": "Lt", "Gt": "GtE", "GtE": "Gt", "In": "NotIn", "NotIn": "In",
        "Is": "IsNot", "IsNot": "Is", "And": "Or", "Or": "And", "Add": "Sub", "Sub": "Add", "Mult": "Add",
    }  # fmt: skip
    RENAMED: ClassVar = {
        "add": "subtract", "subtract": "multiply", "multiply": "add", "negate": "str", "like": "within",
        "left": "right", "right": "left", "startswith": "endswith", "endswith": "startswith",
        "when": "unless", "unless": "when", "resource": "principal", "principal": "resource",
    }  # fmt: skip

    def __init__(self, number: int) -> None:
        self.left = number
        self.done: str | None = None

    def _now(self, node: ast.AST, what: str) -> bool:
        self.left -= 1
        if self.left == -1:
            self.done = f"line {getattr(node, 'lineno', '?')}: {what}"
        return self.left == -1

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        for place, operator in enumerate(node.ops):
            name = type(operator).__name__
            if self._now(node, f"{name} swapped"):
                node.ops[place] = getattr(ast, self.SWAPPED[name])()
        return self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        name = type(node.op).__name__
        if self._now(node, f"{name} swapped"):
            node.op = getattr(ast, self.SWAPPED[name])()
        return self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        name = type(node.op).__name__
        if name in self.SWAPPED and self._now(node, f"{name} swapped"):
            node.op = getattr(ast, self.SWAPPED[name])()
        return self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        if isinstance(node.op, ast.Not) and self._now(node, "not dropped"):
            return self.generic_visit(node.operand)
        return self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        # what the compiler emits: ast.Eq(), ast.And() ...
        if isinstance(node.value, ast.Name) and node.value.id == "ast" and node.attr in self.SWAPPED:
            if self._now(node, f"emits {node.attr} swapped"):
                node.attr = self.SWAPPED[node.attr]
        elif node.attr in self.RENAMED and self._now(node, f".{node.attr} renamed"):
            node.attr = self.RENAMED[node.attr]
        return self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, str) and node.value in self.RENAMED and self._now(node, f"{node.value!r} renamed"):
            return ast.Constant(self.RENAMED[node.value])
        if type(node.value) is int and self._now(node, f"{node.value} raised"):
            return ast.Constant(node.value + 1)
        return node

    def visit_If(self, node: ast.If) -> ast.AST:
        if self._now(node, "if never"):
            node.test = ast.Constant(False)
            return node
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name in ("not_", "_entity") and self._now(node, f"{name} dropped"):
            return node.args[0] if name == "not_" else ast.parse("self.of(node)", mode="eval").body
        return self.generic_visit(node)


# Rules on which random requests rarely decide, each with a context that does.
_RARE: dict[str, dict[str, Any]] = {
    "context has m || context.flag": {},
    # what another rule reads, too, is looked up before the guard
    'context has m && context.s == "a" }; @id("r.also") @reason("Another rule.") permit (principal, action, resource) '
    'when { context.s == "a"': {},
    'context.s like "aba*aba"': {"s": "aba"},
    'context.s like "ab*ab"': {"s": "abab"},
    'context.s like "ab"': {"s": "ab"},
    'context.s like "a*b*b"': {"s": "ab"},
    'context.s like "*ab" || context.s like "ab"': {"s": "a"},
    'context.s like "b*a"': {"s": "ba"},
    "context.place != {x: 1, y: 2}": {"place": {"x": 1, "y": 2}},
    "{a: context.place} == {a: {x: 1, y: 2}}": {},
    "{a: context.n}.a == 3 || {a: context.place, b: 3}.b == 3": {"n": 1},
    "resource.points.contains({x: 1, y: 2})": {},
}
# Changes that change no answer: (line as it stands, change).
_SAME = {
    ('resource, principal = _equal(rule, "resource"), _equal(rule, "principal")', "'principal' renamed"),
    ("elif principal is not None:", "if never"),  # the head asks for the principal again
    ("if not isinstance(node, dict) or len(node) != 1:", "if never"),  # cedarpy gives no such JSON
    ("if not isinstance(node, dict) or len(node) != 1:", "Or swapped"),
    ('case _, {"left": left, "right": right, **rest} if not rest and operator in _BINARY:', "And swapped"),
    ('raise self.unsupported(f"the operator or function {str(operator)[:80]}")', "80 raised"),
    ("if (local := self._local(left, attribute)) is not None:", "if never"),  # looked up each time instead of once
    ('case {"Var": "principal" | "action" | "resource" | "context" as variable}:', "'principal' renamed"),
    ('case {"Var": "principal" | "action" | "resource" | "context" as variable}:', "'resource' renamed"),
    # rules are asked one by one instead of behind one guard
    (
        'case ast.Compare(left=ast.Name(id=local), ops=[ast.IsNot()], comparators=[ast.Name(id="ABSENT")]):',
        "emits IsNot swapped",
    ),
    ("if len(constants) == len(members):", "if never"),  # the set is made each time instead of once
}


_MODULES: dict[str, ModuleType] = {"compiler": compiler, "expressions": expressions, "values": values}


def test_mutants_are_killed() -> None:
    """Every change of one operator, constant, condition or name in the compiler and its operations shows."""
    survivors = [told for name, number in _mutants() if (told := _survived(name, number)) is not None]
    assert set(survivors) == _SAME


def _mutants() -> Iterator[tuple[str, int]]:
    for name in _MODULES:
        every = _Mutation(sys.maxsize)  # never comes to its turn, and counts
        every.visit(_tree(name))
        yield from ((name, number) for number in range(sys.maxsize - every.left))


def _tree(name: str) -> ast.Module:
    tree = ast.parse(_source(name))
    tree.body = [one for one in tree.body if not (isinstance(one, ast.Assign) and "__all__" in ast.unparse(one))]
    return tree


@cache
def _source(name: str) -> str:
    return Path(_MODULES[name].__file__ or "").read_text("utf-8")


@cache
def _sample() -> list[Case]:
    rare = []
    for condition, context in _RARE.items():
        head = '@id("r.rare") @reason("A rule that is rare.") permit (principal, action, resource)'
        request = generator.request(Random(5))  # noqa: S311 - the same each time
        given = {"n": 1, "s": "a", "flag": True, "items": [], "numbers": [], "teams": [], **context}
        rare.append(case(f"{head} when {{ {condition} }};", [(*request[:3], given)]))
    return rare + list(cases(99, policies=500, requests=12))


def _survived(name: str, number: int) -> tuple[str, str] | None:
    """The line and the change of a mutant that gives the same answers, or None."""
    mutation = _Mutation(number)
    tree = ast.fix_missing_locations(mutation.visit(_tree(name)))
    line, _, change = (mutation.done or "").partition(": ")
    module = ModuleType(f"mutant_{name}")
    sys.modules[module.__name__] = module  # where dataclasses and named tuples look themselves up
    try:
        exec(compile(tree, f"<{name}>", "exec"), module.__dict__)  # noqa: S102 - our own source with one change
        with _in_place(name, module) as changed:
            if _told_apart(changed):
                return None
    except Exception:  # noqa: BLE001 - a mutant that fails is one that shows
        return None
    return _source(name).splitlines()[int(line.removeprefix("line ")) - 1].strip(), change


def _told_apart(changed: Compiler) -> bool:
    """Whether some request is answered in another way. What told one mutant apart is asked first of the next."""
    sample = _sample()
    for place, one in enumerate(sample):
        try:
            same = all(said == right for said, right in zip(said_by(one, changed), one.said, strict=True))
        except Exception:  # noqa: BLE001 - as in _survived
            same = False
        if not same:
            sample.insert(0, sample.pop(place))
            return True
    return False


@contextmanager
def _in_place(name: str, mutant: ModuleType) -> Iterator[Compiler]:
    """The compiler with a mutant in the place of one of its modules."""
    if name == "compiler":
        yield mutant.compiled
    elif name == "expressions":
        with pytest.MonkeyPatch.context() as patch:
            for one in expressions.__all__:
                patch.setattr(compiler, one, getattr(mutant, one))
            yield compiler.compiled
    else:
        with _operations(mutant):
            yield compiler.compiled


@contextmanager
def _operations(mutant: ModuleType) -> Iterator[None]:
    """The operations with the code of a mutant: what was made of their classes stays what it is."""
    before = []
    for name, function in _functions(values).items():
        before.append((function, function.__code__))
        function.__code__ = _functions(mutant)[name].__code__
    bounds = values._LEAST, values._MOST
    values._LEAST, values._MOST = mutant._LEAST, mutant._MOST
    try:
        yield
    finally:
        values._LEAST, values._MOST = bounds
        for function, code in before:
            function.__code__ = code


def _functions(module: ModuleType) -> dict[str, FunctionType]:
    places = {"": module, **{name: one for name, one in vars(module).items() if isinstance(one, type)}}
    return {
        f"{place}.{name}": one
        for place, holder in places.items()
        for name, one in vars(holder).items()
        if isinstance(one, FunctionType) and one.__module__ == module.__name__
    }
