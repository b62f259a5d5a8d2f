"""Small tokenizers of each kind that can be trimmed, and what of a text is unknown to one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from toolkit.compress.calibration import Texts
from toolkit.runtime.inputs import TextInput

__all__ = ["PLAIN", "TEXTS", "changed", "made", "read_by", "unknown"]

LETTERS = "abcdefghilmnorstuvé中д"
PARTS = ["ca", "cat", "ab", "abc", "the", "ther", "er", "in", "ing", "est", "for", "fort", "дд", "éa"]
INPUT = TextInput(max_tokens=64, pooling="mean", normalise=True, pad_id=2)
TEXTS = ("the cat", "other things, for cats", "in abc")
PLAIN = ("WordPiece", "Unigram", "BPE")


def made(kind: str, items: Sequence[str] = TEXTS) -> Texts:
    """How a model with a tokenizer of a kind reads texts: "bytes" is a Unigram that falls to bytes."""
    tokenizer = {"WordPiece": _wordpiece, "BPE": _bpe}.get(kind, lambda: _unigram(bytes=kind == "bytes"))()
    tokenizer.add_special_tokens(["[PAD]", "[CLS]", "[SEP]", AddedToken("[NEW]", normalized=False)])
    ends = [("[CLS]", tokenizer.token_to_id("[CLS]")), ("[SEP]", tokenizer.token_to_id("[SEP]"))]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=ends
    )
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id("[PAD]"), pad_token="[PAD]")  # noqa: S106 - a token of text
    return Texts(tokenizer.to_str().encode(), INPUT, tuple(items))


def changed(texts: Texts, *path: str, value: Any) -> Texts:
    """The same with another value at a place of its tokenizer.json."""
    content = json.loads(texts.tokenizer)
    place = content
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return Texts(json.dumps(content).encode(), texts.input, texts.items)


def read_by(texts: Texts) -> Tokenizer:
    return Tokenizer.from_str(texts.tokenizer.decode())


def unknown(tokenizer: Tokenizer, text: str) -> set[int]:
    """The places of characters that are part of an unknown token."""
    found = tokenizer.encode(text, add_special_tokens=False)
    number = tokenizer.token_to_id("[UNK]")
    pairs = zip(found.ids, found.offsets, strict=True)
    return {place for id, (start, end) in pairs if id == number for place in range(start, end)}


def _numbered(*tokens: str) -> dict[str, int]:
    """Special tokens stand among the others: none of them keeps its number when others go."""
    return {token: number for number, token in enumerate(dict.fromkeys(tokens))}


def _wordpiece() -> Tokenizer:
    singles = [form for letter in f"{LETTERS}.,'#" for form in (letter, f"##{letter}")]
    parts = [form for part in PARTS for form in (part, f"##{part}")]
    known = _numbered(singles[0], parts[0], "[PAD]", *parts, "[UNK]", *singles, "[CLS]", "things", "[SEP]", "cats")
    tokenizer = Tokenizer(models.WordPiece(known, unk_token="[UNK]", max_input_chars_per_word=20))  # noqa: S106 - as above
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _unigram(*, bytes: bool) -> Tokenizer:
    pieces = [("▁", -3.0), ("[UNK]", 0.0), ("[PAD]", 0.0), ("[CLS]", 0.0)]
    pieces += [(part, -4.0 - number / 7) for number, part in enumerate([*PARTS, "▁the", "▁cat", "▁things", "ats"])]
    pieces += [("[SEP]", 0.0), *((letter, -6.0 - number / 9) for number, letter in enumerate(f"{LETTERS}.,'"))]
    if bytes:
        pieces += [(f"<0x{number:02X}>", -9.0) for number in range(256)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=1, byte_fallback=bytes))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


def _bpe() -> Tokenizer:
    merges = [("t", "h"), ("c", "a"), ("th", "e"), ("ca", "t"), ("i", "n"), ("a", "t"), ("c", "at"), ("cat", "s")]
    merges += [("in", "g"), ("e", "r"), ("the", "r"), ("th", "er"), ("ing", "s"), ("th", "ings"), ("д", "д")]
    results = ["".join(pair) for pair in merges]
    known = _numbered("a", "th", "[PAD]", *results, "[UNK]", *LETTERS, ".", ",", "[CLS]", "[SEP]")
    tokenizer = Tokenizer(models.BPE(known, merges, unk_token="[UNK]"))  # noqa: S106 - as above
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer
