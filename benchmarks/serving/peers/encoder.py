"""The same model for every peer and for the bare loop: tokenizer, session and pooling, and nothing else.

Runs in environments of their own, so it imports nothing of sealpress. The folder of the bundle is in $BUNDLE.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer


class Encoder:
    """Safe for threads."""

    def __init__(self, threads: int = 1) -> None:
        """`threads` are those within one run."""
        bundle = Path(os.environ["BUNDLE"])
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(bundle / "model.onnx", options, providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
        self._tokenizer.no_padding()
        self.tokens = 0

    def embed(self, texts: list[str]) -> Any:
        """(n, hidden), float32."""
        encoded = [self._tokenizer.encode(text) for text in texts]
        shape = len(encoded), max(len(one.ids) for one in encoded)
        ids, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for row, one in enumerate(encoded):
            ids[row, : len(one.ids)] = one.ids
            mask[row, : len(one.ids)] = 1
        self.tokens = int(mask.sum())
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        (hidden,) = self._session.run(None, feed)
        weights = (mask / mask.sum(axis=1, keepdims=True)).astype(np.float32)
        pooled = np.matmul(weights[:, None], hidden)[:, 0]
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)

    def answer(self, model: str, text: str) -> dict[str, Any]:
        """One text, answered as OpenAI's protocol has it."""
        vector = self.embed([text])[0].tolist()
        data = [{"object": "embedding", "index": 0, "embedding": vector}]
        return {"object": "list", "data": data, "model": model, "usage": {"prompt_tokens": self.tokens}}
