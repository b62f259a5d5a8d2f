"""The peer: the same model behind FastAPI as most people would write it. No key, no gate, no record."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI
from pydantic import BaseModel
from tokenizers import Tokenizer

bundle = Path(os.environ["BUNDLE"])
session = ort.InferenceSession(bundle / "model.onnx", providers=["CPUExecutionProvider"])
tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
tokenizer.no_padding()
app = FastAPI()


class Request(BaseModel):
    model: str
    input: str


@app.get("/readyz")
def ready() -> str:
    return "ready"


@app.post("/v1/embeddings")
def embeddings(request: Request) -> dict[str, object]:
    ids = np.array([tokenizer.encode(request.input).ids], dtype=np.int64)
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    (hidden,) = session.run(None, feed)
    mean = hidden.mean(axis=1)[0]
    vector = mean / np.linalg.norm(mean)
    data = [{"object": "embedding", "index": 0, "embedding": vector.tolist()}]
    return {"object": "list", "data": data, "model": request.model, "usage": {"prompt_tokens": ids.size}}
