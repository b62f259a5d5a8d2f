"""FastAPI as most people would write it. No key, no gate, no record."""

from __future__ import annotations

from encoder import Encoder
from fastapi import FastAPI
from pydantic import BaseModel

encoder = Encoder()
app = FastAPI()


class Request(BaseModel):
    model: str
    input: str


@app.post("/v1/embeddings")
def embeddings(request: Request) -> dict[str, object]:
    return encoder.answer(request.model, request.input)
