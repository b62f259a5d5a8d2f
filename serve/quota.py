"""The quotas of a caller. Each call is counted before it is decided, and the rule `base.quota` decides by the count;
an answer for which there are not enough tokens is not begun."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import structs

from compliance.state.usage import Short, Usage
from policies.errors import Denied
from policies.payload import InputError
from serve.admission import Busy
from serve.caller import Caller
from toolkit.box import Context

__all__ = ["counted", "held"]


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


@contextmanager
def held(usage: Usage, caller: Caller, context: Context, tokens: int, used: Callable[[], int]) -> Iterator[Context]:
    """The same around an answer that takes at most so many tokens, of prompt and answer: they are counted until it is
    over, and then those that were `used`. Raises StateError; Busy "tokens_exceeded" where there are not as many."""
    if caller.tokens_per_minute is None and caller.tokens_per_day is None:
        with counted(usage, caller, context) as decided:
            yield decided
        return
    found = usage.hold(
        caller.account,
        tokens,
        int(time.time()),
        per_minute=caller.tokens_per_minute,
        per_day=caller.tokens_per_day,
    )
    if isinstance(found, Short):
        said = f"prompt and answer may take {tokens} tokens; of {found.limit} a {found.window} {found.left} are left"
        raise Busy("tokens_exceeded", said, found.ends_s)
    try:
        with counted(usage, caller, context) as decided:
            yield decided
    finally:
        usage.settle(found, used())
