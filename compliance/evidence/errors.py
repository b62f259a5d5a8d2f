"""What can stand in the way of evidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from policies.errors import Unusable

__all__ = ["EvidenceError"]


class EvidenceError(Unusable):
    """Evidence that cannot be made as it was asked for."""

    hints: ClassVar[Mapping[str, str]] = {
        "evidence_exists": "Choose another name for --out: nothing is overwritten.",
        "evidence_empty": "Give a --from that lies before --to and before the last signed head.",
        "evidence_large": "Ask for a shorter period: evidence holds at most 20,000 records from before it.",
        "evidence_head": "Give a head of this journal, as `sealpress journal head` writes it.",
    }
