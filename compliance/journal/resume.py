"""Go on with a journal: take a shard, mend what a crash left torn in any of them, and join them again.

Nothing is signed by a state that has gone back.
"""

from __future__ import annotations

import logging
from contextlib import closing
from pathlib import Path

from compliance.disk import sync_folder
from compliance.journal.errors import JournalError
from compliance.journal.joint import join
from compliance.journal.records import public
from compliance.journal.recovery import lock, take
from compliance.journal.shard import Shard
from compliance.journal.signing import DayKeys
from compliance.state.errors import StateError
from compliance.verify.leaf import GAP, Gap, Place, shard_name
from compliance.verify.statements import Head

__all__ = ["resume"]

_log = logging.getLogger("sealpress")


def resume(directory: Path, days: DayKeys, destroyed: int, at: int) -> tuple[Shard, int]:
    """A shard that this process may write, and the latest time that was seen (ns), at the time `at`.

    `destroyed` is how many salts the state has destroyed. Raises JournalError, StateError.
    """
    keyring = days.keyring()
    shard, gap = take(directory, keyring, at)
    try:
        heads = [shard.head, *join(directory, keyring, days.signer, at)]
        latest = max(at, *(head.at for head in heads))
        if destroyed < max(head.destroyed for head in heads):
            raise StateError("state_rolled_back", "the salts are older than the journal's last head")
        latest = _go_on(shard, gap, days, destroyed, latest)
        for head in heads[1:]:
            if head.shard != shard.number:
                latest = _mend_abandoned(directory, head, days, destroyed, latest)
        sync_folder(directory)
        join(directory, keyring, days.signer, latest)
    except OSError as error:
        shard.close()
        raise JournalError("journal_write", f"{directory}: {error.strerror}") from None
    except BaseException:
        shard.close()
        raise
    return shard, latest


def _mend_abandoned(directory: Path, head: Head, days: DayKeys, destroyed: int, at: int) -> int:
    """Mend the shard of a process that died. It would stay torn as long as no process needs that many shards."""
    log = directory / f"{shard_name(head.shard)}.log"
    if log.stat().st_size == head.size_bytes:
        return at
    locked = lock(directory, head.shard, days.keyring(), at)
    if locked is None:
        return at  # its process lives, and is ahead of its head
    with closing(locked[0]):
        return _go_on(*locked, days, destroyed, at)


def _go_on(shard: Shard, gap: Gap | None, days: DayKeys, destroyed: int, at: int) -> int:
    """Put a GAP record in the place of what is torn, then cut off the rest; a crash in between is mended again."""
    if gap is not None:
        at = max(at, gap.at)
        _log.warning(
            "%s was not closed: %d records were not signed yet, %d bytes of the log and %d of the heads were dropped",
            *(shard_name(shard.number), gap.unsigned, gap.log_bytes, gap.head_bytes),
        )
        place = Place(GAP, shard.number, shard.size, shard.epoch)
        shard.append(GAP, public(place, gap._replace(at=at).packed()))
        shard.log.cut()
        shard.heads.cut()
    shard.sync(shard.counted(at))
    shard.sign(days.signer(at), destroyed)
    return at
