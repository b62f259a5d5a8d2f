"""Cases are hostile input too; and a case that comes out otherwise is seen, whichever way."""

from __future__ import annotations

from typing import Any

import pytest

from policies.cedar import Engine, PolicyError, filled, load, schema
from policies.cedar.cases import Cases, tried
from policies.facts import Purpose
from toolkit.policy import pack, schema_text

CASE = """
[[case]]
name = "a case"
allow = {allow}
rules = {rules}
call = {{ {call} }}
"""


def base(**parameters: Any) -> Engine:
    chosen = [pack("base")]
    purposes = {"care": Purpose(bases=frozenset({"contract"}), retain_days=3, data=frozenset({"health"}))}
    return load(
        {"base": chosen[0].policy}, schema(schema_text(), chosen), purposes, filled(chosen, {"base": parameters})
    )


@pytest.mark.parametrize(
    ("allow", "rules", "call", "ok"),
    [
        ("true", "[]", 'purpose = "care", basis = "contract"', True),
        ("false", "[]", 'purpose = "care", basis = "contract"', False),
        ("false", '["purpose.stated"]', "", True),
        ("true", "[]", "", False),
        ("false", '["purpose.declared"]', "", False),
        ("false", "[]", "", False),
        ("false", '["purpose.stated", "base.integrity"]', 'signer = ""', True),
        ("false", '["purpose.stated"]', 'signer = ""', False),
        ("false", '["privacy.basis"]', 'purpose = "care"', True),  # what the purpose is taken to carry
    ],
)
def test_a_case_comes_out_as_it_must_or_is_seen(allow: str, rules: str, call: str, ok: bool) -> None:
    text = CASE.format(allow=allow, rules=rules, call=call)
    (one,) = tried(base(), Cases.read("cases.toml", text.encode()))
    assert one.ok is ok


@pytest.mark.parametrize(
    "text",
    [
        b"\xff",
        b"[",
        b"colour = 1",
        b"case = 1",
        b"[[case]]\nname = 1\nallow = true",
        b'[[case]]\nname = "a"',
        b'[[case]]\nname = "a"\nallow = "yes"',
        b'[[case]]\nname = "a"\nallow = true\ncolour = 1',
        b"#" + b"x" * 300_000,
        b'[[case]]\nname = "a"\nallow = true\n' * 2_001,
        b"a = " + b"[" * 5_000 + b"]" * 5_000,
    ],
)
def test_what_is_no_file_of_cases_is_refused(text: bytes) -> None:
    with pytest.raises(PolicyError) as caught:
        Cases.read("cases.toml", text)
    assert caught.value.code == "policy_cases"


@pytest.mark.parametrize(
    "call", ["colour = 1", "at = -1", 'action = "launch"', "data = [1]", 'usage = "many"', "sealed = 1"]
)
def test_a_call_that_is_none_is_refused(call: str) -> None:
    cases = Cases.read("cases.toml", CASE.format(allow="true", rules="[]", call=call).encode())
    with pytest.raises(PolicyError) as caught:
        tried(base(), cases)
    assert caught.value.code == "policy_cases"


@pytest.mark.parametrize(
    ("obligations", "ok"),
    [("", True), ('obligations = ["redact"]', True), ("obligations = []", False), ('obligations = ["x"]', False)],
)
def test_what_a_decision_asks_for_counts_where_the_case_says_so(obligations: str, ok: bool) -> None:
    call = 'purpose = "care", data = ["email"]'
    case = CASE.format(allow="false", rules='["privacy.redact"]', call=call) + obligations
    (one,) = tried(base(redact=["care"]), Cases.read("cases.toml", case.encode()))
    assert one.ok is ok
    assert one.obligations == ("redact",)
