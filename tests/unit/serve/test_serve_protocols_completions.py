"""Requests for chat and completions: what is taken, what is refused, and that a refusal repeats nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.errors import Fault
from serve.protocols.completions import MAX_TOKENS, Completing, read_chat, read_completion
from tests.kinds import EMBEDDER
from toolkit.bundle import BundleManifest
from toolkit.runtime.inputs import Chat, Generation

CHAT = Chat(begin="<", system="s", system_user="u", user_assistant="|", assistant_user="|", reply=">")
TURN = {"role": "user", "content": "one"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def generator(chat: Chat | None = CHAT) -> BundleManifest:
    return msgspec.structs.replace(EMBEDDER, generation=Generation(context=64, ends=(0,), chat=chat))


def chat(**body: Any) -> Completing:
    return read_chat(json.dumps({"model": "m", "messages": [TURN], **body}).encode(), {})


def completion(**body: Any) -> Completing:
    return read_completion(json.dumps({"model": "m", "prompt": "one", **body}).encode(), {})


def refused(ask: Callable[[], object]) -> Fault:
    with pytest.raises(Fault) as caught:
        ask()
    assert "canary" not in str(caught.value)
    return caught.value


def sampled(asked: Completing, room: int = 50) -> dict[str, Any]:
    found = msgspec.structs.asdict(asked.sampling(room))
    assert 0 <= found.pop("seed") < 2**53
    return found


DEFAULTS = {
    "max_tokens": 50, "temperature": 0.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0,
    "stop": (), "logprobs": None, "schema": None, "regex": None, "choice": (), "lookup": False,
}  # fmt: skip


def test_what_is_not_said_is_as_it_is_everywhere() -> None:
    assert sampled(chat()) == sampled(completion()) == DEFAULTS
    assert sampled(chat(), 10_000) == {**DEFAULTS, "max_tokens": MAX_TOKENS}


def test_every_number_gets_through() -> None:
    asked = {
        "temperature": 0.5, "top_p": 0.25, "top_k": 3, "min_p": 0.125, "repetition_penalty": 2.0, "max_tokens": 7,
        "stop": ["a", "b"],
    }  # fmt: skip
    expected = {**DEFAULTS, **asked, "stop": ("a", "b")}
    assert sampled(chat(**asked)) == sampled(completion(**asked)) == expected
    assert chat(seed=5).sampling(50).seed == completion(seed=5).sampling(50).seed == 5
    assert sampled(chat(stop="a"))["stop"] == ("a",)


@pytest.mark.parametrize(
    ("body", "logprobs"),
    [({}, None), ({"logprobs": False}, None), ({"logprobs": True}, 0), ({"logprobs": True, "top_logprobs": 4}, 4)],
)
def test_logprobs_of_a_chat(body: Mapping[str, Any], logprobs: int | None) -> None:
    assert sampled(chat(**body))["logprobs"] == logprobs


def test_logprobs_of_a_completion_are_a_number() -> None:
    assert sampled(completion(logprobs=0))["logprobs"] == 0
    assert sampled(completion(logprobs=3))["logprobs"] == 3


def test_the_newer_name_of_the_limit_and_of_a_system_text() -> None:
    assert sampled(chat(max_completion_tokens=3))["max_tokens"] == 3
    assert sampled(chat(max_completion_tokens=3, max_tokens=3))["max_tokens"] == 3
    assert refused(lambda: chat(max_completion_tokens=3, max_tokens=4)).code == "request_type"
    asked = chat(messages=[{"role": "developer", "content": "canary"}, TURN])
    assert asked.prompt(generator()) == [{"role": "system", "content": "canary"}, TURN]


def test_a_turn_may_come_in_parts_and_as_it_was_answered() -> None:
    parts = [{"type": "text", "text": "the "}, {"type": "text", "text": "hen"}]
    messages = [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "yes", "refusal": None},
        TURN,
    ]
    assert chat(messages=messages).prompt(generator()) == [
        {"role": "user", "content": "the hen"},
        {"role": "assistant", "content": "yes"},
        TURN,
    ]


def test_a_prompt_is_a_text_or_a_list_of_one() -> None:
    assert completion().prompt(generator()) == completion(prompt=["one"]).prompt(generator(None)) == "one"
    for prompt in ([], ["a", "b"]):
        assert refused(partial(completion, prompt=prompt)).code == "request_unsupported"
    for tokens in ([1], [-1, 2], [[1]], [["canary"]]):
        assert refused(partial(completion, prompt=tokens)).code == "request_tokens"
    for wrong in (3, {"canary": 1}, None, [None]):
        assert refused(partial(completion, prompt=wrong)).code == "request_type"


@pytest.mark.parametrize("ask", [chat, completion])
@pytest.mark.parametrize(
    "body",
    [{"n": 2}, {"n": 0}, {"presence_penalty": 0.1}, {"frequency_penalty": -1}, {"logit_bias": {"7": 1}}],
)
def test_what_is_not_done_is_refused_by_its_name(ask: Callable[..., Completing], body: dict[str, Any]) -> None:
    fault = refused(lambda: ask(**body))
    assert fault.code == "request_unsupported"
    assert f"`{next(iter(body))}`" in str(fault)


@pytest.mark.parametrize(
    "body",
    [
        {"tools": [{"type": "function", "function": {"name": "canary"}}]},
        {"tool_choice": "required"},
        {"tool_choice": {"type": "function"}},
        {"store": True},
    ],
)
def test_what_is_not_done_in_a_chat(body: dict[str, Any]) -> None:
    assert refused(lambda: chat(**body)).code == "request_unsupported"


@pytest.mark.parametrize("body", [{"echo": True}, {"best_of": 2}, {"suffix": "canary"}])
def test_what_is_not_done_in_a_completion(body: dict[str, Any]) -> None:
    assert refused(lambda: completion(**body)).code == "request_unsupported"


def test_what_changes_nothing_is_taken() -> None:
    both = {
        "n": 1, "presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}, "user": "u", "stream": False,
        "stream_options": None, "stop": None, "seed": None, "temperature": None,
    }  # fmt: skip
    own = {"response_format": {"type": "text"}, "tools": [], "tool_choice": "none", "store": False}
    assert sampled(chat(**both, **own)) == DEFAULTS
    assert sampled(completion(**both, echo=False, best_of=1, suffix=None)) == DEFAULTS


@pytest.mark.parametrize("ask", [chat, completion])
@pytest.mark.parametrize(
    "body",
    [
        {"max_tokens": 0}, {"max_tokens": -1}, {"max_tokens": 10**30}, {"temperature": -0.1}, {"temperature": 1e9},
        {"top_p": 0}, {"top_p": 1.1}, {"top_k": -1}, {"min_p": 2}, {"repetition_penalty": 0}, {"seed": -1},
        {"seed": 2**53}, {"stop": ""}, {"stop": ["a"] * 17}, {"stop": "a" * 1001},
    ],
)  # fmt: skip
def test_what_is_out_of_bounds(ask: Callable[..., Completing], body: dict[str, Any]) -> None:
    fault = refused(lambda: ask(**body).sampling(50))
    assert fault.code == "generation_sampling"
    assert next(iter(body)) in str(fault)


@pytest.mark.parametrize("ask", [chat, completion])
@pytest.mark.parametrize(
    "body",
    [
        {"canary": 1}, {"max_tokens": "canary"}, {"max_tokens": 1.5}, {"temperature": "canary"}, {"stop": [1]},
        {"stop": {"canary": 1}}, {"stream": "canary"}, {"stream_options": {"canary": True}}, {"model": 7},
        {"metadata": {"canary": "a"}}, {"metadata": {"purpose": 7}}, {"logit_bias": ["canary"]}, {"top_logprobs": "1"},
    ],
)  # fmt: skip
def test_what_does_not_fit(ask: Callable[..., Completing], body: dict[str, Any]) -> None:
    assert refused(lambda: ask(**body)).code == "request_type"


@pytest.mark.parametrize(
    "messages",
    [
        None, "canary", {}, [None], ["canary"], [{}], [{"role": "user"}], [{"content": "canary"}],
        [{**TURN, "name": "canary"}],
        [{"role": 1, "content": "canary"}], [{"role": "user", "content": None}], [{**TURN, "refusal": "canary"}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "canary"}}]}],
        [{"role": "user", "content": [{"type": "text", "text": 1}]}], [{**TURN, "tool_calls": []}],
    ],
)  # fmt: skip
def test_turns_that_are_none(messages: object) -> None:
    assert refused(lambda: chat(messages=messages)).code == "request_type"


def test_top_logprobs_go_with_logprobs() -> None:
    assert refused(lambda: chat(top_logprobs=3)).code == "request_type"


def test_a_model_is_asked_for_what_it_is_for() -> None:
    assert refused(lambda: chat().prompt(EMBEDDER)).code == "request_task"
    assert refused(lambda: completion().prompt(EMBEDDER)).code == "request_task"
    assert refused(lambda: chat().prompt(generator(None))).code == "request_chat"
    assert completion().prompt(generator(None)) == "one"


def test_the_metadata_are_the_context() -> None:
    context = {"purpose": "care", "legal_basis": "contract", "data": "health"}
    assert chat(metadata=context).said == completion(metadata=context).said == context


@pytest.mark.parametrize("read", [read_chat, read_completion])
def test_millions_of_values_are_refused_before_they_are_made(read: Callable[..., Completing]) -> None:
    for body in (
        b'{"model": "m", "messages": [' + b'{"role":"user","content":"a"},' * 200_000 + b"{}]}",
        b'{"model": "m", "prompt": "a", "messages": [], "stop": [' + b'"a",' * 500_000 + b'"a"]}',
        b'{"model": "m", "logit_bias": {' + b",".join(b'"%d":1' % number for number in range(100_000)) + b"}}",
    ):
        assert refused(partial(read, body, {})).code == "input_too_large"


@pytest.mark.parametrize("read", [read_chat, read_completion])
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"[" * 100_000, b'{"model": ' + b"[" * 100_000, b"\xff", b'"canary"']
)
def test_what_is_no_body(read: Callable[..., Completing], body: bytes) -> None:
    assert refused(lambda: read(body, {})).code in ("request_malformed", "request_type", "input_too_large")


@given(body=JSON, canary=st.just("c4nary"))
def test_no_value_is_ever_repeated(body: object, canary: str) -> None:
    for read, field in ((read_chat, "messages"), (read_completion, "prompt")):
        text = json.dumps({"model": canary, field: body, canary: canary}).encode()
        assert canary not in str(refused(partial(read, text, {})))


def test_an_answer_is_held_to_what_is_asked() -> None:
    schema = {"type": "object", "properties": {"ward": {"type": "integer"}}}
    named = {"type": "json_schema", "json_schema": {"name": "ward", "schema": schema, "strict": True}}
    assert chat(response_format=named).sampling(99).constraint == {"schema": schema}
    assert chat(response_format={"type": "json_object"}).sampling(99).constraint == {"schema": {"type": "object"}}
    assert chat(response_format={"type": "text"}).sampling(99).constraint is None
    assert completion(regex="[0-9]+").sampling(99).constraint == {"regex": "[0-9]+"}
    assert completion(choice=["yes", "no"], lookup=True).sampling(99).constraint == {"choice": ["yes", "no"]}
    for wrong in ({"type": "xml"}, {"type": "json_schema"}, {"type": "text", "json_schema": {"name": "a"}}):
        assert refused(partial(chat, response_format=wrong)).code == "request_type"
