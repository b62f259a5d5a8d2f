"""A text that is doubtful in any way is refused when it is loaded, with a code, the file and the rule."""

from __future__ import annotations

import threading

import pytest

from policies.cedar import PolicyError, load, schema
from policies.facts import Purpose
from toolkit.policy import schema_text

SCHEMA = schema(schema_text(), [])
ALLOW = '@id("a.allow") @reason("Everything is allowed here.") permit (principal, action, resource);'


def rule(condition: str) -> str:
    return ALLOW[:-1] + f" when {{ {condition} }};"


def refused(text: str | bytes, schema: bytes = SCHEMA) -> PolicyError:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(PolicyError) as caught:
        load({"own.cedar": data}, schema, {})
    return caught.value


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("policy_empty", ""),
        ("policy_empty", "// a comment alone"),
        ("policy_syntax", "permit ("),
        ("policy_syntax", ALLOW.replace("permit", "allow")),
        (
            "policy_syntax",
            ALLOW + '@id("a.b") @id("a.c") @reason("Twice an id.") permit (principal, action, resource);',
        ),
        ("policy_syntax", '"' + ALLOW),
        ("policy_encoding", ALLOW.encode() + b"\xff"),
        ("policy_encoding", ALLOW.encode("utf-16")),
        ("policy_template", ALLOW.replace("principal,", "principal == ?principal,")),
        ("policy_annotation", "permit (principal, action, resource);"),
        ("policy_annotation", '@id @reason("An id without a value.") permit (principal, action, resource);'),
        ("policy_annotation", '@id("a.b") permit (principal, action, resource);'),
        ("policy_annotation", '@id("a.b") @reason("") permit (principal, action, resource);'),
        ("policy_annotation", ALLOW.replace("is allowed", "is\\nallowed")),
        ("policy_annotation", ALLOW.replace("a.allow", "allow")),
        ("policy_annotation", ALLOW.replace("a.allow", "A.allow")),
        ("policy_annotation", ALLOW.replace("a.allow", "a.`allow`")),
        ("policy_annotation", ALLOW.replace("a.allow", "a." + "b" * 200)),
        ("policy_annotation", ALLOW.replace("a.allow", "default.deny")),
        ("policy_annotation", ALLOW.replace("a.allow", "engine.stopped")),
        ("policy_annotation", ALLOW + ALLOW),
        ("policy_schema", rule("context.colour == 1")),
        ("policy_schema", rule('context.basis == "consent"')),
        ("policy_schema", rule('context.usage == "many"')),
        ("policy_schema", ALLOW.replace("action,", 'action == Action::"launch",')),
        ("policy_schema", ALLOW.replace("principal,", "principal is Person,")),
        ("policy_too_large", "//" + "x" * 300_000),
        ("policy_too_large", rule("true && " * 100 + "true")),
        ("policy_too_large", "\n".join(ALLOW.replace("a.allow", f"a.r{number}") for number in range(2_001))),
    ],
)
def test_a_doubtful_text_is_refused(code: str, text: str | bytes) -> None:
    error = refused(text)
    assert error.code == code
    assert error.hint == PolicyError.hints[code]
    assert "own.cedar" in str(error) or code == "policy_too_large"


FINE = '@id("a.fine") @reason("A rule; that is fine.") permit (principal, action, resource); // one; two\n'
HEAD = '@id("a.bad") @reason("A rule that is not.")\npermit (principal, action, resource)\n'


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (FINE + HEAD + "when { context.colour == 1 };", "own.cedar:4:16: rule a.bad: attribute `colour`"),
        (FINE + HEAD + 'when { context.usage == "many" };', "own.cedar:2:1: rule a.bad: the types"),
        (FINE + HEAD + "when { context.usage == == 1 };", "own.cedar:4:25: unexpected token `==`"),
        (FINE + HEAD + "when { context.usage ### 1 };" + FINE, "own.cedar:4:22: invalid token"),
        (FINE + HEAD + "when { frob(context.usage) };", "own.cedar:4:8: `frob` is not a valid function"),
        (FINE + HEAD + "when { context.usage == 1 }", "own.cedar:2:1: unexpected end of input"),
        (FINE + HEAD.replace('@id("a.bad") ', "") + ";", "own.cedar:2:1: the rule has no @id"),
        (FINE + HEAD.replace("principal,", "principal == ?principal,") + ";", "own.cedar:2:1: it is a template"),
        (FINE + HEAD + "when { " + "(" * 50, "own.cedar:4:31: more than"),
    ],
)
def test_the_place_is_named(text: str, place: str) -> None:
    assert str(refused(text)).startswith(place)


def test_an_id_is_unique_over_all_files() -> None:
    with pytest.raises(PolicyError, match=r"a\.allow") as caught:
        load({"one.cedar": ALLOW.encode(), "two.cedar": ALLOW.encode()}, SCHEMA, {})
    assert caught.value.code == "policy_annotation"


def test_no_file_is_an_empty_policy() -> None:
    with pytest.raises(PolicyError) as caught:
        load({}, SCHEMA, {})
    assert caught.value.code == "policy_empty"


@pytest.mark.parametrize(
    "condition",
    [
        "(" * 10_000 + "true" + ")" * 10_000,
        ")" * 1_000 + "(" * 10_000,
        "[" * 10_000 + "]" * 10_000 + " == 1",
        "true && " * 10_000 + "true",
        "if true then true else " * 5_000 + "true",
        "context" + ".a" * 10_000,
        "!" * 10_000 + "true",
        '"\\\n' + "(" * 10_000,
    ],
    ids=["brackets", "stray", "sets", "and", "if", "dots", "not", "string"],
)
def test_what_would_end_the_parser_is_refused_before_it(condition: str) -> None:
    """Also in a thread, whose stack is smaller: the recursive parser would take the process with it."""
    errors: list[str] = []
    before = threading.stack_size(512 * 1024)
    try:
        thread = threading.Thread(target=lambda: errors.append(refused(rule(condition)).code))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert errors in (["policy_too_large"], ["policy_syntax"])


@pytest.mark.parametrize(
    "condition", ["true && " * 40 + "true", "(" * 20 + "true" + ")" * 20, "1 < 2 && " * 30 + "true"]
)
def test_what_a_person_may_write_is_read(condition: str) -> None:
    assert load({"own.cedar": rule(condition).encode()}, SCHEMA, {}).digest


@pytest.mark.parametrize(
    ("code", "schema"),
    [
        ("policy_schema", b"entity"),
        ("policy_schema", b""),
        ("policy_encoding", b"\xff\xfe"),
        ("policy_too_large", b"entity A = { a: " + b"Set<" * 10_000 + b"Long" + b">" * 10_000 + b" };"),
        ("policy_too_large", b"/" * 300_000),
    ],
)
def test_a_doubtful_schema_is_refused(code: str, schema: bytes) -> None:
    assert refused(ALLOW, schema).code == code


@pytest.mark.parametrize(
    ("name", "days"), [("", 1), ("Support", 1), ("a b", 1), ("a" * 65, 1), ("-a", 1), ("a\n", 1), ("support", -1)]
)
def test_a_purpose_is_checked(name: str, days: int) -> None:
    with pytest.raises(PolicyError) as caught:
        load({"own.cedar": ALLOW.encode()}, SCHEMA, {name: Purpose(bases=frozenset(), retain_days=days)})
    assert caught.value.code == "policy_purpose"
