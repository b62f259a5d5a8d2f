"""The pressed bundle against the FP32 export of the same model, both on ONNX Runtime with one thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.frame import Result, in_turn, measured
from benchmarks.pressed import source
from policies.facts import Manifest
from policies.gate import Grant, covers, gate
from policies.payload import Payload
from toolkit.box import Box, Context
from toolkit.compress.calibration import Calibration
from toolkit.compress.ladder import named
from toolkit.compress.sources import huggingface, pretrained
from toolkit.new_box import create_box
from toolkit.runtime.session import Session

SHAPES = ((1, 32), (1, 128), (32, 128))  # batch, tokens


def run() -> list[Result]:
    found = huggingface.read(source())
    parent = Manifest(
        format=1, name=found.name, version="", digest=found.digest, task=found.task, licence="Apache-2.0",
        inputs=(), outputs=(),
    )  # fmt: skip
    with TemporaryDirectory() as folder:
        create_box(Path(folder) / "box")
        box = Box(Path(folder) / "box" / "sealpress.toml")
        in_force = box.policy.digest

        def work(grant: Grant) -> list[Result]:
            fp32 = pretrained.load(found).export()
            int8, _ = named("int8").steps[0].apply(fp32, Calibration(grant, in_force, []))
            sessions = {"ONNX Runtime FP32": _session(fp32, grant), "bundle (dynamic int8)": _session(int8, grant)}
            return [_at(shape, sessions, grant, in_force) for shape in SHAPES]

        call = box.call("compress", found.digest, Context())
        return gate(box.policy, parent, call, Payload.checked({"texts": []}), box.journal, work)


def _session(model: bytes, grant: Grant) -> Session:
    digest = sha256(model).hexdigest()
    covers(grant, digest)
    return Session(model, digest)


def _at(shape: tuple[int, int], sessions: dict[str, Session], grant: Grant, in_force: str) -> Result:
    ids = np.random.default_rng(0).integers(1000, 20_000, size=shape, dtype=np.int64)
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    repeats = max(3, 300 // (shape[0] * shape[1] // 16))
    rounds = in_turn(
        {name: _timed(session, grant, in_force, feed, repeats) for name, session in sessions.items()}, rounds=9
    )
    batch, tokens = shape
    return measured(
        f"bundle-{batch}x{tokens}",
        f"Milliseconds a run of all-MiniLM-L6-v2 at batch {batch} and {tokens} tokens, one thread, without tokenizer.",
        "ms",
        "ONNX Runtime FP32",
        rounds,
        notes=[],
        packages=["onnxruntime", "torch", "transformers"],
    )


def _timed(
    session: Session, grant: Grant, in_force: str, feed: dict[str, NDArray[Any]], repeats: int
) -> Callable[[], float]:
    def once() -> float:
        start = time.perf_counter()
        session.run(grant, in_force, lambda _: [feed] * repeats)
        return (time.perf_counter() - start) / repeats * 1e3

    return once
