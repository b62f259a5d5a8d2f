"""Which leaves of the journal a number stands on, as ranges: shard-000/3-17."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Leaves", "ranges"]

Leaves = tuple[str, ...]


def ranges(records: Iterable[str]) -> Leaves:
    """Records such as shard-000/3, in any order and more than once, as the fewest ranges, in the journal's order."""
    by_shard: dict[str, set[int]] = {}
    for record in records:
        shard, _, number = record.rpartition("/")
        by_shard.setdefault(shard, set()).add(int(number))
    found = []
    for shard, sequences in sorted(by_shard.items()):
        start = last = -2
        for sequence in [*sorted(sequences), -2]:
            if sequence != last + 1:
                if last >= 0:
                    found.append(f"{shard}/{start}" if start == last else f"{shard}/{start}-{last}")
                start = sequence
            last = sequence
    return tuple(found)
