"""The ceiling: tokenizer and session in a bare loop on one thread a core, nothing else. Prints texts a second.

Run by benchmarks.server as a process of its own, with the bundle, the text and the seconds as arguments.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

bundle, text, seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(bundle / "model.onnx", options, providers=["CPUExecutionProvider"])
tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
tokenizer.no_padding()


def embed() -> None:
    ids = np.array([tokenizer.encode(text).ids], dtype=np.int64)
    mask = np.ones_like(ids)
    feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    (hidden,) = session.run(None, feed)
    mean = hidden.mean(axis=1)
    mean / np.linalg.norm(mean)


def lane(counts: list[int], until: float) -> None:
    count = 0
    while time.perf_counter() < until:
        embed()
        count += 1
    counts.append(count)


for _ in range(20):
    embed()
counts: list[int] = []
start = time.perf_counter()
lanes = [threading.Thread(target=lane, args=(counts, start + seconds)) for _ in os.sched_getaffinity(0)]
for thread in lanes:
    thread.start()
for thread in lanes:
    thread.join()
print(sum(counts) / (time.perf_counter() - start))
