"""An answer keeps to what was asked for, whatever the model would say; what cannot be kept to is refused at once."""

from __future__ import annotations

import builtins
import json
import re
import time
from typing import Any

import jsonschema_rs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.decoders import METADATA, TOKENS, gguf
from toolkit.compress.sources.gguf_format import Gguf
from toolkit.compress.sources.gguf_tokenizer import tokens_of
from toolkit.extras import MissingExtra
from toolkit.runtime.constraint import Parser
from toolkit.runtime.sampling import GenerationError, Sampler, Sampling

END = 2
PARSER = Parser(tokens_of(Gguf(gguf(METADATA))).json.decode(), len(TOKENS), (END,))
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "ward": {"enum": ["north", "south"]},
        "notes": {"type": "array", "items": {"type": "string", "maxLength": 5}, "maxItems": 2},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


def said(how: Sampling, most: int = 400) -> tuple[str, bool]:
    """What random scores make of a constraint, and whether it ended by itself."""
    assert how.constraint is not None
    constraint = PARSER.of(how.constraint)
    rng = np.random.default_rng(how.seed)
    sampler = Sampler(how, [])
    tokenizer = PARSER._tokenizer()
    ids: list[int] = []
    while len(ids) < most:
        chosen = sampler.choose(rng.normal(0, 3, len(TOKENS)).astype(np.float32), constraint.allowed()).id
        if chosen != END:
            ids.append(chosen)
        if chosen == END or constraint.take(chosen):
            text = bytes(tokenizer.decode_bytes(ids)).decode()
            constraint.holds(text)
            return text, True
    return bytes(tokenizer.decode_bytes(ids)).decode(errors="replace"), False


def test_an_object_is_what_its_schema_says() -> None:
    ends = [said(Sampling.checked(schema=PERSON, seed=seed, temperature=1.0)) for seed in range(30)]
    whole = [json.loads(text) for text, ended in ends if ended]
    assert len(whole) > 20
    for one in whole:
        jsonschema_rs.validate(PERSON, one)


LEAVES = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.builds(
        lambda low, size: {"type": "integer", "minimum": low, "maximum": low + size},
        st.integers(-999, 999),
        st.integers(0, 99),
    ),
    st.builds(
        lambda low, high: {"type": "number", "minimum": -low, "maximum": high}, st.integers(0, 9), st.floats(0, 9)
    ),
    st.builds(
        lambda low, size: {"type": "string", "minLength": low, "maxLength": low + size},
        st.integers(0, 3),
        st.integers(0, 4),
    ),
    st.just({"type": "string", "pattern": "^[a-c]{2,4}$"}),
    st.just({"type": "integer", "multipleOf": 7}),
    st.just({"const": {"a": [1, "x"]}}),
    st.builds(lambda values: {"enum": values}, st.lists(st.text('ab/é"\\', max_size=3), min_size=1, max_size=3)),
)
NAMES = st.sampled_from(["a", "b/", "c\\", "d\n", "é"])


def _objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def made(properties: dict[str, Any], required: set[str], more: Any) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": properties,
            "required": sorted(required),
            "additionalProperties": more,
            "maxProperties": len(properties) + len(required) + 1,
        }

    objects = st.builds(
        made,
        st.dictionaries(NAMES, inner, max_size=3),
        st.sets(NAMES, max_size=2),
        st.one_of(st.just(False), st.just({"type": "integer"})),
    )
    arrays = st.builds(
        lambda items, low, size: {"type": "array", "items": items, "minItems": low, "maxItems": low + size},
        inner,
        st.integers(0, 2),
        st.integers(0, 2),
    )
    return st.one_of(
        objects, arrays, st.builds(lambda parts: {"anyOf": parts}, st.lists(inner, min_size=1, max_size=3))
    )


@settings(max_examples=150, deadline=None)
@given(schema=st.recursive(LEAVES, _objects, max_leaves=5), seed=st.integers(0, 2**32))
def test_whatever_the_schema_an_answer_that_ends_is_valid(schema: dict[str, Any], seed: int) -> None:
    how = Sampling.checked(schema=schema, seed=seed, temperature=1.0)
    try:
        text, ended = said(how)
    except GenerationError:  # such as a required name that has no schema
        return
    if ended:
        jsonschema_rs.validate(schema, json.loads(text))


@pytest.mark.parametrize("escaped", ["\\u0061", "\\/"])
def test_a_name_has_one_spelling(escaped: str) -> None:
    """Else a further property could come under a name that has a schema of its own, and take its place."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": {"type": "string"}}
    constraint = PARSER.of({"schema": schema})
    for token in PARSER._tokenizer().tokenize_str('{"'):
        constraint.take(token)
    (backslash,) = PARSER._tokenizer().tokenize_str("\\")
    constraint.take(backslash)
    (after,) = PARSER._tokenizer().tokenize_str(escaped[1])
    assert not constraint.allowed()[after]


def test_spaces_come_to_an_end() -> None:
    constraint = PARSER.of({"schema": PERSON})
    (brace,), (space,) = (PARSER._tokenizer().tokenize_str(one) for one in "{ ")
    constraint.take(brace)
    for _ in range(40):
        assert constraint.allowed()[space]
        constraint.take(space)
    assert not constraint.allowed()[space]


@settings(max_examples=60, deadline=None)
@given(
    regex=st.sampled_from(
        [
            "[0-9]{4}-[01][0-9]",
            "a|bc|d+",
            "(ab?){3}",
            "[^a-z]{2}",
            ".{3}",
            "[0-9]+[.][0-9]{2}",
            "[äöü]{2}x",
            "(?i:ward)",
            "",
        ]
    ).filter(bool),
    seed=st.integers(0, 2**32),
)
def test_an_answer_that_ends_matches_its_expression_as_a_whole(regex: str, seed: int) -> None:
    text, ended = said(Sampling.checked(regex=regex, seed=seed, temperature=1.0))
    if ended:
        assert re.fullmatch(regex, text)


@settings(max_examples=60, deadline=None)
@given(
    choice=st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=6), min_size=1, max_size=4),
    seed=st.integers(0, 2**32),
)
def test_an_answer_is_one_of_the_choices(choice: list[str], seed: int) -> None:
    text, ended = said(Sampling.checked(choice=choice, seed=seed, temperature=1.0))
    assert ended
    assert text in choice


WRONG: dict[str, dict[str, Any]] = {
    "remote": {"schema": {"$ref": "https://example.org/schema.json"}},
    "a file": {"schema": {"$ref": "file:///etc/passwd"}},
    "a remote dialect": {"schema": {"$schema": "https://example.org/schema.json"}},
    "a reference to nothing": {"schema": {"$ref": "#/$defs/none"}},
    "a reference to itself": {"schema": {"$ref": "#"}},
    "least above most": {"schema": {"type": "integer", "minimum": 5, "maximum": 3}},
    "two types": {"schema": {"allOf": [{"type": "integer"}, {"type": "string"}]}},
    "no value": {"schema": {"enum": []}},
    "unknown type": {"schema": {"type": "foo"}},
    "properties that are none": {"schema": {"properties": 3}},
    "what is not kept to": {"schema": {"type": "array", "uniqueItems": True}},
    "one of two that overlap": {"schema": {"oneOf": [{"type": "integer"}, {"type": "number"}]}},
    "settings of the library": {"schema": {"type": "array", "uniqueItems": True, "x-guidance": {"lenient": True}}},
    "names that may come twice": {"schema": {"minProperties": 2, "required": ["a"]}},
    "many remainders": {"schema": {"type": "integer", "multipleOf": 99_999_989}},
    "many remainders of parts": {"schema": {"type": "number", "multipleOf": 997.0001}},
    "many remainders of several": {"schema": {"allOf": [{"type": "integer", "multipleOf": n} for n in (97, 89, 83)]}},
    "many remainders below a name": {"schema": {"properties": {"const": {"type": "integer", "multipleOf": 10**9}}}},
    "too deep": {"schema": json.loads('{"items":' * 40 + "{}" + "}" * 40)},
    "too large": {"schema": {"enum": ["x" * 20_000]}},
    "no JSON": {"schema": {"const": float("nan")}},
    "parts that multiply": {
        "schema": {"allOf": [{"anyOf": [{"required": [f"a{n}"]}, {"required": [f"b{n}"]}]} for n in range(30)]}
    },
    "a length that is none": {"schema": {"type": "string", "minLength": 10**18}},
    "look-ahead": {"regex": "(?=a)b"},
    "look-ahead in a pattern": {"schema": {"type": "string", "pattern": "(?=a)b"}},
    "a reference back": {"regex": r"(a)\1"},
    "no expression": {"regex": "[a"},
    "an anchor that nothing can pass": {"regex": "a^b"},
    "a count of a million": {"regex": "x{1000000}"},
    "a count of a million in a pattern": {"schema": {"type": "string", "pattern": "x{1,1000000}"}},
    "a count of a million in a name": {"schema": {"patternProperties": {"x{1000000}": {"type": "integer"}}}},
    "bytes that are no text": {"regex": r"(?-u)\xff"},
    "a long expression": {"regex": "a" * 4097},
    "brackets without end": {"regex": "(" * 2000 + "a" + ")" * 2000},
    "two at once": {"regex": "a", "choice": ["a"]},
    "a stop string": {"regex": "a+", "stop": "aa"},
}


@pytest.mark.parametrize("what", sorted(WRONG))
def test_what_cannot_be_kept_to_is_refused_at_once(what: str) -> None:
    began = time.process_time()
    with pytest.raises(GenerationError) as refused:
        PARSER.of(Sampling.checked(**WRONG[what]).constraint or {})
    assert refused.value.code == ("generation_sampling" if what == "a long expression" else "generation_constraint")
    assert "passwd" not in str(refused.value)
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    "regex",
    [
        ".*a.{400}b.*a.{300}",
        "(?:.*a.{100}|.*b.{100}|.*c.{99})*",
        "((a{1,100}){1,100}){1,100}",
        "[ab]*a[ab]{200}",
        "(x+x+)+y",
        "(.*a){20}",
        "(?:.*a.{900}){1,1000}",
        "(?:(?:.?){1000}){1000}",
        r"(\w+\s?){1,1000}",
    ],
)
def test_an_expression_that_needs_much_is_stopped_and_does_not_hang(regex: str) -> None:
    constraint = PARSER.of(Sampling.checked(regex=regex).constraint or {})
    rng = np.random.default_rng(0)
    longest, stopped = 0.0, ""
    for _ in range(200):
        began = time.process_time()
        try:
            allowed = np.flatnonzero(constraint.allowed())
            token = int(rng.choice(allowed[allowed != END] if len(allowed) > 1 else allowed))
            if token == END or constraint.take(token):
                break
        except GenerationError as refused:
            stopped = refused.code
            break
        finally:
            longest = max(longest, time.process_time() - began)
    assert longest < 0.5
    assert stopped in ("", "generation_constraint")


def test_what_was_said_is_held_against_its_tokens() -> None:
    constraint = PARSER.of({"regex": "ab"})
    for token in PARSER._tokenizer().tokenize_str("ab"):
        constraint.take(token)
    constraint.holds("ab")
    with pytest.raises(GenerationError, match="not that of its tokens"):
        constraint.holds("a")
    unfinished = PARSER.of({"regex": "ab"})
    with pytest.raises(GenerationError, match="not that of its tokens"):
        unfinished.holds("")


def test_what_alone_can_come_is_known() -> None:
    constraint = PARSER.of({"schema": {**PERSON, "properties": {}, "required": ["name"], "additionalProperties": True}})
    constraint.take(PARSER._tokenizer().tokenize_str("{")[0])
    for token in PARSER._tokenizer().tokenize_str('"n'):
        constraint.take(token)
    assert PARSER._tokenizer().decode_str(constraint.forced()).startswith("a") or constraint.forced() == []


def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "llguidance":
            raise ModuleNotFoundError(name, name=name)
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"sealpress\[constrained\]"):
        PARSER.of({"regex": "a"})


def test_a_tokenizer_of_another_kind_is_refused() -> None:
    with pytest.raises(GenerationError, match="tokenizer"):
        Parser('{"a": 1}', 3, ()).of({"regex": "a"})
