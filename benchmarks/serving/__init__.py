"""The server beside its peers and beside a bare loop, with gate, privacy scan and sealed journal on, and under strain.

Each part runs by itself, too: `python -m benchmarks serving-closed`, and so on. About 26 minutes in all.
"""

from __future__ import annotations

from benchmarks.frame import Result
from benchmarks.serving import closed, cpu, overload, soak, start

__all__ = ["run"]


def run() -> list[Result]:
    return [result for part in (closed, start, cpu, overload, soak) for result in part.run()]
