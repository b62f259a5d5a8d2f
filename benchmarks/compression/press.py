"""Press what `compression-points` times, and find how near it is to FP32. Nothing is timed, so that others may work."""

from __future__ import annotations

from benchmarks.compression.fields import FIELDS
from benchmarks.compression.kept import files_of, qualities
from benchmarks.frame import Result

__all__ = ["run"]


def run() -> list[Result]:
    for field in FIELDS:
        with field() as one:
            qualities(one, files_of(one))
    return []
