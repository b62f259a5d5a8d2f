"""The ceiling: tokenizer, session and pooling in a bare loop, which serves nobody.

LANES THREADS BATCH SECONDS: so many threads of Python, each with runs of so many threads and so many texts. Says
"ready" once the model has answered, begins when a line comes in, and prints what it did as JSON. $TEXTS is a file with
the texts as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from itertools import cycle, islice
from pathlib import Path

from encoder import Encoder

lanes, threads, batch = map(int, sys.argv[1:4])
seconds = float(sys.argv[4])
encoder = Encoder(threads)
texts = json.loads(Path(os.environ["TEXTS"]).read_text("utf-8"))
encoder.embed(texts[:batch])
print("ready", flush=True)
sys.stdin.readline()


def loop(counts: list[int], until: float, texts: list[str]) -> None:
    asked = cycle(texts)
    count = 0
    while time.perf_counter() < until:
        encoder.embed(list(islice(asked, batch)))
        count += batch
    counts.append(count)


def run(seconds: float) -> list[int]:
    counts: list[int] = []
    until = time.perf_counter() + seconds
    loops = [threading.Thread(target=loop, args=(counts, until, texts[lane:] + texts[:lane])) for lane in range(lanes)]
    for one in loops:
        one.start()
    for one in loops:
        one.join()
    return counts


def pss_mb() -> float:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


run(min(1.0, seconds))  # warm up
start, before = time.perf_counter(), time.process_time()
counts = run(seconds)
took, cpu = time.perf_counter() - start, time.process_time() - before
tokens = []
for text in texts:
    encoder.embed([text])
    tokens.append(encoder.tokens)
done = {"per_s": sum(counts) / took, "cpu_ms": cpu / sum(counts) * 1e3, "pss_mb": pss_mb()}
print(json.dumps(done | {"tokens": sum(tokens) / len(tokens)}))
