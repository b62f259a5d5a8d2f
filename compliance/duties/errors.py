"""What can be wrong with what is told of an incident or a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from policies.errors import Refused

__all__ = ["DutyError"]


class DutyError(Refused):
    """An incident or a request that is not there, or to which this does not happen."""

    hints: ClassVar[Mapping[str, str]] = {
        "duty_unknown": "`sealpress incident list` and `sealpress subject request list` show them with their ids.",
        "duty_closed": "Open another one: what was closed or answered stays as it was told.",
        "duty_extended": "The law lets this time be extended once, and only while it runs, for some kinds.",
        "duty_time": "Give times in their order, and none that lies ahead.",
        "duty_malformed": "Take the file from a backup, or remove it: the journal tells the same.",
    }
