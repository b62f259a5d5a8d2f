"""MLServer: a runtime of its own for the Open Inference Protocol. No key, no gate, no record."""

from __future__ import annotations

from encoder import Encoder
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Embedder(MLModel):
    async def load(self) -> bool:
        self.encoder = Encoder()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        texts = StringCodec.decode_input(payload.inputs[0])
        output = NumpyCodec.encode_output("embedding", self.encoder.embed(texts))
        return InferenceResponse(model_name=self.name, outputs=[output])
