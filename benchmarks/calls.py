"""What the gate, the privacy scan and the sealed record cost a call."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec.structs import replace

from benchmarks.frame import Result, in_turn, measured
from policies.facts import Manifest, Outcome
from policies.gate import gate
from policies.payload import Payload
from policies.privacy import categories
from toolkit.box import Box, Context
from toolkit.new_box import create_box

CALLS = 500
SIGNER = "ed25519:none"  # there is no bundle, and so nobody who signed it
TEXT = "The third ward moved to the second floor; visiting hours stay as they were, from two to six. " * 11


def run() -> list[Result]:
    with TemporaryDirectory() as folder:
        create_box(Path(folder) / "box")
        box = Box(Path(folder) / "box" / "sealpress.toml")
        model = Manifest(
            format=1, name="none", version="1", digest="0" * 64, task="none", licence="MIT", inputs=(), outputs=()
        )
        payload = Payload.checked({"texts": [TEXT]})
        context = Context(purpose="search")
        sample = replace(box.call("infer", model.digest, context, SIGNER), sealed=box.journal.sealed)
        decision = box.policy.decide(model, sample)
        log = os.open(Path(folder) / "plain", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def whole() -> None:
            call = box.call("infer", model.digest, context, SIGNER)
            gate(box.policy, model, call, payload, box.journal, lambda _: None)

        def seal() -> None:
            box.journal.closed(box.journal.opened(sample, model, decision, payload), Outcome(ok=True))

        rounds = in_turn(
            {
                "gate, scan and seal": _timed(whole),
                "of it: scan": _timed(lambda: categories(payload.texts())),
                "of it: decide": _timed(lambda: box.policy.decide(model, sample)),
                "of it: seal (intent and outcome)": _timed(seal),
                "plain append of the payload": _timed(lambda: os.write(log, TEXT.encode())),
            },
            rounds=9,
        )
        box.journal.close()
    return [
        measured(
            "calls",
            f"Microseconds a call with one clean text of {len(TEXT)} characters, without any model, in one thread.",
            "us",
            "gate, scan and seal",
            rounds,
            notes=["Every call is decided by all rules of the packs base, gdpr and licence; see also `policy`."],
            packages=["sealpress", "cedarpy", "cryptography"],
        )
    ]


def _timed(work: Callable[[], object]) -> Callable[[], float]:
    def once() -> float:
        start = time.perf_counter()
        for _ in range(CALLS):
            work()
        return (time.perf_counter() - start) / CALLS * 1e6

    return once
