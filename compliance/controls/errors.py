"""What can be wrong with what is asked of the catalogue of controls, or with an answer to one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from policies.errors import Refused

__all__ = ["ControlError"]


class ControlError(Refused):
    """A control that there is not, or an answer that does not hold."""

    hints: ClassVar[Mapping[str, str]] = {
        "control_unknown": "Give the id of a control, as a report shows it.",
        "control_measured": "Change what the check looks at; the report says how, under what is to be fixed first.",
        "answer_person": "Sign with the key of a person whom the settings name under [override.approvers].",
        "answer_forged": "Ask the person for the answer again: its text is not what was signed.",
    }
