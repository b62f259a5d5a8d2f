"""What can go wrong with the stores beside the journal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from policies.errors import Failed, Refused

__all__ = ["HoldError", "StateError"]


class StateError(Failed):
    """A store beside the journal that cannot be used."""

    hints: ClassVar[Mapping[str, str]] = {
        "state_missing": "Restore the folder state/ from its backup: a new one would make the old records unreadable.",
        "state_broken": "Free some disk space, check the permissions, or restore the folder state/ from its backup.",
        "state_format": "Use the version of sealpress that wrote it: nothing was changed.",
        "state_policy": "Restore state/policies from a backup: the texts in force then are not here any more.",
        "state_rolled_back": "Restore the newest folder state/ there is: this one would bring back what was erased.",
    }


class HoldError(Refused):
    """A legal hold that is in the way, or is not there."""

    hints: ClassVar[Mapping[str, str]] = {
        "subject_held": "Nothing was erased. When its ground is gone, run `sealpress subject release` for each hold.",
        "hold_unknown": "`sealpress journal retain` lists the holds in force with their ids.",
    }
