"""Prompts and texts for a model that generates: to token ids, and to the tensors of a decoder with an empty cache."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.facts import Tensor
from policies.payload import InputError, Payload
from toolkit.runtime.chatting import laid_out, turns_of
from toolkit.runtime.inputs import Generation
from toolkit.runtime.readers import MAX_TEXT, Outputs, checked_texts, read_tokenizer
from toolkit.runtime.session import Feeds, ModelError
from toolkit.runtime.slots import PAST

__all__ = ["DecoderReader", "Prompter"]


class Prompter:
    """What a person asks as token ids. What they write is text: it never becomes a special token of the model."""

    def __init__(self, tokenizer: bytes, generation: Generation) -> None:
        """Raises ModelError."""
        self.tokenizer = read_tokenizer(tokenizer)
        self.tokenizer.no_truncation()
        self.tokenizer.encode_special_tokens = True
        self.generation = generation
        added = self.tokenizer.get_added_tokens_decoder()
        self._special = {token.content: number for number, token in added.items() if token.special}
        longest_first = sorted(self._special, key=len, reverse=True)
        self._apart = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def ids(self, payload: Payload) -> list[int]:
        """Those of {"prompt": text}, or of the turns of {"messages": [...]}, beside which a `constraint` may stand.

        Raises InputError, ModelError "model_task" for turns where the model was not made for any.
        """
        value = payload.value if isinstance(payload.value, dict) else {}
        asked = value.keys() - {"constraint"}
        if asked == {"prompt"}:
            return self.plain(value["prompt"])
        if asked == {"messages"}:
            return self.chat(value["messages"])
        raise InputError("input_type", "give either a `prompt` or `messages`")

    def plain(self, prompt: object) -> list[int]:
        """Those of a text that the model goes on with. Raises InputError."""
        if not isinstance(prompt, str):
            raise InputError("input_type", "a prompt is a text")
        if not prompt:
            raise InputError("input_empty", "the prompt is empty")
        if len(prompt) > MAX_TEXT:
            raise InputError("input_too_large", f"a prompt has at most {MAX_TEXT} characters")
        return [*self.generation.begin, *self._text(prompt)]

    def chat(self, messages: object) -> list[int]:
        """Those of turns, up to where the reply begins. Raises InputError, ModelError."""
        if self.generation.chat is None:
            raise ModelError("model_task", "the model goes on with a text, and knows no turns of a chat")
        pieces = laid_out(self.generation.chat, turns_of(messages))
        ids: list[int] = []
        text = ""
        for piece in pieces:
            if not piece.own:
                text += piece.text
                continue
            end = 0
            for found in self._apart.finditer(piece.text):
                ids += [*self._text(text + piece.text[end : found.start()]), self._special[found[0]]]
                text, end = "", found.end()
            text += piece.text[end:]
        return [*ids, *self._text(text)]

    def _text(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids) if text else []


class DecoderReader:
    """Texts, in a payload {"texts": [...]}, to the logits of the token that comes next. `every`: of all tokens."""

    together = False

    def __init__(
        self, tokenizer: bytes, generation: Generation, inputs: Sequence[Tensor], *, every: int | None = None
    ) -> None:
        """With `every`, of at most so many tokens of a text, and of each of them. Raises ModelError."""
        self._prompter = Prompter(tokenizer, generation)
        self._every = every
        self._cache = {tensor.name: _empty(tensor) for tensor in inputs if tensor.name.startswith(PAST)}

    def items(self, payload: Payload) -> list[str]:
        """See Reader."""
        value = payload.value
        return checked_texts(value.get("texts") if isinstance(value, dict) else None)

    def feeds(self, items: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Token ids and their mask, int64 (1, tokens), how many have logits, and a cache without tokens.

        Raises InputError "input_too_large" for a text that is longer than the context.
        """
        (text,) = items
        ids = self._prompter.plain(text)
        if self._every is not None:
            ids = ids[: min(self._every, self._prompter.generation.context)]
        elif len(ids) > self._prompter.generation.context:
            raise InputError("input_too_large", f"the text has {len(ids)} tokens, the model takes fewer")
        kept = 1 if self._every is None else 0
        return {
            "input_ids": np.array([ids], np.int64),
            "attention_mask": np.ones((1, len(ids)), np.int64),
            "num_logits_to_keep": np.array([kept], np.int64),
            **self._cache,
        }

    def answers(self, outputs: Sequence[NDArray[Any]], feeds: Feeds) -> NDArray[np.float32]:
        """Logits (1, kept, vocabulary)."""
        logits: NDArray[np.float32] = outputs[0]
        return logits

    def named(self, outputs: Mapping[str, NDArray[Any]], feeds: Feeds) -> Outputs:
        """`logits` (1, vocabulary)."""
        return {"logits": outputs["logits"][:, -1]}

    def size(self, item: str) -> int:
        """Characters: there are no tokens yet."""
        return len(item)

    def cost(self, payload: Payload) -> int:
        """Characters."""
        return sum(map(len, self.items(payload)))

    def usage(self, feeds: Feeds) -> dict[str, int]:
        """See Reader."""
        return {"texts": 1, "tokens": int(feeds["input_ids"].size)}


def _empty(tensor: Tensor) -> NDArray[np.float32]:
    """A cache of no tokens, (1, heads, 0, width). Raises ModelError for an input that is no cache."""
    shape = tensor.shape
    if len(shape) == 4 and tensor.dtype == "float32":
        heads, width = shape[1], shape[3]
        if isinstance(heads, int) and isinstance(width, int):
            return np.zeros((1, heads, 0, width), np.float32)
    raise ModelError("model_malformed", f"the input {tensor.name[:80]} is no cache of keys or values")
