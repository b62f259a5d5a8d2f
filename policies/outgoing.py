"""What a model writes, on its way out: looked at under the obligations of its call, before anybody reads it.

Of several obligations the strictest counts. Whatever goes wrong with the look ends the answer: what was not looked at
does not count as clean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import ClassVar

from policies.errors import Refused
from policies.facts import Obligation
from policies.privacy.streaming import Streamed

__all__ = ["Outgoing", "OutputRefused"]


_STRICTEST = ("stop_output", "redact_output", "note_output")


class OutputRefused(Refused):
    """An answer that ended since its model wrote what may not be handed out."""

    hints: ClassVar[Mapping[str, str]] = {
        "output_personal": "Ask for something without personal data: the rule privacy.output_stopped ends an answer "
        "before it. What came before is on record.",
        "output_unscanned": "Ask again; where it happens again, report it as a fault of sealpress: what cannot be "
        "looked at is not handed out.",
    }


class Outgoing:
    """The pieces of one answer, under the strictest obligation, `under`; None where none asks for a look. `withholds`:
    they are held back until they are sure, and what belongs to single tokens, such as what might have stood in their
    place, is not handed out at all, since it tells what was masked."""

    def __init__(self, obligations: Iterable[Obligation]) -> None:
        kinds = {one.kind for one in obligations}
        self.under = next((kind for kind in _STRICTEST if kind in kinds), None)
        self._stops = self.under == "stop_output"
        self.withholds = self._stops or self.under == "redact_output"
        self._streamed = None if self.under is None else Streamed()

    @property
    def found(self) -> dict[str, int]:
        """How many findings there were so far, by category; in what was withheld, only those that were decided."""
        return {} if self._streamed is None else dict(sorted(self._streamed.found.items()))

    def passed(self, piece: str, *, last: bool) -> str:
        """What of the text up to this piece is to be handed out now. Raises OutputRefused; then nothing more is."""
        if self._streamed is None:
            return piece
        try:
            sure = self._streamed.added(piece)
            if last:
                sure += self._streamed.rest()
        except Exception as error:  # noqa: BLE001 - whatever it is, the text was not looked at
            raise OutputRefused("output_unscanned", f"{type(error).__name__} in the scan of an answer") from None
        if self._stops and self._streamed.found:
            raise OutputRefused("output_personal", f"the model wrote: {', '.join(sorted(self._streamed.found))}")
        return sure if self.withholds else piece

    def end(self) -> None:
        """Nothing more comes: count what was handed out and is not decided yet, where somebody stopped the answer."""
        if self._streamed is not None and not self.withholds:
            # where the look itself failed, the answer has ended by that, and is on record so
            with suppress(Exception):
                self._streamed.rest()
