"""Runs in the environment of llama.cpp: serve FILE THREADS, or quantise FILE RESULT TYPE.

Takes requests as lines of JSON, and answers each with one.
"""

from __future__ import annotations

import ctypes
import json
import sys
from time import perf_counter
from typing import Any

import llama_cpp
import numpy as np

ROOM = 1024


def quantise(source: str, result: str, kind: str) -> None:
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
    settings.allow_requantize = True
    settings.nthread = 2
    if llama_cpp.llama_model_quantize(source.encode(), result.encode(), ctypes.byref(settings)):
        sys.exit(f"llama.cpp does not make {kind} of it")


class Model:
    def __init__(self, path: str, threads: int, *, every: bool) -> None:
        self._model = llama_cpp.Llama(
            model_path=path,
            n_ctx=ROOM,
            n_batch=512,
            n_threads=threads,
            n_threads_batch=threads,
            logits_all=every,
            verbose=False,
        )

    def lost(self, ids: list[int]) -> list[float]:
        """Minus the logarithm of the probability of each token but the first."""
        self._model.reset()
        self._model.eval(ids)
        logits = np.array(self._model.scores[: len(ids) - 1], np.float32)
        shifted = logits - logits.max(axis=-1, keepdims=True)
        found = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        return [-float(row[token]) for row, token in zip(found, ids[1:], strict=True)]

    def speed(self, ids: list[int], tokens: int) -> dict[str, float]:
        """Tokens of the prompt a second, and of what is written after it, the most probable one each time."""
        self._model.reset()
        began = perf_counter()
        self._model.eval(ids)
        token = self._next()
        read = perf_counter()
        for _ in range(tokens - 1):
            self._model.eval([token])
            token = self._next()
        return {"read": len(ids) / (read - began), "written": (tokens - 1) / (perf_counter() - read)}

    def _next(self) -> int:
        logits = llama_cpp.llama_get_logits_ith(self._model.ctx, -1)
        return int(np.ctypeslib.as_array(logits, (self._model.n_vocab(),)).argmax())


def serve(path: str, threads: int) -> None:
    # all logits take time: speed is measured without them
    fast, every = Model(path, threads, every=False), Model(path, threads, every=True)
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        answer: Any = every.lost(asked["ids"]) if asked["do"] == "lost" else fast.speed(asked["ids"], asked["tokens"])
        print(json.dumps(answer), flush=True)


if sys.argv[1] == "quantise":
    quantise(*sys.argv[2:])
else:
    serve(sys.argv[2], int(sys.argv[3]))
