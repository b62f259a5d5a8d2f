"""Readers: the items of a payload to the tensors that a model takes, and what it gives to answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from policies.payload import InputError, Payload
from toolkit.runtime.inputs import TextInput
from toolkit.runtime.session import Feeds, ModelError

__all__ = ["Outputs", "Reader", "TextReader", "checked_texts", "read_tokenizer"]

# by name; the first dimension are the items, but for models that take tensors
Outputs = dict[str, NDArray[Any]]

MAX_TEXTS = 2048
MAX_TEXT = 200_000


class Reader(Protocol):
    """One for each kind of input. An item is what a person gives: a text, an image, a set of tensors.

    `together`: whether several items may share a batch.
    """

    @property
    def together(self) -> bool: ...

    def items(self, payload: Payload) -> Sequence[Any]:
        """The items in a payload. Raises InputError."""
        ...

    def feeds(self, items: Sequence[Any]) -> Feeds:
        """The tensors for a batch of items, by the names of the model's inputs. Raises InputError."""
        ...

    def answers(self, outputs: Sequence[NDArray[Any]], feeds: Feeds) -> NDArray[Any]:
        """The answers (items, ...) from all outputs of the model for a batch, in the model's order."""
        ...

    def named(self, outputs: Mapping[str, NDArray[Any]], feeds: Feeds) -> Outputs:
        """The same by name, as callers are given it: `embedding`, `logits`, or the model's own names."""
        ...

    def size(self, item: Any) -> int:
        """What running an item costs, beside that of others: the unit is the reader's own."""
        ...

    def cost(self, payload: Payload) -> int:
        """About what all items of a payload cost, by a look that takes no time. Raises InputError."""
        ...

    def usage(self, feeds: Feeds) -> dict[str, int]:
        """What a batch counts in the outcome of a call, by unit."""
        ...


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


def read_tokenizer(content: bytes) -> Tokenizer:
    """The tokenizer of a bundle, which pads nothing. Raises ModelError."""
    try:
        tokenizer = Tokenizer.from_str(content.decode())
        tokenizer.no_padding()
    except Exception as error:  # noqa: BLE001 - tokenizers raises bare exceptions
        raise ModelError("model_malformed", f"the tokenizer cannot be read ({type(error).__name__})") from None
    return tokenizer


class TextReader:
    """Texts, in a payload {"texts": [...]}."""

    together = True

    def __init__(self, tokenizer: bytes, text: TextInput, *, classes: bool = False) -> None:
        """`classes`: the model gives logits. Raises ModelError when the tokenizer cannot be taken."""
        self._tokenizer = read_tokenizer(tokenizer)
        try:
            self._tokenizer.enable_truncation(text.max_tokens)
        except Exception as error:  # noqa: BLE001 - tokenizers raises bare exceptions
            raise ModelError("model_malformed", f"a text cannot be cut ({type(error).__name__})") from None
        self._text = text
        self._name = "logits" if classes else "embedding"

    def items(self, payload: Payload) -> list[str]:
        """See Reader."""
        value = payload.value
        return checked_texts(value.get("texts") if isinstance(value, dict) else None)

    def feeds(self, items: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """Token ids, attention mask and token types, each int64 (batch, tokens), padded on the right."""
        encoded = [self._tokenizer.encode(text) for text in items]
        length = max(len(one.ids) for one in encoded)
        shape = (len(encoded), length)
        ids = np.full(shape, self._text.pad_id, dtype=np.int64)
        mask = np.zeros(shape, dtype=np.int64)
        for row, one in enumerate(encoded):
            ids[row, : len(one.ids)] = one.ids
            mask[row, : len(one.ids)] = 1
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros(shape, dtype=np.int64)}

    def answers(self, outputs: Sequence[NDArray[Any]], feeds: Feeds) -> NDArray[np.float32]:
        """(batch, tokens, hidden) to (batch, hidden). Mean over the tokens of the mask: Reimers and Gurevych, 2019."""
        hidden, mask = outputs[0], feeds["attention_mask"]
        if self._text.pooling == "none":
            return hidden
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

    def named(self, outputs: Mapping[str, NDArray[Any]], feeds: Feeds) -> Outputs:
        """`embedding` (batch, hidden), or `logits` (batch, classes)."""
        return {self._name: self.answers(list(outputs.values()), feeds)}

    def size(self, item: str) -> int:
        """Characters: there are no tokens yet."""
        return len(item)

    def cost(self, payload: Payload) -> int:
        """Characters."""
        return sum(map(len, self.items(payload)))

    def usage(self, feeds: Feeds) -> dict[str, int]:
        """See Reader."""
        return {"texts": len(feeds["attention_mask"]), "tokens": int(feeds["attention_mask"].sum())}
