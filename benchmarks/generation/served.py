"""What the server adds to an answer that is streamed, and what it makes of four clients at once.

Both are asked as users ask them, through the gate and into the journal, with the settings of a new box: up to four
answers share a run, embedded and served. The clients are threads of this process, on the same cores.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, NamedTuple

from benchmarks.frame import Result, goal, in_turn, measured, times
from benchmarks.generation.candidates import PACKAGES, SMALL
from benchmarks.generation.own import KEPT, threads
from benchmarks.pressed import COMMAND
from benchmarks.serving.pool import Request
from benchmarks.serving.processes import running
from toolkit.box import Box, Context
from toolkit.bundle import Bundle
from toolkit.model import Model
from toolkit.plan import planned
from toolkit.runtime.sampling import Sampling

__all__ = ["run"]

EMBEDDED, ONE, FOUR = "embedded", "one client", "four clients"
WRITTEN, ROUNDS, PORT = 96, 5, 8317
WARDS = ("third", "fourth", "fifth", "sixth")
ASKED = "Write a long story about a nurse on the {} ward, her patients and her way home."
READY = Request(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")


class Written(NamedTuple):
    """One answer: the times of its first and its last text, in seconds, and its tokens after the first."""

    first: float
    last: float
    tokens: int


def run() -> list[Result]:
    """Tokens a second, embedded and served, about a minute. Raises BundleError where `speed` pressed nothing."""
    folder = KEPT / "box"
    settings = Box(folder / "sealpress.toml")
    bundle = Bundle.read(folder / f"{SMALL}.bundle", settings.trusted())
    model = Model(bundle, settings, planned(bundle, settings, threads()))
    made = subprocess.run([COMMAND, "key", "create", "--json"], cwd=folder, check=True, capture_output=True, text=True)
    command: list[str | Path] = [COMMAND, "serve", f"{SMALL}.bundle", "--port", str(PORT)]
    with (
        TemporaryDirectory() as scratch,
        running(command, PORT, READY, Path(scratch) / "log", cwd=folder, env=dict(os.environ)),
        ThreadPoolExecutor(len(WARDS)) as clients,
    ):
        ask = partial(_asked, bundle.manifest.name, json.loads(made.stdout)["key"])

        def embedded() -> float:
            return _rate([_streamed(model, WARDS[0])])

        def one() -> float:
            return _rate([ask(WARDS[0])])

        def four() -> float:
            return _rate(list(clients.map(ask, WARDS)))

        candidates = {EMBEDDED: embedded, ONE: one, FOUR: four}
        for candidate in candidates.values():
            candidate()  # what is done at the first answers is not what is measured
        rounds = in_turn(candidates, times(ROUNDS))
    return [
        measured(
            "generation-served",
            f"SmolLM2-135M by {SMALL}: tokens a second of all clients together, streamed by /v1/chat/completions, at "
            f"most {WRITTEN} each, from the first text to the last; clients and model on the same {threads()} cores",
            "tokens/s",
            EMBEDDED,
            rounds,
            notes=_said,
            packages=[*PACKAGES, "litestar", "uvicorn"],
        )
    ]


def _said(result: Result) -> list[str]:
    return [
        "Through gate and journal (`buffered`), with the settings of a new box, embedded and served.",
        goal("time of a token for one client, of that embedded", 1 / result.ratio(ONE), most=1.05),
        goal("four clients together, of one", result.median(FOUR) / result.median(ONE), least=1.5),
    ]


def _rate(answers: list[Written]) -> float:
    taken = max(one.last for one in answers) - min(one.first for one in answers)
    return sum(one.tokens for one in answers) / taken


def _turns(ward: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": ASKED.format(ward)}]


def _streamed(model: Model, ward: str) -> Written:
    sampling, context = Sampling.checked(max_tokens=WRITTEN), Context(purpose="search")
    with model.stream(_turns(ward), sampling, context) as stream:
        next(stream)
        first = perf_counter()
        for _ in stream:
            pass
    return Written(first, perf_counter(), stream.usage["answer_tokens"] - 1)


def _asked(name: str, key: str, ward: str) -> Written:
    body = {"model": name, "messages": _turns(ward), "max_tokens": WRITTEN, "stream": True}
    body["stream_options"] = {"include_usage": True}
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
    headers = {"Authorization": f"Bearer {key}", "X-Purpose": "search", "Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    answer = connection.getresponse()
    if answer.status != http.client.OK:
        raise RuntimeError(f"the server answers {answer.status}: {answer.read(500)!r}")
    read = [(perf_counter(), line) for line in answer if line.startswith(b"data: {")]
    connection.close()
    events: list[tuple[float, Any]] = [(at, json.loads(line[6:])) for at, line in read]
    texts = [at for at, event in events if event["choices"] and event["choices"][0]["delta"].get("content")]
    (usage,) = [event["usage"] for _, event in events if event.get("usage")]
    return Written(texts[0], texts[-1], usage["completion_tokens"] - 1)
