"""The errors, their codes and hints, the tree that draws them and the page that explains them say the same."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from policies import errors
from policies.errors import Failed, Fault, Refused, Unusable

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("policies", "compliance", "toolkit", "serve")
EXITS: dict[type[Fault], int] = {Refused: 1, Unusable: 2, Failed: 3}
BRANCH = re.compile(r"^(?P<lines>[ │]*)[├└]── (?P<name>\w+)", re.MULTILINE)
ROW = re.compile(r"^\| `(?P<code>\w+)` \| (?P<exit>\d) \| (?P<text>.+) \|$", re.MULTILINE)


def families() -> list[type[Fault]]:
    """Every Fault of the packages, parents first. Everything is imported for it."""
    for package in PACKAGES:
        root = importlib.import_module(package)
        for module in pkgutil.walk_packages(root.__path__, f"{package}."):
            importlib.import_module(module.name)
    return [family for family in below(Fault) if family.__module__.partition(".")[0] in PACKAGES]


def below(family: type[Fault]) -> Iterator[type[Fault]]:
    for child in family.__subclasses__():
        yield child
        yield from below(child)


FAMILIES = families()
HINTS = [(family, code, hint) for family in FAMILIES for code, hint in vars(family).get("hints", {}).items()]
SOURCES = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")] + [ROOT / "sealpress.py"]


def test_codes_are_unique_over_all_families() -> None:
    assert [code for code, times in Counter(code for _, code, _ in HINTS).items() if times > 1] == []


def test_family_names_are_unique() -> None:
    assert [name for name, times in Counter(family.__name__ for family in FAMILIES).items() if times > 1] == []


@pytest.mark.parametrize(("family", "code", "hint"), HINTS, ids=[code for _, code, _ in HINTS])
def test_a_hint_is_a_sentence(family: type[Fault], code: str, hint: str) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", code)
    assert re.fullmatch(r"\S.*[\w)\]`]\.", hint), f"{family.__name__} {code}: {hint}"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_every_family_hangs_on_one_branch(family: type[Fault]) -> None:
    assert sum(issubclass(family, branch) for branch in EXITS) == 1


def test_the_tree_draws_the_families_as_they_are() -> None:
    drawn = {}
    above = {0: "Exception"}
    for branch in BRANCH.finditer(errors.__doc__ or ""):
        depth = len(branch["lines"]) // 4
        above[depth] = branch["name"]
        drawn[branch["name"]] = above[depth - 1]
    every: list[type[Fault]] = [Fault, *FAMILIES]
    real = {family.__name__: base.__name__ for family in every for base in family.__bases__}
    assert drawn == real


def test_the_page_has_one_line_for_each_code() -> None:
    page = [row["code"] for row in ROW.finditer((ROOT / "docs/errors.md").read_text(encoding="utf-8"))]
    assert sorted(page) == sorted(code for _, code, _ in HINTS)


@pytest.mark.parametrize(("family", "code", "hint"), HINTS, ids=[code for _, code, _ in HINTS])
def test_the_page_says_what_happened_the_exit_status_and_the_hint(family: type[Fault], code: str, hint: str) -> None:
    rows = {row["code"]: row for row in ROW.finditer((ROOT / "docs/errors.md").read_text(encoding="utf-8"))}
    branch = next(branch for branch in EXITS if issubclass(family, branch))
    assert int(rows[code]["exit"]) == EXITS[branch]
    happened, end = rows[code]["text"].removesuffix(hint), rows[code]["text"][-len(hint) :]
    assert end == hint
    assert happened.strip()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_raised_is_a_code_of_its_family(path: Path) -> None:
    known = {family.__name__: family for family in FAMILIES}
    unknown = [
        f"line {node.lineno}: {name} {code!r}"
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Call) and node.args and (name := called(node)) in known
        for code in literals(node.args[0])
        if code not in known[name].hints
    ]
    assert unknown == []


def test_no_code_is_left_that_nothing_raises() -> None:
    written = Counter(
        node.value
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    # once where its hint is, and at least once where it is raised
    assert [code for _, code, _ in HINTS if written[code] < 2] == []


def called(node: ast.Call) -> str:
    """`Family` of Family(...) and of errors.Family(...)."""
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def literals(node: ast.expr) -> list[str]:
    """The texts that an argument can be, as far as they are written there: one, or the two of a conditional."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.IfExp(body=body, orelse=orelse):
            return literals(body) + literals(orelse)
    return []
