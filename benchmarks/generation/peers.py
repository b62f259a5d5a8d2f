"""Other engines for language models, each in an environment of its own, with what they make of the same GGUF file."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.frame import environment
from benchmarks.generation.own import KEPT, Original, threads

__all__ = ["Peer", "engines"]

HERE = Path(__file__).resolve().parent
LLAMA = ("llama-cpp-python==0.3.36",)
GENAI = (
    "onnxruntime-genai==0.18.0",
    "onnxruntime==1.32.0",
    "onnx==1.23.2",
    "onnx-ir==1.1.0",
    "torch==2.13.0",
    "transformers==5.23.0",
)
# the name of a type for its quantiser
LLAMA_TYPES = ("Q4_0", "Q4_K_M", "Q8_0")
GENAI_TYPES = {"FP32": "fp32", "int4": "int4"}


class Peer:
    """An engine with a model, in a process that stays alive and answers requests. `size` is in bytes."""

    def __init__(self, size: int, *command: str | Path) -> None:
        self.size = size
        self._process = subprocess.Popen(
            [*command, str(threads())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def lost(self, ids: Sequence[int]) -> NDArray[np.float64]:
        """Minus the logarithm of the probability of each token of a text but the first."""
        return np.array(self._asked({"do": "lost", "ids": list(ids)}))

    def speed(self, ids: Sequence[int], tokens: int) -> Mapping[str, float]:
        """Tokens a second: `read` of a prompt, until the first token is there, and `written` after it."""
        found: Mapping[str, float] = self._asked({"do": "speed", "ids": list(ids), "tokens": tokens})
        return found

    def close(self) -> None:
        """Let its process end."""
        self._process.communicate()

    def _asked(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin is not None  # noqa: S101 - both are pipes
        assert self._process.stdout is not None  # noqa: S101 - both are pipes
        print(json.dumps(request), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise ChildProcessError(f"{self._process.args!r} ended with {self._process.wait()}")
        return json.loads(line)


def engines(original: Original) -> tuple[dict[str, Peer], list[str]]:
    """Those that can be had here, by name, and why the others cannot."""
    found: dict[str, Peer] = {}
    missing = []
    for engine in (_llama, _genai):
        try:
            found |= engine(original)
        except (OSError, subprocess.CalledProcessError) as error:
            missing.append(f"{engine.__name__[1:]} could not be had here: {str(error)[:200]}")
    return found, missing


def _llama(original: Original) -> dict[str, Peer]:
    """llama.cpp on the file as it is, and on what its own quantiser makes of it: of weights that have few bits."""
    python, script = environment("llama", *LLAMA, "numpy"), HERE / "llama_peer.py"
    files = {f"llama.cpp {original.path.stem.rpartition('.')[2]}": original.path}
    for kind in LLAMA_TYPES:
        path = KEPT / f"{kind}.gguf"
        if not path.exists():
            subprocess.run([python, script, "quantise", original.path, path, kind], check=True, capture_output=True)
        files[f"llama.cpp {kind}"] = path
    return {name: Peer(path.stat().st_size, python, script, "serve", path) for name, path in files.items()}


def _genai(original: Original) -> dict[str, Peer]:
    """onnxruntime-genai, on what its own builder makes of the weights as floats."""
    python, script = environment("genai", *GENAI), HERE / "genai_peer.py"
    source = KEPT / "huggingface"
    if not source.exists():
        subprocess.run([sys.executable, HERE / "as_huggingface.py", original.path, source], check=True)
    found = {}
    for name, kind in GENAI_TYPES.items():
        folder = KEPT / f"genai-{kind}"
        if not (folder / "genai_config.json").exists():
            builder = [python, "-m", "onnxruntime_genai.models.builder", "-i", source, "-o", folder, "-p", kind]
            subprocess.run([*builder, "-e", "cpu", "-c", KEPT / "genai-cache"], check=True, capture_output=True)
        size = sum(path.stat().st_size for path in folder.glob("model.onnx*"))
        found[f"onnxruntime-genai {name}"] = Peer(size, python, script, folder)
    return found
