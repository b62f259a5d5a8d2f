"""The tokenizer of a GGUF file as tokenizer.json: byte-level BPE, cut up beforehand as the file's own model is.

What transformers makes of such a file has another end token, puts a start token before a text and keeps numbers whole.
Here a file says what it says: its end token, a start token only where it asks for one, and the way of cutting by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from toolkit.compress.errors import SourceError
from toolkit.compress.sources.gguf_format import Gguf

__all__ = ["Tokens", "tokens_of"]

_CONTROL, _USER = 3, 4
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class Tokens(Struct, frozen=True, kw_only=True):
    """`json` is the tokenizer.json; ids that end an answer, and those that begin a prompt; `named` the texts of the
    special tokens that a chat template may use."""

    json: bytes
    ends: tuple[int, ...]
    begin: tuple[int, ...]
    named: Mapping[str, str]


def tokens_of(file: Gguf) -> Tokens:
    """Raises SourceError: source_unsupported, source_config, source_tokenizer."""
    if (kind := file.of("tokenizer.ggml.model", str)) != "gpt2":
        raise SourceError(
            "source_unsupported", f"of GGUF, tokenizers of byte-level BPE are taken in, not {kind[:80]!r}"
        )
    way = file.of("tokenizer.ggml.pre", str, "")
    if way not in _CUTS:
        raise SourceError(
            "source_unsupported", f"a text is cut up by {way[:80]!r}, which is not among {', '.join(_CUTS)}"
        )
    texts, merges = file.of("tokenizer.ggml.tokens", list), file.of("tokenizer.ggml.merges", list)
    kinds = [int(one) for one in file.metadata.get("tokenizer.ggml.token_type", ())] or [1] * len(texts)
    vocabulary = {text: number for number, text in enumerate(texts)}
    if len(vocabulary) != len(texts) or len(kinds) != len(texts):
        raise SourceError("source_tokenizer", "the GGUF file has a token twice, or not a type for each")
    pairs = [tuple(merge.split(" ")) for merge in merges]
    if any(len(pair) != 2 for pair in pairs):
        raise SourceError("source_tokenizer", "the GGUF file has a merge that is no pair")
    try:
        tokenizer = Tokenizer(models.BPE(vocabulary, pairs, ignore_merges=way == "llama-bpe"))
        tokenizer.pre_tokenizer, tokenizer.decoder = _CUTS[way](), decoders.ByteLevel()
        if way == "qwen2":
            tokenizer.normalizer = normalizers.NFC()
        for number, kind in enumerate(kinds):
            if kind in (_CONTROL, _USER):
                one = AddedToken(texts[number], special=kind == _CONTROL, normalized=False)
                (tokenizer.add_special_tokens if kind == _CONTROL else tokenizer.add_tokens)([one])
        content = tokenizer.to_str().encode()
    except Exception as error:  # noqa: BLE001 - tokenizers raises bare exceptions
        raise SourceError("source_tokenizer", f"the tokens make no tokenizer: {str(error)[:200]}") from None
    ends = [_id(file, key, texts) for key in ("eos_token_id", "eot_token_id")]
    start = _id(file, "bos_token_id", texts)
    named = {"bos_token": start, "eos_token": ends[0], "pad_token": _id(file, "padding_token_id", texts)}
    if ends[0] is None:
        raise SourceError("source_tokenizer", "the GGUF file names no token that ends an answer")
    asks = file.of("tokenizer.ggml.add_bos_token", bool, default=False)
    return Tokens(
        json=content,
        ends=tuple(dict.fromkeys(one for one in ends if one is not None)),
        begin=(start,) if asks and start is not None else (),
        named={name: texts[number] for name, number in named.items() if number is not None},
    )


def _id(file: Gguf, key: str, texts: list[str]) -> int | None:
    value = file.metadata.get(f"tokenizer.ggml.{key}")
    if value is not None and (not isinstance(value, int) or not 0 <= value < len(texts)):
        raise SourceError("source_tokenizer", f"the GGUF file has no token {str(value)[:20]}, which is its {key}")
    return value


def _split(numbers: str) -> Any:
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(_WORDS % numbers), "isolated"), bytes_only])


def _plain() -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


_CUTS: Mapping[str, Callable[[], Any]] = {
    "gpt-2": _plain,
    "smollm": lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _plain()]),
    "qwen2": lambda: _split(""),
    "llama-bpe": lambda: _split("{1,3}"),
}
