"""What an answer is obliged to carry: whoever shows it to a person finds it in its body, and in its headers with what
was done to the input.

In a header, a text in ASCII stands as it is; any other is a Display String of RFC 9651 (section 3.3.8): UTF-8,
percent-encoded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import get_args

from policies.facts import Carried, Obligation

__all__ = ["carried", "headers"]

_NAMES: Mapping[str, str] = {
    "redact": "X-Redacted",
    "pseudonymise": "X-Pseudonymised",
    "attribution": "X-Attribution",
    "ai_notice": "X-AI-Notice",
}
# what would be taken for a Display String, or trimmed on the way, does not stand as it is either
_PLAIN = re.compile(r"(?!%\")[!-~](?:[ -~]*[!-~])?")


def headers(obligations: Iterable[Obligation]) -> dict[str, str]:
    """One header for each obligation with a text: of what was done to the input, the categories that were taken out."""
    return {_NAMES[one.kind]: _field(one.text) for one in obligations if one.text}


def carried(obligations: Iterable[Obligation]) -> dict[str, str]:
    """What the answer has to say, by the name of the obligation: members of its body. Empty where it is nothing."""
    return {one.kind: one.text for one in obligations if one.kind in get_args(Carried) and one.text}


def _field(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    encoded = (chr(byte) if 0x20 <= byte <= 0x7E and byte not in b'%"' else f"%{byte:02x}" for byte in text.encode())
    return f'%"{"".join(encoded)}"'
