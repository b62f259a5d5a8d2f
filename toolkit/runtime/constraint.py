"""Answers that keep to a JSON schema, a regular expression or a list of choices: what may not come next is masked.

A parser goes along with the tokens, and says of each token of the vocabulary whether the answer can still end as it was
asked for (llguidance; Geng et al., "Grammar-Constrained Decoding", 2023). What a caller gives is a program for that
parser, so that its size, the work at each token and the states that are kept have bounds; nothing it names is fetched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toolkit.extras import needs
from toolkit.runtime.sampling import GenerationError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from llguidance._lib import JsonCompileOptions

__all__ = ["Constraint", "Parser"]

# what one answer may take: milliseconds for each token, some ten megabytes
LIMITS: Mapping[str, Any] = {
    "max_grammar_size": 20_000,
    "initial_lexer_fuel": 1_000_000,
    "step_lexer_fuel": 100_000,
    "step_max_items": 20_000,
    "max_lexer_states": 20_000,
    "verbose_errors": False,
}
# a model may lay its JSON out, but not go on with spaces for ever; an escape that another spelling of the same
# character is would let a name come a second time, with a value that its schema does not allow
JSON: JsonCompileOptions = {
    "whitespace_pattern": r"[ \n\t]{1,40}",
    "json_allowed_escapes": 'bfnrt"\\',
    "json_allow_general_unicode_escapes": False,
    "lenient": False,
    "coerce_one_of": False,
}
# what the library says, and what is told of it: its own words may hold the schema
REASONS = (
    ("unsatisfiable", "nothing can keep to it"),
    ("noextension", "nothing can keep to it"),
    ("unimplemented keys", "it has keywords that are not taken"),
    ("oneof", "the parts of a oneOf have to exclude each other by their types or constants"),
    ("not present in a registry", "it refers to something outside itself"),
    ("pointer", "it refers to something that it does not hold"),
    ("unknown format", "it has a format that is not known"),
    ("look", "look-around is not taken, nor are anchors within"),
    ("backreferences", "references back are not taken"),
    ("too ", "it is too large"),
    ("limit", "it is too large"),
)
_META = re.compile(r"[\\.+*?()|\[\]{}^$#&\-~/]")


class Parser:
    """What makes constraints for the vocabulary of one model. Safe for threads."""

    def __init__(self, tokenizer: str, vocabulary: int, ends: Sequence[int]) -> None:
        """`tokenizer` as JSON, how many logits the model has, and what ends an answer."""
        self._given = tokenizer, vocabulary, list(ends)
        self._lock = Lock()
        self._made: LLTokenizer | None = None

    def of(self, asked: Mapping[str, Any]) -> Constraint:
        """For {"schema": ...}, {"regex": ...} or {"choice": [...]}, as `Sampling.constraint` gives it.

        Raises GenerationError "generation_constraint" for one that nothing can keep to, or that is not taken;
        MissingExtra.
        """
        with needs("constrained"):
            from llguidance import LLMatcher, LLParserLimits
        tokenizer = self._tokenizer()
        try:
            if "schema" in asked:
                grammar = LLMatcher.grammar_from_json_schema(json.dumps(asked["schema"]), overrides=JSON)
            elif "regex" in asked:
                grammar = LLMatcher.grammar_from_regex(asked["regex"])
            else:
                grammar = LLMatcher.grammar_from_regex("|".join(_META.sub(r"\\\g<0>", one) for one in asked["choice"]))
        except ValueError:
            raise GenerationError("generation_constraint", "the schema is no JSON that is taken") from None
        constraint = Constraint(LLMatcher(tokenizer, grammar, log_level=0, limits=LLParserLimits(**LIMITS)), tokenizer)
        constraint.allowed()
        return constraint

    def _tokenizer(self) -> LLTokenizer:
        from llguidance import LLTokenizer

        with self._lock:
            if self._made is None:
                tokenizer, vocabulary, ends = self._given
                try:
                    self._made = LLTokenizer(tokenizer, n_vocab=vocabulary, eos_token=ends or None)
                except ValueError:
                    raise GenerationError(
                        "generation_constraint", "the tokenizer of the model is of a kind that is not taken"
                    ) from None
            return self._made


class Constraint:
    """The parser of one answer. One thread."""

    def __init__(self, matcher: LLMatcher, tokenizer: LLTokenizer) -> None:
        self._matcher = matcher
        self._tokenizer = tokenizer
        self._taken: list[int] = []

    def allowed(self) -> NDArray[np.bool_]:
        """Which tokens may come next, (vocabulary,). Raises GenerationError where that takes too much."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        mask = np.unpackbits(bits, count=self._tokenizer.vocab_size, bitorder="little").view(np.bool_)
        if not mask.any():
            raise GenerationError("generation_constraint", "nothing can keep to it")
        return mask

    def take(self, token: int) -> bool:
        """Go on with a token that is allowed. Whether the answer is whole, and nothing can follow. Raises
        GenerationError."""
        self._matcher.consume_token(token)
        self._check()
        self._taken.append(token)
        return self._matcher.is_stopped()

    def forced(self) -> list[int]:
        """The tokens that alone can come next, as the tokenizer cuts them."""
        return self._matcher.compute_ff_tokens()

    def holds(self, text: str) -> None:
        """Raises GenerationError where an ended answer is not what the parser went along with."""
        whole = self._matcher.is_accepting() or self._matcher.is_stopped()
        if not whole or self._tokenizer.decode_bytes(self._taken) != text.encode():
            raise GenerationError("generation_constraint", "the text of the answer is not that of its tokens")

    def _check(self) -> None:
        if self._matcher.is_error():
            said = self._matcher.get_error().lower()
            told = next((told for part, told in REASONS if part in said), "it is malformed")
            raise GenerationError("generation_constraint", told)
