"""Runs in the environment of Olive: FP32.onnx FOLDER, one pass of dynamic quantisation."""

from __future__ import annotations

import os
import sys

os.environ["OLIVE_DISABLE_TELEMETRY"] = "1"
from olive.workflows import run

run(
    {
        "input_model": {"type": "OnnxModel", "model_path": sys.argv[1]},
        "passes": {"dynamic": {"type": "OnnxDynamicQuantization"}},
        "output_dir": sys.argv[2],
        "cache_dir": f"{sys.argv[2]}/cache",
        "log_severity_level": 3,
    }
)
