"""BentoML: a service of one worker a core. No key, no gate, no record."""

from __future__ import annotations

from typing import Any

import bentoml
from encoder import Encoder


@bentoml.service(workers="cpu_count", traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Embedder:
    def __init__(self) -> None:
        self.encoder = Encoder()

    @bentoml.api(route="/v1/embeddings")
    def embeddings(self, model: str, input: str) -> dict[str, Any]:
        return self.encoder.answer(model, input)
