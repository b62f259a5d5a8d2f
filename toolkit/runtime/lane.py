"""A lane: one tokenizer and one session on one thread, which turns the texts of a grant into embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from tokenizers import Tokenizer

from policies.gate import Grant, charge
from policies.payload import InputError, Payload
from toolkit.runtime.session import ModelError, Session

__all__ = ["Lane", "TextInput", "checked_texts"]

MAX_TEXTS = 2048
MAX_TEXT = 200_000


class TextInput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a text becomes an embedding: cut at `max_tokens`, pooled over its tokens, scaled to length one or not."""

    max_tokens: int
    pooling: Literal["mean", "cls"]
    normalise: bool
    pad_id: int


class _Texts(Struct):
    texts: list[str]


def checked_texts(texts: object) -> list[str]:
    """A list of texts that a lane can take. Raises InputError: input_type, input_empty, input_too_large."""
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise InputError("input_type", "texts are given as a string or a list of strings")
    if not texts or not all(text.strip() for text in texts):
        raise InputError("input_empty", "there is no text, or one of the texts is empty")
    if len(texts) > MAX_TEXTS or max(map(len, texts)) > MAX_TEXT:
        raise InputError("input_too_large", f"at most {MAX_TEXTS} texts of {MAX_TEXT} characters go into one call")
    return list(texts)


class Lane:
    """Not shared between threads; each lane runs one text at a time.

    An int8 answer changes with the texts that share its batch (their range sets the scale), so a text is run alone
    and gives the same embedding whoever else is asking.
    """

    def __init__(self, model: bytes, digest: str, tokenizer: bytes, text: TextInput, *, threads: int = 1) -> None:
        """Raises ModelError when the model or the tokenizer cannot be taken."""
        try:
            self._tokenizer = Tokenizer.from_str(tokenizer.decode())
            self._tokenizer.no_padding()
            self._tokenizer.enable_truncation(text.max_tokens)
        except Exception as error:  # noqa: BLE001 - tokenizers raises bare exceptions
            raise ModelError("model_malformed", f"the tokenizer cannot be read ({type(error).__name__})") from None
        self._text = text
        self.session = Session(model, digest, threads=threads)

    def embed(self, grant: Grant, in_force: str) -> NDArray[np.float32]:
        """The embeddings (n, hidden) of the texts in the grant's payload. Raises Ungated, ModelError."""
        masks: list[NDArray[np.int64]] = []

        def feeds(payload: Payload) -> Iterable[Mapping[str, NDArray[np.int64]]]:
            for text in msgspec.convert(payload.value, _Texts).texts:
                batch = self.tokens([text])
                masks.append(batch["attention_mask"])
                yield {tensor.name: batch[tensor.name] for tensor in self.session.inputs}

        outputs = self.session.run(grant, in_force, feeds)
        charge(grant, texts=len(masks), tokens=int(sum(mask.sum() for mask in masks)))
        pooled = [self._pool(hidden, mask) for (hidden, *_), mask in zip(outputs, masks, strict=True)]
        return np.concatenate(pooled)

    def tokens(self, texts: list[str]) -> dict[str, NDArray[np.int64]]:
        """Token ids, attention mask and token types, each int64 (batch, tokens), padded on the right."""
        encoded = [self._tokenizer.encode(text) for text in texts]
        length = max(len(one.ids) for one in encoded)
        shape = (len(encoded), length)
        ids = np.full(shape, self._text.pad_id, dtype=np.int64)
        mask = np.zeros(shape, dtype=np.int64)
        for row, one in enumerate(encoded):
            ids[row, : len(one.ids)] = one.ids
            mask[row, : len(one.ids)] = 1
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros(shape, dtype=np.int64)}

    def _pool(self, hidden: NDArray[np.float32], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """(batch, tokens, hidden) to (batch, hidden). Mean over the tokens of the mask: Reimers and Gurevych, 2019."""
        if self._text.pooling == "cls":
            pooled = hidden[:, 0]
        else:
            # one product with the weights of the tokens, instead of a masked copy and a sum
            weights = (mask / mask.sum(axis=1, keepdims=True)).astype(np.float32)
            pooled = np.matmul(weights[:, None], hidden)[:, 0]
        if self._text.normalise:
            length = np.sqrt(np.einsum("nh,nh->n", pooled, pooled))
            pooled = pooled / np.maximum(length, 1e-12)[:, None]
        return pooled
