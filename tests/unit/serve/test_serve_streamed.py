"""Answers of a model that generates, from the request to the record: the real application around a tiny model."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import time
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from compliance.journal.errors import JournalError
from compliance.keys import from_text
from compliance.state.api_key_table import NAME as KEYS
from compliance.state.api_key_table import Defaults, Terms
from compliance.verify.mark import verify_mark
from compliance.verify.receipt import verify_receipt
from serve import streamed
from serve.places import Places
from tests.asking import Asking, until
from tests.commands import within
from tests.conftest import Shared
from tests.decoders import CONTEXT, SAID, decoder_box, said_box
from tests.serving import Running, serving
from tests.unit.serve.test_serve_openapi_answers import must_fit
from toolkit.box import Box, Context
from toolkit.bundle import Bundle
from toolkit.model import Model
from toolkit.runtime.cache import Cache
from toolkit.runtime.sampling import Sampling

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
NAME = "tiny-w8-t8"
TURNS = [{"role": "user", "content": "the hen"}]
SAMPLED: dict[str, Any] = {"max_tokens": 20, "temperature": 1.0, "top_k": 50, "seed": 5}

Scenario = Callable[[Running], Awaitable[None]]


def chat(**more: Any) -> dict[str, Any]:
    return {"model": NAME, "messages": TURNS, **SAMPLED, **more}


def text(**more: Any) -> dict[str, Any]:
    return {"model": NAME, "prompt": "the hen", **SAMPLED, **more}


@pytest.fixture
def place(shared: Shared, tmp_path: Path) -> Path:
    shutil.copytree(decoder_box(shared).parent, tmp_path, dirs_exist_ok=True)
    return tmp_path / "box"


@pytest.fixture
def run(place: Path) -> Callable[..., None]:
    """Runs a scenario on the box, with lines for [serve]."""

    def run(scenario: Scenario, limits: str = "") -> None:
        with (place / "sealpress.toml").open("a") as settings:
            settings.write(f"\n[serve]\n{limits}\n")
        box = Box(place / "sealpress.toml")
        with closing(box.journal):
            serving(box, scenario)

    return run


class Steps:
    """The steps of the real model, held up: each waits until there is one for it."""

    def __init__(self) -> None:
        self.made = 0
        self.open = Event()
        self.pause_s = 0.0

    def reached(self, number: int) -> bool:
        return self.made >= number

    def wait(self) -> None:
        assert self.open.wait(20)
        time.sleep(self.pause_s)
        self.made += 1


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    steps, step = Steps(), Cache.step

    def held(self: Cache, ids: Any) -> Any:
        steps.wait()
        return step(self, ids)

    monkeypatch.setattr(Cache, "step", held)
    return steps


@contextmanager
def embedded(place: Path) -> Iterator[Model]:
    box = Box(place / "sealpress.toml")
    with closing(box.journal):
        yield Model(Bundle.read(place / "tiny.bundle", box.trusted()), box)


def records(place: Path, call: str) -> list[dict[str, Any]]:
    """The metadata of what stands about a call."""
    read = within(place, "journal", "read", "--auditor-key", "../box-auditor/auditor.key", "--json")
    assert read.returncode == 0, read.stderr
    found = [one.get("metadata", {}) for one in json.loads(read.stdout)["records"]]
    return [one for one in found if call in json.dumps(one)]


def outcome(place: Path, call: str) -> dict[str, Any]:
    (found,) = [one["outcome"] for one in records(place, call) if "outcome" in one]
    return dict(found)


def places(server: Running) -> Places:
    (found,) = server.service.places
    return found


async def asked(server: Running, path: str, body: dict[str, Any], **headers: str) -> Asking:
    asking = Asking(server, path, body, **headers)
    await asking.task
    return asking


def pieces(asking: Asking) -> list[dict[str, Any]]:
    """The one choice of each event that has one."""
    return [event["choices"][0] for event in asking.events if event != "[DONE]" and event["choices"]]


def test_the_same_seed_gives_the_same_text_embedded_served_and_streamed(place: Path, run: Callable[..., None]) -> None:
    sampling, context = Sampling.checked(**SAMPLED), Context(purpose="search")
    with embedded(place) as model:
        expected = {}
        for path, prompt in ((CHAT, TURNS), (TEXT, "the hen")):
            with model.stream(prompt, sampling, context) as stream:
                list(stream)
            expected[path] = stream.text
    assert expected[CHAT] != expected[TEXT]

    async def scenario(server: Running) -> None:
        for _ in range(2):
            whole = json.loads((await asked(server, CHAT, chat())).text)
            assert whole["choices"][0]["message"] == {"role": "assistant", "content": expected[CHAT]}
            whole = json.loads((await asked(server, TEXT, text())).text)
            assert whole["choices"][0]["text"] == expected[TEXT]
            assert whole["usage"] == used(4)
            assert (whole["seed"], whole["choices"][0]["finish_reason"]) == (5, "length")
        found = pieces(await asked(server, CHAT, chat(stream=True)))
        assert "".join(one["delta"]["content"] for one in found) == expected[CHAT]
        found = pieces(await asked(server, TEXT, text(stream=True)))
        assert "".join(one["text"] for one in found) == expected[TEXT]
        assert [one["finish_reason"] for one in found] == [None] * (len(found) - 1) + ["length"]
        # four at a time, each by its own seed
        together = await asyncio.gather(*(asked(server, TEXT, text(seed=seed)) for seed in (5, 6, 5, 7)))
        texts = [json.loads(one.text)["choices"][0]["text"] for one in together]
        assert texts[0] == texts[2] == expected[TEXT]
        assert len(set(texts)) == 3

    run(scenario)


def test_an_answer_that_the_policy_ends_has_its_end_and_what_came_before(shared: Shared, tmp_path: Path) -> None:
    place = Path(shutil.copytree(said_box(shared), tmp_path / "box"))
    found: dict[bool, Asking] = {}

    async def scenario(server: Running) -> None:
        for stream in (False, True):
            body = {"model": "said-w8-t8", "prompt": "!", "max_tokens": 60, "stream": stream}
            found[stream] = await asked(server, TEXT, body, **{"X-Purpose": "product", "X-Legal-Basis": "contract"})
        await asked(server, TEXT, body | {"stream": False}, **{"X-Purpose": "search"})
        await asked(server, TEXT, body | {"max_tokens": 3}, **{"X-Purpose": "search"})
        await asked(server, TEXT, body, **{"X-Purpose": "assistance", "X-Legal-Basis": "contract"})
        told = {name: value for name, value in (await server.metrics()).items() if "output_findings_total" in name}
        of = 'sealpress_output_findings_total{category="email",model="said-w8-t8",obligation='
        assert told == {f'{of}"{kind}_output"}}': count for kind, count in (("stop", 2), ("redact", 1), ("note", 1))}

    box = Box(place / "sealpress.toml")
    with closing(box.journal):
        serving(box, scenario)
    whole = json.loads(found[False].text)
    choice = whole["choices"][0]
    assert SAID[:4].startswith(choice["text"])  # what was sure when the address was found
    assert (choice["finish_reason"], whole["found"]) == ("content_filter", {"email": 1})
    *events, last, done = found[True].events
    assert done == "[DONE]"
    assert "".join(one["choices"][0]["text"] for one in (*events, last)) == choice["text"]
    assert (last["choices"][0]["finish_reason"], last["found"]) == ("content_filter", {"email": 1})
    assert last["receipt"]


def used(prompt: int) -> dict[str, Any]:
    """What a prompt of so many tokens and an answer of 20 take."""
    counts = {"prompt_tokens": prompt, "completion_tokens": 20, "total_tokens": prompt + 20}
    return {**counts, "prompt_tokens_details": {"cached_tokens": 0}}


def test_a_stream_says_first_what_goes_with_it_and_last_its_receipt(place: Path, run: Callable[..., None]) -> None:
    found: list[Asking] = []

    async def scenario(server: Running) -> None:
        for options in ({}, {"stream_options": {"include_usage": True}}):
            found.append(await asked(server, CHAT, chat(stream=True, **options)))

    run(scenario)
    plain, counted = found
    for asking in found:
        assert asking.headers["content-type"].startswith("text/event-stream")
        call = asking.headers["x-decision-id"]
        assert "x-receipt" not in asking.headers  # it is not on record yet
        events = asking.events
        assert events.pop() == "[DONE]"
        assert {event["id"] for event in events} == {f"chatcmpl-{call}"}
        first, rest, last = events[0], events[1:], events[-1]
        assert first["seed"] == 5
        assert first["attribution"] == asking.headers["x-attribution"]
        assert first["choices"][0]["delta"]["role"] == "assistant"
        assert not any("seed" in one or "attribution" in one for one in rest)
        root = from_text(Box(place / "sealpress.toml").settings.journal.root)
        promise = verify_receipt(urlsafe_b64decode(last["receipt"]), root)
        assert promise.records
        said = "".join(one["choices"][0]["delta"]["content"] for one in events if one["choices"])
        assert verify_mark(last["mark"].encode(), root, said).call == call
        assert [event for event in events if "receipt" in event] == [last]
        assert outcome(place, call)["usage"] == {"tokens": 61, "prompt_tokens": 41, "answer_tokens": 20}
    assert plain.events[-2]["choices"][0]["finish_reason"] == "length"
    assert not any("usage" in event for event in plain.events[:-1])
    assert [event["usage"] for event in counted.events[:-2]] == [None] * (len(counted.events) - 2)
    assert (counted.events[-2]["choices"], counted.events[-2]["usage"]) == ([], used(41))


def test_logprobs_are_told_as_each_route_has_them(run: Callable[..., None]) -> None:
    async def scenario(server: Running) -> None:
        whole = json.loads((await asked(server, CHAT, chat(logprobs=True, top_logprobs=2))).text)
        tokens = whole["choices"][0]["logprobs"]["content"]
        assert len(tokens) == 20
        for one in tokens:
            assert one["logprob"] <= 0
            assert len(one["top_logprobs"]) == 2
            assert one["bytes"] is None or bytes(one["bytes"]).decode() == one["token"]
        streamed_ = pieces(await asked(server, CHAT, chat(logprobs=True, top_logprobs=2, stream=True)))
        assert [token for one in streamed_ for token in one["logprobs"]["content"]] == tokens
        told = json.loads((await asked(server, TEXT, text(logprobs=1))).text)["choices"][0]["logprobs"]
        assert {len(column) for column in told.values()} == {20}
        assert told["text_offset"][0] == 0
        parts = pieces(await asked(server, TEXT, text(logprobs=1, stream=True)))
        for name, column in told.items():
            assert [value for one in parts for value in one["logprobs"][name]] == column

    run(scenario)


def test_who_hangs_up_ends_the_run_before_the_next_token(place: Path, run: Callable[..., None], steps: Steps) -> None:
    calls: list[str] = []
    steps.pause_s = 0.01
    steps.open.set()

    async def scenario(server: Running) -> None:
        for whole in (False, True):
            asking = Asking(server, TEXT, text(max_tokens=200, stream=not whole))
            begun = steps.made
            await until(partial(steps.reached, begun + 5))
            asking.hang_up()
            made = steps.made
            await asking.task
            assert steps.made <= made + 2  # the one that was being made, and one that had begun by now
            assert (places(server).held, places(server).running) == (0, 0)
            if not whole:
                calls.append(asking.headers["x-decision-id"])
                assert "[DONE]" not in asking.text
        metrics = await server.metrics()
        assert metrics['sealpress_problems_total{code="request_abandoned"}'] == 2

    run(scenario)
    (call,) = calls
    assert outcome(place, call)["code"] == "generation_stopped"
    assert 1 <= outcome(place, call)["usage"]["answer_tokens"] < 200


def test_who_reads_slowly_holds_no_place(
    run: Callable[..., None],
) -> None:

    async def scenario(server: Running) -> None:
        slow = Asking(server, TEXT, text(stream=True))
        slow.taking.clear()
        await until(lambda: bool(server.service.places) and not places(server).running and not places(server).waiting)
        assert not slow.sent
        # the answer is whole, and another has its place
        assert (await asked(server, TEXT, text())).status == 200
        slow.taking.set()
        await slow.task
        assert slow.events[-1] == "[DONE]"
        (whole,) = json.loads((await asked(server, TEXT, text())).text)["choices"]
        assert "".join(one["text"] for one in pieces(slow)) == whole["text"]

    run(scenario, "answers = 1")


def test_who_takes_nothing_is_dropped_and_recorded_as_stopped(
    place: Path, run: Callable[..., None], steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamed, "STALL_S", 0.1)
    calls: list[str] = []
    steps.open.set()
    steps.pause_s = 0.01

    async def scenario(server: Running) -> None:
        stalled = Asking(server, TEXT, text(max_tokens=200, stream=True))
        await until(lambda: len(stalled.sent) > 1)
        stalled.taking.clear()
        await stalled.task
        assert stalled.aborted
        assert (places(server).held, places(server).running) == (0, 0)
        calls.append(stalled.headers["x-decision-id"])

    run(scenario)
    assert outcome(place, calls[0])["code"] == "generation_stopped"


def test_what_goes_wrong_in_a_stream_is_its_last_event(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise JournalError("journal_write", "no room")

    async def scenario(server: Running) -> None:
        with monkeypatch.context() as broken:
            broken.setattr(server.service._box.journal, "noted", full)
            asking, whole = Asking(server, TEXT, text(stream=True)), Asking(server, TEXT, text())
            await asyncio.gather(asking.task, whole.task)
        assert asking.status == 200
        problem = asking.events[-1]
        assert (problem["code"], problem["error"]["code"], problem["status"]) == ("journal_write", "journal_write", 503)
        assert "no room" not in asking.text
        # the last piece is not handed out, and nothing more is served
        assert not any(one["finish_reason"] for one in (event["choices"][0] for event in asking.events[:-1]))
        assert (whole.status, json.loads(whole.text)["code"]) == (503, "journal_write")
        assert (await asked(server, TEXT, text())).status == 503

    run(scenario)


def test_requests_are_admitted_by_tokens(place: Path, run: Callable[..., None], steps: Steps) -> None:
    async def scenario(server: Running) -> None:
        first = Asking(server, TEXT, text(max_tokens=200))
        await until(lambda: bool(server.service.places) and places(server).running == 1)
        second = Asking(server, TEXT, text(max_tokens=90))
        await until(lambda: places(server).waiting == 1)
        assert places(server).held == 204 + 94
        refused = await asked(server, TEXT, text(max_tokens=4))
        problem = json.loads(refused.text)
        assert (refused.status, problem["code"], problem["error"]["code"]) == (503, "tokens_full", "tokens_full")
        assert int(refused.headers["retry-after"]) >= 1
        metrics = await server.metrics()
        assert metrics['sealpress_tokens_held{model="tiny-w8-t8"}'] == 298
        assert metrics['sealpress_answers_running{model="tiny-w8-t8"}'] == 1
        assert metrics['sealpress_answers_waiting{model="tiny-w8-t8"}'] == 1
        steps.open.set()
        await asyncio.gather(first.task, second.task)
        assert (first.status, second.status) == (200, 200)
        assert places(server).held == 0
        assert (await asked(server, TEXT, text(max_tokens=4))).status == 200

    run(scenario, "answers = 1\ntokens = 300")


def test_one_that_alone_takes_more_than_there_may_be_is_taken_when_it_is_alone(run: Callable[..., None]) -> None:
    async def scenario(server: Running) -> None:
        assert (await asked(server, TEXT, text(max_tokens=100))).status == 200

    run(scenario, "tokens = 10")


def test_so_many_wait_and_no_more(run: Callable[..., None], steps: Steps) -> None:
    async def scenario(server: Running) -> None:
        some = [Asking(server, TEXT, text(max_tokens=4)) for _ in range(2)]
        await until(lambda: bool(server.service.places) and places(server).waiting == 1)
        refused = await asked(server, TEXT, text(max_tokens=4))
        assert json.loads(refused.text)["code"] == "queue_full"
        # what a request is told with its head
        busy = server.service.busy()
        assert busy is not None
        assert busy.code == "queue_full"
        steps.open.set()
        await asyncio.gather(*(one.task for one in some))
        assert server.service.busy() is None

    run(scenario, "answers = 1\nqueue = 1")


def test_the_time_that_a_request_gives_ends_its_wait_and_its_answer(
    place: Path, run: Callable[..., None], steps: Steps
) -> None:
    calls: list[str] = []

    async def scenario(server: Running) -> None:
        first = Asking(server, TEXT, text(max_tokens=200, stream=True), x_timeout_ms="400")
        await until(lambda: bool(server.service.places) and places(server).running == 1)
        waits = await asked(server, TEXT, text(), x_timeout_ms="50")
        assert json.loads(waits.text)["code"] == "deadline_exceeded"
        assert places(server).waiting == 0
        steps.pause_s = 0.02
        steps.open.set()
        await first.task
        assert first.events[-1]["code"] == "deadline_exceeded"
        calls.append(first.headers["x-decision-id"])

    run(scenario, "answers = 1")
    assert outcome(place, calls[0])["code"] == "generation_stopped"


def test_a_server_that_ends_says_so_and_records_it(place: Path, run: Callable[..., None], steps: Steps) -> None:
    calls: list[str] = []
    steps.open.set()
    steps.pause_s = 0.01

    async def scenario(server: Running) -> None:
        asking = Asking(server, TEXT, text(max_tokens=200, stream=True))
        await until(lambda: len(asking.sent) > 2)
        asking.task.cancel()  # as the server does once it has waited
        with pytest.raises(asyncio.CancelledError):
            await asking.task
        assert asking.events[-1]["error"]["code"] == "generation_stopped"
        calls.append(asking.headers["x-decision-id"])
        # and one that nobody cancels: the places end with the application
        running = Asking(server, TEXT, text(max_tokens=200, stream=True))
        await until(lambda: len(running.sent) > 2)
        calls.append(running.headers["x-decision-id"])
        places(server).close()
        await running.task
        assert running.events[-1]["error"]["code"] == "generation_stopped"

    run(scenario)
    assert [outcome(place, call)["code"] for call in calls] == ["generation_stopped"] * 2


BAD: list[tuple[str, dict[str, Any], int, str]] = [
    (TEXT, text(max_tokens=CONTEXT), 400, "generation_context"),
    (TEXT, text(prompt="the hen " * CONTEXT), 400, "generation_context"),
    (TEXT, text(prompt="the hen " * CONTEXT, max_tokens=None), 400, "generation_context"),
    (TEXT, text(max_tokens=0), 400, "generation_sampling"),
    (TEXT, text(max_tokens=-3), 400, "generation_sampling"),
    (TEXT, text(max_tokens=10**9), 400, "generation_sampling"),
    (TEXT, text(prompt=""), 400, "input_empty"),
    (TEXT, text(prompt="a" * 200_001), 413, "input_too_large"),
    (CHAT, chat(messages=[]), 400, "input_empty"),
    (CHAT, chat(messages=TURNS * 2), 400, "input_turns"),
    (CHAT, chat(messages=[{"role": "tool", "content": "a"}]), 400, "input_turns"),
    (CHAT, chat(messages=TURNS * 2049), 413, "input_too_large"),
    (CHAT, chat(model="other"), 404, "model_unknown"),
    (CHAT, chat(n=2), 400, "request_unsupported"),
    (CHAT, chat(messages=[{"role": "user", "content": "a" * 8_000_000}]), 413, "request_too_large"),
]


def test_bad_input_is_refused_before_anything_is_recorded(run: Callable[..., None]) -> None:
    async def scenario(server: Running) -> None:
        for path, body, status, code in BAD:
            for more in ({}, {"stream": True}):
                refused = await asked(server, path, {**body, **more})
                problem = json.loads(refused.text)
                assert (refused.status, problem["code"], problem["error"]["code"]) == (status, code, code)
                assert "x-decision-id" not in refused.headers
        assert not server.service.places

    run(scenario)


def test_a_refusal_of_the_gate_is_an_answer_with_its_findings(place: Path, run: Callable[..., None]) -> None:
    calls: list[str] = []

    async def scenario(server: Running) -> None:
        for more in ({}, {"stream": True}):
            refused = await asked(server, CHAT, chat(**more, metadata={"purpose": "marketing"}))
            problem = json.loads(refused.text)
            assert (refused.status, problem["code"]) == (403, "denied")
            assert "purpose.declared" in [one["rule"] for one in problem["findings"] if not one["ok"]]
            assert refused.headers["x-receipt"]
            calls.append(refused.headers["x-decision-id"])
        assert places(server).held == 0

    run(scenario)
    for call in calls:
        (opened,) = records(place, call)
        assert not opened["allowed"]


def test_answers_are_as_the_document_says(run: Callable[..., None]) -> None:
    async def scenario(server: Running) -> None:
        for path, bodies in (
            (CHAT, (chat(), chat(logprobs=True, top_logprobs=1), chat(stream=True))),
            (TEXT, (text(), text(logprobs=1), text(stream=True))),
        ):
            for body in bodies:
                must_fit(f"POST {path}", await server.http.post(path, json=body, headers=server.headers))
            for body, status in (({**bodies[0], "n": 2}, 400), ({**bodies[0], "metadata": {"purpose": "x"}}, 403)):
                must_fit(f"POST {path}", await server.http.post(path, json=body, headers=server.headers), status)

    run(scenario)


def test_what_a_replaced_model_has_begun_it_ends(run: Callable[..., None], steps: Steps) -> None:
    async def scenario(server: Running) -> None:
        some = [Asking(server, TEXT, text(stream=True)) for _ in range(2)]
        await until(lambda: bool(server.service.places) and places(server).waiting == 1)
        server.service.leave(places(server).model)
        assert not server.service.places
        steps.open.set()
        await asyncio.gather(*(one.task for one in some))
        assert [one.events[-1] for one in some] == ["[DONE]"] * 2
        assert (await asked(server, TEXT, text())).status == 200  # by other places

    run(scenario, "answers = 1")


def test_a_quota_counts_answers_and_gives_back_what_was_refused(place: Path, run: Callable[..., None]) -> None:
    async def scenario(server: Running) -> None:
        _, key = server.service._keys.create(0, Terms(defaults=Defaults(purpose="search")), calls=1)
        own = {"Authorization": f"Bearer {key}"}

        async def ask(**more: Any) -> Any:
            return await server.http.post(TEXT, json=text(**more), headers=own)

        assert (await ask(metadata={"purpose": "marketing"})).status_code == 403
        assert (await ask(prompt="")).status_code == 400
        assert (await ask()).status_code == 200
        refused = (await ask()).json()
        assert [one["rule"] for one in refused["findings"] if not one["ok"]] == ["base.quota"]

    run(scenario)


def test_tokens_of_a_key_are_counted_and_none_are_made_beyond_them(
    place: Path, run: Callable[..., None], steps: Steps
) -> None:
    def in_day(account: str) -> int:
        with closing(sqlite3.connect(place / "state" / KEYS)) as table:
            found = table.execute("SELECT in_day FROM tokens WHERE account = ?", (account,)).fetchone() or (0,)
        return int(found[0])

    async def scenario(server: Running) -> None:
        terms = Terms(defaults=Defaults(purpose="search"), tokens_per_day=70)
        made, key = server.service._keys.create(0, terms)
        own = {"Authorization": f"Bearer {key}"}

        async def ask(**more: Any) -> Any:
            return await server.http.post(TEXT, json=text(**more), headers=own)

        # while it is made it counts by what it may take
        running = asyncio.create_task(ask(max_tokens=60))
        await until(lambda: in_day(made.account) == 64)
        assert (await ask(max_tokens=3)).json()["code"] == "tokens_exceeded"
        steps.open.set()
        took = (await running).json()["usage"]["total_tokens"]
        assert in_day(made.account) == took <= 64
        # who is refused by the gate has taken none
        assert (await ask(max_tokens=1, metadata={"purpose": "marketing"})).status_code == 403
        assert in_day(made.account) == took
        steps.made = 0
        refused = await ask(max_tokens=70 - took - 3)
        assert (refused.status_code, steps.made) == (429, 0)
        assert 0 < int(refused.headers["retry-after"]) <= 86_400
        assert refused.json()["error"]["code"] == "tokens_exceeded"
        assert in_day(made.account) == took

    run(scenario)


def test_metrics_tell_of_first_tokens_and_of_each(run: Callable[..., None]) -> None:
    async def scenario(server: Running) -> None:
        await asked(server, TEXT, text())
        await asked(server, TEXT, text(stream=True))
        found = await server.metrics()
        of = f'model="{NAME}"'
        assert found[f"sealpress_first_token_seconds_count{{{of}}}"] == 2
        assert found[f"sealpress_token_seconds_count{{{of}}}"] == 2
        assert (
            0 < found[f"sealpress_token_seconds_sum{{{of}}}"] < found[f"sealpress_first_token_seconds_sum{{{of}}}"] + 60
        )
        assert found[f'sealpress_tokens_total{{{of},of="prompt"}}'] == 8
        assert found[f'sealpress_tokens_total{{{of},of="answer"}}'] == 40
        assert found[f"sealpress_queue_seconds_count{{{of}}}"] == 2
        assert found[f"sealpress_tokens_held{{{of}}}"] == 0

    run(scenario)


def test_raw_logits_of_the_next_token_come_beside_an_answer(run: Callable[..., None], steps: Steps) -> None:
    """The lanes of a model go on while its places are taken, and so does the event loop."""
    inputs = [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["the hen"]}]

    async def scenario(server: Running) -> None:
        answering = Asking(server, TEXT, text(temperature=0, top_k=0, logprobs=1, max_tokens=3))
        await until(lambda: bool(server.service.places) and places(server).running == 1)
        assert (await server.http.get("/livez")).status_code == 200
        raw = await server.http.post(f"/v2/models/{NAME}/infer", json={"inputs": inputs}, headers=server.headers)
        assert raw.status_code == 200, raw.text
        (logits,) = [one for one in raw.json()["outputs"] if one["name"] == "logits"]
        assert logits["shape"][0] == 1
        best = max(range(logits["shape"][1]), key=logits["data"].__getitem__)
        steps.open.set()
        await answering.task
        model = places(server).model
        assert model._generator is not None
        token = model._generator.prompter.tokenizer.decode([best], skip_special_tokens=False)
        assert json.loads(answering.text)["choices"][0]["logprobs"]["tokens"][0] == token

    run(scenario, "answers = 1")
