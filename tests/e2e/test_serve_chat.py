"""The `openai` package, unchanged, against a server of two processes with a tiny model that generates."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from functools import partial
from typing import Any

import openai
import pytest

from tests.conftest import Shared
from tests.decoders import decoder_box
from tests.e2e.served import Served, bearer, command, records, until, verified

NAME = "tiny-w8-t8"
TURNS: list[Any] = [{"role": "system", "content": "Speak."}, {"role": "user", "content": "the hen"}]
SAMPLED: dict[str, Any] = {"max_tokens": 24, "temperature": 1.0, "seed": 5}


def ended(server: Served, call: str) -> bool:
    return any("outcome" in one for one in records(server.box).get(call, []))


@pytest.fixture(scope="module")
def server(shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("chat")
    shutil.copytree(decoder_box(shared).parent, folder, dirs_exist_ok=True)
    with Served(folder / "box", "--workers", "2") as server:
        yield server
        if server.http.is_closed:
            return
        assert server.end() == 0


@pytest.fixture(scope="module")
def key(server: Served) -> dict[str, Any]:
    return server.key("--purpose", "search")


@pytest.fixture(scope="module")
def client(server: Served, key: dict[str, Any]) -> Iterator[openai.OpenAI]:
    with server.client(key) as client:
        yield client


def test_the_text_is_that_of_the_embedded_call(server: Served, client: openai.OpenAI) -> None:
    asked = ("chat", "tiny.bundle", "--text", "the hen", "--max-tokens", "24", "--purpose", "search")
    (said,) = json.loads(command(server.box, *asked))["answers"]
    turns: list[Any] = [{"role": "user", "content": "the hen"}]
    whole = client.chat.completions.create(model=NAME, messages=turns, max_completion_tokens=24)
    assert whole.choices[0].message.content == said["text"]
    assert whole.usage is not None
    assert (whole.usage.completion_tokens, whole.usage.prompt_tokens) == (24, said["usage"]["prompt_tokens"])
    # several, so that both processes are asked
    for _ in range(4):
        with server.client({"key": client.api_key}) as other:
            stream = other.chat.completions.create(model=NAME, messages=turns, max_completion_tokens=24, stream=True)
            assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == said["text"]


def test_a_chat_goes_on_with_what_was_answered(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(model=NAME, messages=TURNS, **SAMPLED)
    turns: list[Any] = [
        *TURNS,
        first.choices[0].message,
        {"role": "user", "content": [{"type": "text", "text": "and"}]},
    ]
    second = client.chat.completions.create(model=NAME, messages=turns, **SAMPLED)
    assert first.usage
    assert second.usage
    assert second.usage.prompt_tokens > first.usage.prompt_tokens
    assert second.choices[0].finish_reason == "length"


def test_a_stream_with_usage_logprobs_and_what_is_ours(client: openai.OpenAI) -> None:
    ours = {"top_k": 20, "min_p": 0.01, "repetition_penalty": 1.1, "metadata": {"purpose": "search"}}
    stream = client.chat.completions.create(
        model=NAME, messages=TURNS, **SAMPLED, stream=True, stream_options={"include_usage": True},
        logprobs=True, top_logprobs=2, extra_body=ours,
    )  # fmt: skip
    chunks = list(stream)
    last = chunks.pop()
    assert last.usage is not None
    assert last.usage.completion_tokens == 24
    tokens = [
        one for chunk in chunks for one in (chunk.choices[0].logprobs and chunk.choices[0].logprobs.content) or []
    ]
    assert len(tokens) == 24
    assert {len(one.top_logprobs) for one in tokens} == {2}
    assert chunks[-1].choices[0].finish_reason == "length"
    assert (last.model_extra or {})["receipt"]
    first = chunks[0].model_extra or {}
    assert first["seed"] == 5
    assert "Apache-2.0" in first["attribution"]


def test_a_completion_stops_at_a_text(client: openai.OpenAI) -> None:
    whole = client.completions.create(model=NAME, prompt="the hen", **SAMPLED, logprobs=1).choices[0]
    assert whole.logprobs is not None
    assert whole.logprobs.tokens is not None
    assert len(whole.logprobs.tokens) == 24
    stop = whole.text[5:7]
    cut = client.completions.create(model=NAME, prompt="the hen", **SAMPLED, stop=[stop]).choices[0]
    assert (cut.text, cut.finish_reason) == (whole.text[: whole.text.find(stop)], "stop")


def test_an_answer_keeps_to_a_schema_a_choice_or_an_expression(client: openai.OpenAI) -> None:
    ward = {"type": "object", "properties": {"ward": {"enum": [3, 4]}}, "required": ["ward"]}
    form: Any = {
        "type": "json_schema",
        "json_schema": {"name": "ward", "schema": {**ward, "additionalProperties": False}},
    }
    asked = client.chat.completions.create(model=NAME, messages=TURNS, max_tokens=60, response_format=form)
    assert json.loads(asked.choices[0].message.content or "")["ward"] in {3, 4}
    events = client.chat.completions.create(
        model=NAME, messages=TURNS, max_tokens=20, stream=True, extra_body={"choice": ["the hen", "the cat"]}
    )
    said = "".join(chunk.choices[0].delta.content or "" for chunk in events if chunk.choices)
    assert said in {"the hen", "the cat"}
    digits = client.completions.create(model=NAME, prompt="the hen", max_tokens=9, extra_body={"regex": "[0-9]{3}"})
    assert digits.choices[0].text.isdigit()


def test_refusals_are_those_of_the_package(client: openai.OpenAI, server: Served) -> None:
    with pytest.raises(openai.BadRequestError) as unsupported:
        client.chat.completions.create(model=NAME, messages=TURNS, n=2)
    assert unsupported.value.code == "request_unsupported"
    remote: Any = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"$ref": "https://example.org/a"}}}
    with pytest.raises(openai.BadRequestError) as form:
        client.chat.completions.create(model=NAME, messages=TURNS, response_format=remote)
    assert form.value.code == "generation_constraint"
    with pytest.raises(openai.BadRequestError) as long:
        client.completions.create(model=NAME, prompt="the hen", max_tokens=1000, stream=True)
    assert long.value.code == "generation_context"
    with server.client(server.key()) as bare, pytest.raises(openai.PermissionDeniedError) as denied:
        bare.chat.completions.create(model=NAME, messages=TURNS, stream=True)
    assert denied.value.code == "denied"


def test_who_leaves_a_stream_ends_it_and_that_is_on_record(server: Served, key: dict[str, Any]) -> None:
    body = {"model": NAME, "prompt": "the hen", "max_tokens": 250, "stream": True, "temperature": 1.0, "top_k": 50}
    for seed in range(20):  # until one was not at its end yet
        with server.http.stream("POST", "/v1/completions", json={**body, "seed": seed}, headers=bearer(key)) as answer:
            assert answer.status_code == 200
            next(answer.iter_bytes())
        call = answer.headers["x-decision-id"]
        until(partial(ended, server, call))
        (outcome,) = [one["outcome"] for one in records(server.box)[call] if "outcome" in one]
        if outcome["code"] == "generation_stopped":
            break
    assert (outcome["code"], outcome["ok"]) == ("generation_stopped", False)
    assert 1 <= outcome["usage"]["answer_tokens"] < 250


def test_the_metrics_are_those_of_both_processes(server: Served) -> None:
    metrics = dict(line.rsplit(" ", 1) for line in server.metrics().splitlines() if not line.startswith("#"))
    assert float(metrics[f'sealpress_first_token_seconds_count{{model="{NAME}"}}']) >= 9
    assert float(metrics[f'sealpress_tokens_total{{model="{NAME}",of="answer"}}']) > 24 * 8
    assert float(metrics['sealpress_requests_total{route="/v1/chat/completions",status="200"}']) >= 8


def test_what_is_inside_is_answered_when_the_server_ends(server: Served, key: dict[str, Any]) -> None:
    """Comes last: the server is gone after it."""
    body = {"model": NAME, "prompt": "the hen", "max_tokens": 200, "stream": True, "temperature": 0}
    with server.http.stream("POST", "/v1/completions", json=body, headers=bearer(key)) as answer:
        lines = answer.iter_lines()
        first = next(lines)
        server._process.send_signal(signal.SIGTERM)
        rest = [line for line in lines if line]
    assert first.startswith("data: {")
    assert rest[-1] == "data: [DONE]"
    server.http.close()
    assert server.end() == 0
    assert verified(server.box)["ok"]
