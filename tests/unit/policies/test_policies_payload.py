"""What is no JSON, no Unicode, not finite, too deep or too large is refused before anything looks at it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from policies import payload as module
from policies.payload import MAX_BYTES, MAX_CHARACTERS, MAX_DEPTH, MAX_VALUES, InputError, Payload
from policies.privacy import categories


def nested(depth: int, kind: str = "list") -> object:
    value: object = "x"
    for _ in range(depth):
        value = [value] if kind == "list" else {"k": value}
    return value


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -1.5, "", "text", "\U0001f600", [], {}, [1, "a", None, {"k": [True]}], ("a", "b"), 10**18,
        nested(MAX_DEPTH), nested(MAX_DEPTH - 1, "dict"), "x" * MAX_CHARACTERS,
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_json_is_taken_as_it_is(value: object) -> None:
    assert Payload.checked(value).value == (list(value) if isinstance(value, tuple) else value)


def test_nobody_changes_a_payload_after_it_was_checked() -> None:
    texts, blobs = ["harmless"], {"a": b"1"}
    payload = Payload.checked({"texts": texts}, blobs)
    texts[0] = "jane.doe@example.org"
    blobs["b"] = b"2"
    assert payload.value == {"texts": ["harmless"]}
    assert payload.blobs == {"a": b"1"}


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("input_type", b"bytes"),
        ("input_type", {1: "a"}),
        ("input_type", {None: "a"}),
        ("input_type", [{"a": {"b": {1, 2}}}]),
        ("input_type", object()),
        ("input_type", Path("a")),
        ("input_type", 1j),
        ("input_number", float("nan")),
        ("input_number", [1.0, {"a": float("inf")}]),
        ("input_number", float("-inf")),
        ("input_unicode", "secret \ud800"),
        ("input_unicode", {"secret \udfff": 1}),
        ("input_unicode", ["é", "\ud83d"]),
        ("input_too_deep", nested(MAX_DEPTH + 1)),
        ("input_too_deep", nested(MAX_DEPTH + 1, "dict")),
        ("input_too_deep", nested(5_000)),
        ("input_too_large", "x" * (MAX_CHARACTERS + 1)),
        ("input_too_large", ["x" * (MAX_CHARACTERS // 2)] * 3),
        ("input_too_large", {"x" * (MAX_CHARACTERS + 1): None}),
        ("input_too_large", [None] * (MAX_VALUES + 1)),
        ("input_number", 10**5_000),
    ],
    ids=lambda value: str(type(value).__name__) if not isinstance(value, str) else value[:20],
)
def test_what_is_no_json_is_refused(code: str, value: object) -> None:
    with pytest.raises(InputError) as caught:
        Payload.checked(value)
    assert caught.value.code == code
    assert caught.value.hint == InputError.hints[code]
    assert "secret" not in str(caught.value)


def test_a_value_that_holds_itself_is_too_deep() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(InputError) as caught:
        Payload.checked(value)
    assert caught.value.code == "input_too_deep"


def test_blobs_are_bounded() -> None:
    half = bytes(MAX_BYTES // 2)
    assert Payload.checked(None, {"a": half, "b": half}).blobs == {"a": half, "b": half}
    with pytest.raises(InputError) as caught:
        Payload.checked(None, {"a": half, "b": half, "c": b"1"})
    assert caught.value.code == "input_too_large"


@pytest.mark.parametrize(
    ("blobs", "code"), [({"\ud800": b"1"}, "input_unicode"), ({1: b"1"}, "input_type"), ({"a": "text"}, "input_type")]
)
def test_blobs_are_bytes_with_names(blobs: dict[str, bytes], code: str) -> None:
    with pytest.raises(InputError) as caught:
        Payload.checked(None, blobs)
    assert caught.value.code == code


def test_a_card_written_as_a_number_is_among_the_texts() -> None:
    assert list(Payload.checked([4111111111111111, 4111111111111111.0]).texts()) == ["4111111111111111"] * 2


def test_blobs_of_one_payload_are_not_those_of_the_next() -> None:
    Payload.checked(None).blobs["a"] = b"1"
    assert Payload.checked(None).blobs == {}
    assert Payload(value=None).blobs == {}


def test_texts_are_all_strings_in_order() -> None:
    payload = Payload.checked({"a": ["b", {"c": "d"}], "e": 4111, "f": True, "g": None, "h": 1.5}, {"i.png": b"j"})
    texts = [text for text in payload.texts() if text.isalpha() or text == "i.png"]
    assert texts == ["a", "b", "c", "d", "e", "f", "g", "h", "i.png"]
    assert "4111" in payload.texts()


def test_a_string_of_another_type_is_read_as_a_string() -> None:
    assert list(Payload.checked([Text("ann")]).texts()) == ["ann"]


def test_the_depth_is_the_one_that_the_hint_names() -> None:
    assert str(module.MAX_DEPTH) in InputError.hints["input_too_deep"]


MAIL = "ann@example.org"


@pytest.mark.parametrize(
    "value",
    [
        {"prompt": f"Write to {MAIL}"},
        {"messages": [{"role": "system", "content": MAIL}]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": MAIL}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": MAIL}]}]},
        {"messages": [{"role": "tool", "tool_call_id": "1", "content": f'{{"to": "{MAIL}"}}'}]},
        {"messages": [{"role": "user", "name": MAIL, "content": "a"}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": f'["{MAIL}"]'}}]}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {MAIL: 1}}}]}]},
        {"messages": [], "documents": [{"title": "a", "text": f"From {MAIL}"}]},
        {"messages": [], "tools": [{"function": {"description": f"mails {MAIL}"}}]},
    ],
)
def test_whoever_a_text_is_of_it_is_scanned(value: object) -> None:
    """All roles, parts, tools, their arguments and what they gave back."""
    assert categories(Payload.checked(value).texts()) == {"email"}
