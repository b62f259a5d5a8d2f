"""LitServe: WORKERS PORT. No key, no gate, no record."""

import sys
from typing import Any

import litserve
from encoder import Encoder


class Embedder(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.encoder = Encoder()

    def decode_request(self, request: dict) -> dict:  # type: ignore[type-arg] # it reads this type
        return request

    def predict(self, request: dict[str, Any]) -> dict[str, Any]:
        return self.encoder.answer(request["model"], request["input"])

    def encode_response(self, answer: dict[str, Any]) -> dict[str, Any]:
        return answer


if __name__ == "__main__":
    workers, port = map(int, sys.argv[1:])
    server = litserve.LitServer(
        Embedder(api_path="/v1/embeddings"),
        accelerator="cpu",
        devices=1,
        workers_per_device=workers,
        fast_queue=True,  # what it advises beyond 100 requests a second
    )
    server.run(host="127.0.0.1", port=port, log_level="warning", generate_client_file=False)
