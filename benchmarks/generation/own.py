"""SmolLM2-135M pressed by recipes of the toolkit, each kept in .cache with its box: to press one takes minutes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from time import perf_counter

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from toolkit.box import Box, Context
from toolkit.bundle import Bundle
from toolkit.compress import compress
from toolkit.compress.intake import taken_in
from toolkit.compress.source import Generates
from toolkit.model import Model
from toolkit.plan import Plan
from toolkit.runtime.decoding import Prompter
from toolkit.runtime.sampling import Sampling

__all__ = ["KEPT", "Original", "Own", "logs", "threads"]

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / ".cache" / "benchmarks" / "generation"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"

Numbers = NDArray[np.float32]


def threads() -> int:
    """All cores of the machine, which every candidate gets."""
    return os.cpu_count() or 1


class Original:
    """The GGUF file, its tokens, and the graph of floats that it is made to: the parent of all that is pressed."""

    def __init__(self) -> None:
        where = [sys.executable, str(ROOT / "examples" / "models.py"), "--where", "smollm2"]
        self.path = Path(subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip()) / FILE
        source = taken_in(self.path)
        assert isinstance(source, Generates)  # noqa: S101 - it is a decoder
        assert source.tokenizer is not None  # noqa: S101 - and has a tokenizer
        self.tokenizer, self.rounded = source.tokenizer, source.generation.rounded
        self.prompter = Prompter(source.tokenizer, source.generation)
        self.graph = KEPT / "fp32.onnx"
        if not self.graph.exists():
            self.graph.write_bytes(source.load().export())

    @cached_property
    def logits(self) -> Callable[[Sequence[int]], Numbers]:
        """Those of FP32, of each token of a text."""
        return _logits(self.graph)


class Own:
    """A bundle. It is asked as a user asks it, through the gate and into the journal."""

    def __init__(self, recipe: str, original: Original, texts: Sequence[str]) -> None:
        """`texts` are those that it is measured on when it is pressed."""
        box = _box()
        path = KEPT / "box" / f"{recipe}.bundle"
        if not path.exists():
            print(f"  press: {recipe}", flush=True)
            settings = KEPT / "box" / "sealpress.toml"
            compress(original.path, recipe=recipe, evaluate=texts, out=path, settings=settings)
        bundle = Bundle.read(path, box.trusted())
        self.size = bundle.measurements.after.size_bytes
        self.logits = _logits(path / "model.onnx")
        self._model = Model(bundle, box, Plan(threads=threads()))

    def read(self, prompt: str, ids: Sequence[int]) -> float:
        """Tokens of a prompt a second, until the first token is there."""
        began = perf_counter()
        with self._model.stream(prompt, Sampling.checked(max_tokens=1), Context(purpose="search")) as stream:
            next(stream)
            taken = perf_counter() - began
        return len(ids) / taken

    def written(self, prompt: str, tokens: int) -> float:
        """Tokens a second after the first, of so many."""
        with self._model.stream(prompt, Sampling.checked(max_tokens=tokens), Context(purpose="search")) as stream:
            next(stream)
            began = perf_counter()
            made = sum(1 for _ in stream)
            return made / (perf_counter() - began)


def logs(logits: Numbers) -> Numbers:
    """The logarithms of the probabilities, row by row."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    found: Numbers = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found


def _logits(path: Path) -> Callable[[Sequence[int]], Numbers]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    caches = [one for one in session.get_inputs() if one.name.startswith("past_key_values.")]
    empty = {one.name: np.zeros((1, one.shape[1], 0, one.shape[3]), np.float32) for one in caches}

    def of(ids: Sequence[int]) -> Numbers:
        given = {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64)}
        found: Numbers = session.run(["logits"], {**given, **empty, "num_logits_to_keep": np.zeros(1, np.int64)})[0][0]
        return found

    return of


def _box() -> Box:
    folder = KEPT / "box"
    if not folder.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        subprocess.run([Path(sys.executable).with_name("sealpress"), "init", folder], check=True)
    return Box(folder / "sealpress.toml")
