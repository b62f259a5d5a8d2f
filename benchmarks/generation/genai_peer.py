"""Runs in the environment of onnxruntime-genai: FOLDER THREADS.

Takes requests as lines of JSON, and answers each with one. Losses are those of the model's graph in ONNX Runtime, as
onnxruntime-genai runs it: it hands out the logits of the last token alone.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime
import onnxruntime_genai

ROOM = 1024


class Model:
    def __init__(self, folder: Path, threads: int) -> None:
        config = onnxruntime_genai.Config(str(folder))
        config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}))
        self._model = onnxruntime_genai.Model(config)
        self._width = int(
            json.loads((folder / "genai_config.json").read_text("utf-8"))["model"]["decoder"]["head_size"]
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._graph = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])

    def lost(self, ids: list[int]) -> list[float]:
        """Minus the logarithm of the probability of each token but the first."""
        given: dict[str, Any] = {}
        for one in self._graph.get_inputs():
            if one.name.startswith("past_key_values"):
                given[one.name] = np.zeros((1, one.shape[1], 0, self._width), np.float32)
            else:
                given[one.name] = np.ones((1, len(ids)), np.int64)
        given["input_ids"] = np.array([ids])
        if "position_ids" in given:
            given["position_ids"] = np.arange(len(ids))[None]
        logits = self._graph.run(["logits"], given)[0][0, :-1]
        shifted = logits - logits.max(axis=-1, keepdims=True)
        found = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        return [-float(row[token]) for row, token in zip(found, ids[1:], strict=True)]

    def speed(self, ids: list[int], tokens: int) -> dict[str, float]:
        """Tokens of the prompt a second, and of what is written after it, the most probable one each time."""
        settings = onnxruntime_genai.GeneratorParams(self._model)
        settings.set_search_options(max_length=ROOM, min_length=ROOM, do_sample=False)
        generator = onnxruntime_genai.Generator(self._model, settings)
        began = perf_counter()
        generator.append_tokens(np.array([ids], np.int32))
        generator.generate_next_token()
        read = perf_counter()
        for _ in range(tokens - 1):
            generator.generate_next_token()
        return {"read": len(ids) / (read - began), "written": (tokens - 1) / (perf_counter() - read)}


model = Model(Path(sys.argv[1]), int(sys.argv[2]))
for line in sys.stdin:
    asked: dict[str, Any] = json.loads(line)
    answer: Any = model.lost(asked["ids"]) if asked["do"] == "lost" else model.speed(asked["ids"], asked["tokens"])
    print(json.dumps(answer), flush=True)
