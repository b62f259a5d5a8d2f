"""Runs in the environment of OpenVINO and NNCF.

press FP32.onnx LEARN.npz RESULT.xml transformer|plain
serve MODEL: answers requests, a line of JSON each.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections import defaultdict

import numpy as np
import openvino


def press(fp32: str, learn: str, result: str, kind: str) -> None:
    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)
    batches: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    for key, array in np.load(learn).items():
        number, name = key.split("/")
        batches[number][name] = array
    model = openvino.Core().read_model(fp32)
    pressed = nncf.quantize(
        model,
        nncf.Dataset(list(batches.values())),
        model_type=nncf.ModelType.TRANSFORMER if kind == "transformer" else None,
        subset_size=len(batches),
    )
    openvino.save_model(pressed, result, compress_to_fp16=False)


def serve(path: str) -> None:
    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(path, "CPU", settings).create_infer_request()
    for line in sys.stdin:
        asked = json.loads(line)
        feeds = dict(np.load(asked["feeds"]))
        if asked["do"] == "answer":
            np.save(asked["result"], next(iter(request.infer(feeds).values())))
            print("{}", flush=True)
            continue
        taken = []
        for _ in range(asked["runs"]):
            start = time.perf_counter()
            request.infer(feeds)
            taken.append(time.perf_counter() - start)
        print(json.dumps({"seconds": float(np.median(taken))}), flush=True)


if __name__ == "__main__":
    {"press": press, "serve": serve}[sys.argv[1]](*sys.argv[2:])
