"""What can be wrong with what is asked of the catalogue of controls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from policies.errors import Refused

__all__ = ["ControlError"]


class ControlError(Refused):
    """A control that there is not."""

    hints: ClassVar[Mapping[str, str]] = {
        "control_unknown": "Give the id of a control, as a report shows it.",
    }
