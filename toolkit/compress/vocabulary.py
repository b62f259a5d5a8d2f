"""A tokenizer.json with fewer tokens that takes every text that it took before.

Each token that goes falls into its single characters, which are tokens too, or the tokenizer is refused; so for every
text that is not cut, no character is part of an unknown token that was not part of one before. (Left out are characters
that only special tokens of a Unigram model hold.) Why it holds, by the kind of the model:

WordPiece takes the longest token at each place of a word, and a word in which it finds none at some place is unknown as
a whole. Of a word that was known, every character stood in a token, so it is one by itself in its form for that place:
the search ends in no place where there was nothing to find.
Unigram makes a character unknown only where it is no token by itself. Those that are one stay.
BPE begins with characters. Those stay, with all that no merge makes, and a token stays with all that it is merged from.

What the texts to learn from were split into stays the same: of what could be taken at a place, nothing else is longer,
likelier or merged earlier than it was.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace
from tokenizers import Tokenizer

from toolkit.compress.calibration import Texts
from toolkit.compress.errors import CompressionError
from toolkit.runtime.readers import read_tokenizer
from toolkit.runtime.session import ModelError

__all__ = ["Trimmed", "fixed", "trimmed"]

_BYTES = frozenset(f"<0x{number:02X}>" for number in range(256))


class Trimmed(NamedTuple):
    """How texts are read afterwards, and the number that each token that stays had before, in the order of those that
    they have now."""

    texts: Texts
    rows: tuple[int, ...]


def fixed(why: str) -> CompressionError:
    """The error for a vocabulary that has to stay as it is."""
    return CompressionError("vocabulary_fixed", f"the vocabulary stays as it is: {why}")


def trimmed(texts: Texts, scripts: Sequence[str] = ()) -> Trimmed:
    """Leave the tokens that the texts to learn from are split into, or those that are written in some scripts, by the
    names of Unicode; with what they are made of, and what has a role.

    Raises CompressionError "vocabulary_fixed" for a tokenizer of another kind, or in which a token holds a character
    that is no token by itself.
    """
    reader = _reader(texts.tokenizer)
    content: dict[str, Any] = msgspec.json.decode(texts.tokenizer)
    model = _Model(content["model"])
    added = [str(token["content"]) for token in content.get("added_tokens") or ()]
    every = reader.get_vocab(with_added_tokens=True)
    tokens = {id: token for token, id in every.items()}
    if len(tokens) != len(every) or texts.input.pad_id not in tokens:
        raise fixed("two tokens have the same number, or the padding is no token")
    model.refuse_indivisible(added)
    wanted = _written(reader, tokens, scripts) if scripts else _used(reader, texts.items)
    roles = {texts.input.pad_id, *_numbers(content.get("post_processor")), *_numbers(content.get("padding"))}
    generation = texts.generation
    if generation is not None:
        roles |= {*generation.ends, *generation.begin}
    if not roles <= tokens.keys():
        raise fixed("a number that has a role belongs to no token")
    kept = model.closed({*added, *(tokens[id] for id in {*wanted, *roles})})
    # what a tokenizer adds to those of its model is numbered behind them when it is read
    order = [*sorted(kept, key=model.known.__getitem__), *(token for token in added if token not in model.known)]
    rows = tuple(every[token] for token in order)
    new = {row: number for number, row in enumerate(rows)}
    content["model"] = model.without(order)
    content["added_tokens"] = [{**token, "id": new[every[token["content"]]]} for token in content["added_tokens"] or ()]
    content["post_processor"] = _renumbered(content.get("post_processor"), new)
    content["padding"] = _renumbered(content.get("padding"), new)
    made = msgspec.json.encode(content)
    after = _reader(made)
    if after.get_vocab(with_added_tokens=True) != {token: new[every[token]] for token in order}:
        raise fixed("a tokenizer with fewer tokens is read otherwise than it was written")
    around = [reader.encode("", "").ids, after.encode("", "").ids]
    if [new[id] for id in around[0]] != around[1]:
        raise fixed("special tokens would not be put where they were")
    if generation is not None:
        ends, begin = (tuple(new[id] for id in ids) for ids in (generation.ends, generation.begin))
        generation = replace(generation, ends=ends, begin=begin)
    read = replace(texts.input, pad_id=new[texts.input.pad_id])
    return Trimmed(Texts(made, read, texts.items, generation), rows)


class _Model:
    """What a tokenizer.json says of its vocabulary. `known` are its tokens with their numbers."""

    def __init__(self, content: dict[str, Any]) -> None:
        self._content = content
        self._kind = content.get("type")
        affixes = [content.get("end_of_word_suffix"), content.get("continuing_subword_prefix")]
        if self._kind not in ("WordPiece", "Unigram", "BPE") or (self._kind == "BPE" and any(affixes)):
            raise fixed("only those of WordPiece, Unigram and BPE without marks at the ends of words can be trimmed")
        self._prefix = str(affixes[1] or "") if self._kind == "WordPiece" else ""
        listed = content["vocab"]
        self.known: dict[str, int] = (
            {str(piece[0]): number for number, piece in enumerate(listed)} if self._kind == "Unigram" else dict(listed)
        )
        self._merges = [_pair(merge) for merge in content.get("merges") or ()]
        self._bytes = _BYTES.intersection(self.known) if content.get("byte_fallback") else frozenset()

    def refuse_indivisible(self, added: Collection[str]) -> None:
        """Raises CompressionError "vocabulary_fixed" where a token holds a character that is none by itself, and that
        could make more texts unknown."""
        if self._bytes == _BYTES or (self._kind == "BPE" and not self._content.get("ignore_merges")):
            return
        special = {token for token in added if not (self._prefix and token.startswith(self._prefix))}
        whole = [
            token
            for token in self.known.keys() - special - self._bytes - {self._unknown()}
            if any(part not in self.known for part in self._parts(token))
        ]
        if whole:
            raise fixed(f"{len(whole)} tokens hold a character that is no token by itself, such as {min(whole)!r:.80}")

    def closed(self, tokens: Iterable[str]) -> set[str]:
        """Those of the model among some tokens, with all that they are made of, and all that always stays."""
        made: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for pair in self._merges:
            made["".join(pair)].append(pair)
        always = (
            token for token in self.known if self._parts(token) == [token] or (self._merges and token not in made)
        )
        waiting = [*tokens, *always, *self._bytes, self._unknown()]
        kept: set[str] = set()
        while waiting:
            token = waiting.pop()
            if token in self.known and token not in kept:
                kept.add(token)
                waiting += (part for pair in made.get(token, ()) for part in pair)
        return kept

    def without(self, order: Sequence[str]) -> dict[str, Any]:
        """The same with the tokens of the model among some, in their order."""
        own = [token for token in order if token in self.known]
        if self._kind != "Unigram":
            changed: dict[str, Any] = {"vocab": {token: number for number, token in enumerate(own)}}
            stays = set(own)
            if self._kind == "BPE":
                merges = zip(self._content["merges"], self._merges, strict=True)
                changed["merges"] = [merge for merge, pair in merges if stays.issuperset((*pair, "".join(pair)))]
            return {**self._content, **changed}
        unknown = self._content.get("unk_id")
        return {
            **self._content,
            "vocab": [self._content["vocab"][self.known[token]] for token in own],
            "unk_id": None if unknown is None else own.index(self._unknown()),
        }

    def _unknown(self) -> str:
        """The token that stands for what is unknown; empty where there is none."""
        if self._kind != "Unigram":
            return str(self._content.get("unk_token") or "")
        unknown = self._content.get("unk_id")
        return "" if unknown is None else str(self._content["vocab"][unknown][0])

    def _parts(self, token: str) -> list[str]:
        """The single characters of a token, in the forms that they have in its place."""
        if self._prefix and token.startswith(self._prefix) and token != self._prefix:
            return [self._prefix + character for character in token[len(self._prefix) :]]
        return [token[:1], *(self._prefix + character for character in token[1:])]


def _reader(content: bytes) -> Tokenizer:
    try:
        reader = read_tokenizer(content)
        reader.no_truncation()
    except ModelError as error:
        raise fixed(str(error)) from None
    return reader


def _used(reader: Tokenizer, items: Sequence[str]) -> set[int]:
    if not items:
        raise CompressionError("calibration_missing", "trim-vocabulary learns from texts which tokens are needed")
    return {id for text in items for id in reader.encode(text, add_special_tokens=False).ids}


def _written(reader: Tokenizer, tokens: Iterable[int], scripts: Sequence[str]) -> set[int]:
    """Those of which every letter is of one of the scripts, with those that have no letter."""
    names = tuple(f"{script.upper()} " for script in scripts)
    found = set()
    for id in tokens:
        letters = filter(str.isalpha, reader.decode([id], skip_special_tokens=False))
        if all(unicodedata.name(letter, "").startswith(names) for letter in letters):
            found.add(id)
    return found


def _pair(merge: Any) -> tuple[str, str]:
    first, _, second = merge.partition(" ") if isinstance(merge, str) else (merge[0], "", merge[1])
    return str(first), str(second)


def _numbers(part: Any) -> set[int]:
    """The numbers of tokens in a post-processor or a padding. Raises CompressionError "vocabulary_fixed"."""
    seen: set[int] = set()
    _renumbered(part, _Seen(seen))
    return seen


class _Seen(dict[int, int]):
    """Leaves every number as it is, and notes it."""

    def __init__(self, seen: set[int]) -> None:
        self._seen = seen

    def __missing__(self, number: int) -> int:
        self._seen.add(number)
        return number


def _renumbered(part: Any, new: Mapping[int, int]) -> Any:
    """A post-processor or a padding with other numbers."""
    if part is None:
        return None
    match part.get("type", "padding"):
        case "ByteLevel":
            return part
        case "Sequence":
            return {**part, "processors": [_renumbered(one, new) for one in part["processors"]]}
        case "BertProcessing" | "RobertaProcessing":
            return {**part, **{end: [part[end][0], new[part[end][1]]] for end in ("sep", "cls")}}
        case "TemplateProcessing":
            special = part["special_tokens"].items()
            ids = {name: {**token, "ids": [new[id] for id in token["ids"]]} for name, token in special}
            return {**part, "special_tokens": ids}
        case "padding":
            return {**part, "pad_id": new[part["pad_id"]]}
        case other:
            raise fixed(f"what {other!r} does with numbers of tokens is not known")
