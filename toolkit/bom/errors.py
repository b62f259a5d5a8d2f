"""What keeps a bundle from becoming a bill of materials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from policies.errors import Refused

__all__ = ["BomError"]


class BomError(Refused):
    """A bundle that says something for which a format has no place."""

    hints: ClassVar[Mapping[str, str]] = {
        "bom_invalid": "Sign the bundle again with what the message names put right, or take the other format.",
    }
