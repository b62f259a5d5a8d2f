"""A budget: what a pressed model may weigh, how near it must stay, how fast it must be."""

from __future__ import annotations

import re

from msgspec import Struct

from toolkit.compress.errors import BudgetError
from toolkit.compress.results import Result

__all__ = ["FLOOR", "Budget"]

FLOOR = 0.9  # below this fidelity nothing is handed out, unless the budget states another

MAX_TEXT = 1000
_NUMBER = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)"
_PARTS = {
    "size": re.compile(rf"size\s*<=\s*{_NUMBER}\s*MB"),
    "fidelity": re.compile(rf"fidelity\s*>=\s*{_NUMBER}"),
    "latency": re.compile(rf"latency\s*<=\s*{_NUMBER}\s*x"),
}


class Budget(Struct, frozen=True, kw_only=True):
    """`size` in MB of 10^6 bytes, `fidelity` as its lower bound, `latency` as a share of that of the FP32 export."""

    size: float | None = None
    fidelity: float = FLOOR
    latency: float | None = None

    @classmethod
    def parse(cls, text: str) -> Budget:
        """The budget of a text such as "size<=20MB, fidelity>=0.99, latency<=0.4x". Raises BudgetError."""
        found: dict[str, float] = {}
        for part in text[: MAX_TEXT + 1].split(","):
            name, match = next(
                ((name, match) for name, form in _PARTS.items() if (match := form.fullmatch(part.strip()))), ("", None)
            )
            if match is None or name in found or len(text) > MAX_TEXT:
                raise BudgetError("budget_text", f"{part.strip()[:80]!r} is no part of a budget, or stands there twice")
            found[name] = float(match[1])
        if found.get("fidelity", 0) > 1:
            raise BudgetError("budget_text", "a fidelity is at most 1")
        return cls(**found)

    def missed(self, result: Result) -> tuple[str, ...]:
        """What a result misses, a sentence each; nothing where it keeps to the budget."""
        size, low = result.size_bytes / 1e6, result.fidelity.score.low
        share = result.latency_ms / result.latency_before_ms
        missed = []
        if self.size is not None and size > self.size:
            missed.append(f"it has {size:.2f} MB, above {self.size:g}")
        if not low >= self.fidelity:  # NaN is refused too
            missed.append(f"its fidelity is {low:.4f}, below {self.fidelity:g}")
        if self.latency is not None and share > self.latency:
            missed.append(f"its latency is {share:.3f} of FP32, above {self.latency:g}")
        return tuple(missed)
