"""Where a training runs: in which folder it is kept, in how many processes, on which hosts."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

__all__ = ["Place"]


class Place(Struct, frozen=True, kw_only=True):
    """Trainings are kept below `folder`, each under its own digest; without one, nothing outlasts the step.

    `processes` stand in the place of those that a step names, on each of `hosts`; this one is the host `rank`, counted
    from 0, and all find each other at `meet` (HOST:PORT of the first). With `shards` each process holds a part of the
    weights, the gradients and the moments (FSDP) instead of all; `bfloat16`: products are made of halves of floats.
    Who hears nothing of another process for `patience_s` seconds gives it up.
    """

    folder: Path | None = None
    processes: int | None = None
    hosts: int = 1
    rank: int = 0
    meet: str = ""
    shards: bool = False
    bfloat16: bool = False
    patience_s: float = 120.0

    @property
    def leads(self) -> bool:
        """Whether this host keeps the checkpoints, and hands out what came of the training."""
        return self.rank == 0
