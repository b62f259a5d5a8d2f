"""What two tokenizers, of which one has some of the other's tokens, make of a text: where both have come to the same
place, what a model says next can be held against what the other says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from toolkit.compress.calibration import Texts
from toolkit.runtime.readers import read_tokenizer

__all__ = ["CommonTokens", "Places"]


class Places(NamedTuple):
    """The numbers of tokens of a text behind which both stand at the same character, before and after."""

    before: list[int]
    after: list[int]


class CommonTokens:
    """`rows` are the numbers that the tokens of the smaller tokenizer have in the other."""

    def __init__(self, before: Texts, after: Texts) -> None:
        """Raises ModelError, and KeyError where `after` has a token that `before` has not."""
        self._texts = (before, after)
        self._readers = [read_tokenizer(one.tokenizer) for one in self._texts]
        for reader in self._readers:
            reader.no_truncation()
            reader.encode_special_tokens = True
        known, kept = (reader.get_vocab(with_added_tokens=True) for reader in self._readers)
        self.rows = np.array([known[token] for token, _ in sorted(kept.items(), key=lambda one: one[1])], np.int64)

    def places(self, text: str, tokens: Sequence[int]) -> Places:
        """Within the first `tokens` of the text before and after."""
        found = [dict(self._ends(number, text, most)) for number, most in enumerate(tokens)]
        common = sorted(found[0].keys() & found[1].keys())
        return Places([found[0][end] for end in common], [found[1][end] for end in common])

    def covered(self, text: str, tokens: int) -> int:
        """Of how many tokens before the first `tokens` after are the text."""
        last = max((end for end, _ in self._ends(1, text, tokens)), default=0)
        return 1 + max((number for end, number in self._ends(0, text, None) if end <= last), default=0)

    def restricted(
        self, texts: Sequence[str], reference: NDArray[np.float32], answers: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits (texts, tokens, vocabulary) of the model before and after where both stand at the same character, for
        the tokens that are left: both (texts, places, kept), NaN behind the end."""
        pairs = []
        for text, one, other in zip(texts, reference, answers, strict=True):
            places = self.places(text, [int(np.isfinite(row[:, 0]).sum()) for row in (one, other)])
            pairs.append((one[places.before][:, self.rows], other[places.after]))
        longest = max(len(one) for one, _ in pairs)
        shape = (len(pairs), longest, len(self.rows))
        found = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
        for number, pair in enumerate(pairs):
            for into, one in zip(found, pair, strict=True):
                into[number, : len(one)] = one
        return found

    def _ends(self, which: int, text: str, most: int | None) -> list[tuple[int, int]]:
        """Characters that tokens end behind, with the number of the token that does."""
        generation = self._texts[which].generation
        begun = len(generation.begin) if generation is not None else 0
        offsets = self._readers[which].encode(text, add_special_tokens=False).offsets
        # a character of several tokens ends with the last of them
        last = {end: number for number, (_, end) in enumerate(offsets, start=begun)}
        return [(end, number) for end, number in last.items() if most is None or number < most]
