"""The arrow between the packages, and the one home of each library: that they hold, and that each contract bites."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
PACKAGES: list[str] = SETTINGS["root_packages"]

ARROW = "The arrow: serve -> toolkit -> compliance -> policies"
TOOLKIT = "Within toolkit: commands -> compress -> the runtime and its neighbours"
PURE = "Policies read no file, socket, clock or random number"
VERIFIER = "The verifier ships alone: standard library, crypto and errors"
CEDAR = "Home of Cedar: policies.cedar"
SOLVER = "Home of the solver: policies.cedar.formulas and policies.cedar.proof"
CRYPTOGRAPHY = "Home of cryptography: compliance.crypto, and compliance.verify.authority for X.509"
JWT = "Home of JWT: compliance.issuer"
SQLITE = "Home of SQLite: compliance.state"
TEMPLATES = "Home of templates: the reports"
NUMERICS = "Home of numerics: toolkit"
RUNTIME = "Home of ONNX Runtime: toolkit.runtime (and its quantiser: toolkit.compress)"
CONSTRAINTS = "Home of constraints: toolkit.runtime.constraint"
TRAINING = "Home of training frameworks: toolkit.compress and toolkit.train"
TERMINAL = "Home of the terminal: toolkit.cli and the commands"
BOMS = "Home of bills of materials: toolkit.bom"
TRACES = "Home of traces: serve.telemetry.spans"
HTTP = "Home of HTTP: serve"
PRINT = "Home of print: compliance.report.audit.printed"

# (file, what is planted at its end, the contract that must break)
VIOLATIONS = [
    ("policies/facts.py", "import compliance.crypto", ARROW),
    ("policies/licences/__init__.py", "def late():\n    import toolkit.bundle", ARROW),
    ("compliance/keys.py", "from toolkit import bundle", ARROW),
    ("toolkit/bundle.py", "import toolkit.compress", TOOLKIT),
    ("toolkit/model.py", "import toolkit.commands", TOOLKIT),
    ("toolkit/runtime/__init__.py", "def late():\n    import toolkit.compress", TOOLKIT),
    ("policies/gate.py", "import socket", PURE),
    ("policies/facts.py", "from time import time", PURE),
    ("policies/cedar/__init__.py", "from importlib.resources import files", PURE),
    ("policies/privacy/__init__.py", "import pathlib", PURE),
    ("compliance/verify/__init__.py", "import msgspec", VERIFIER),
    ("compliance/verify/__init__.py", "import compliance.journal", VERIFIER),
    ("compliance/crypto.py", "import policies.facts", VERIFIER),
    ("policies/gate.py", "import cedarpy", CEDAR),
    ("policies/cedar/engine.py", "import z3", SOLVER),
    ("compliance/keys.py", "from cryptography.hazmat.primitives import hashes", CRYPTOGRAPHY),
    ("serve/identity.py", "import jwt", JWT),
    ("compliance/journal/__init__.py", "import sqlite3", SQLITE),
    ("compliance/keys.py", "import jinja2", TEMPLATES),
    ("compliance/journal/__init__.py", "import numpy", NUMERICS),
    ("policies/privacy/__init__.py", "import tokenizers", NUMERICS),
    ("toolkit/model.py", "import onnxruntime", RUNTIME),
    ("toolkit/model.py", "import llguidance", CONSTRAINTS),
    ("toolkit/bundle.py", "import torch", TRAINING),
    ("toolkit/runtime/__init__.py", "def late():\n    import onnx.checker", TRAINING),
    ("toolkit/settings.py", "from rich.table import Table", TERMINAL),
    ("serve/app.py", "import rich_click", TERMINAL),
    ("toolkit/model.py", "import serve.app", ARROW),
    ("serve/protocols/openai.py", "import numpy", NUMERICS),
    ("serve/identity.py", "import sqlite3", SQLITE),
    ("serve/telemetry/observed.py", "from opentelemetry import trace", TRACES),
    ("toolkit/model.py", "import requests", TRACES),
    ("toolkit/model.py", "import litestar", HTTP),
    ("toolkit/export.py", "import cyclonedx", BOMS),
    ("toolkit/bundle.py", "def late():\n    import toolkit.bom", TOOLKIT),
    ("compliance/report/page.py", "import weasyprint", PRINT),
]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-logo", "--no-cache"]
    return subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, env={"COLUMNS": "200"})


def test_every_contract_holds() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout
    assert f"Contracts: {len(SETTINGS['contracts'])} kept, 0 broken." in result.stdout


def rounds() -> list[list[tuple[str, str, str]]]:
    """The violations, so that in each round no contract and no file has two."""
    found: list[list[tuple[str, str, str]]] = []
    for one in VIOLATIONS:
        for there in found:
            if not {one[0], one[2]} & {part for file, _, contract in there for part in (file, contract)}:
                there.append(one)
                break
        else:
            found.append([one])
    return found


@pytest.mark.parametrize("planted", rounds())
def test_a_violation_is_found_and_named(tmp_path: Path, planted: list[tuple[str, str, str]]) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file, line, _ in planted:
        with (tmp_path / file).open("a", encoding="utf-8") as source:
            source.write(f"\n\n{line}\n")

    result = lint(tmp_path)

    assert result.returncode == 1
    for file, _, contract in planted:
        assert f"{contract} BROKEN" in result.stdout, result.stdout
        # below the name of the contract and a line, what breaks it
        _, _, said = result.stdout.partition(f"\n{contract}\n{'-' * len(contract)}\n")
        said, _, _ = said.partition("\n---")
        assert f"{file.removesuffix('.py').removesuffix('/__init__').replace('/', '.')} -> " in said, result.stdout


def test_every_contract_has_a_violation_above() -> None:
    assert {contract for _, _, contract in VIOLATIONS} == {contract["name"] for contract in SETTINGS["contracts"]}


def test_the_verifier_reaches_nothing_that_it_does_not_ship_with() -> None:
    graph = grimp.build_graph(*PACKAGES, include_external_packages=True, cache_dir=None)
    reached = graph.find_upstream_modules("compliance.verify", as_package=True) - sys.stdlib_module_names
    assert reached <= {"compliance.crypto", "policies.errors", "cryptography", "__future__"}


def test_policies_open_nothing_and_ask_nobody() -> None:
    calls = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.func.id}"
        for path in (ROOT / "policies").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id in {"open", "input", "print", "breakpoint", "__import__"}
    ]
    assert calls == []
