"""The quota of a caller: each call is counted before it is decided, and the rule `base.quota` decides by the count."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import structs

from compliance.state.usage import Usage
from policies.errors import Denied
from policies.payload import InputError
from serve.caller import Caller
from toolkit.box import Context

__all__ = ["counted"]


@contextmanager
def counted(usage: Usage, caller: Caller, context: Context) -> Iterator[Context]:
    """Around one decision and its run: the context with what the caller has used by now, and with the quota.

    A call that was refused, or could not be taken, is given back; one that may have run is not. Raises StateError.
    """
    if caller.key:
        usage.saw(caller.id, time.time_ns())
    if not caller.counted:
        yield context
        return
    count = usage.reserve(caller.account)
    try:
        yield structs.replace(context, usage=count.usage, quota=count.quota)
    except (Denied, InputError):
        if count.taken:
            usage.give_back(caller.account)
        raise
