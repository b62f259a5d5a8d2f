"""How far combinations of steps come on EfficientNet-Lite0, beside quantisation alone and a peer.

What was pressed, and how near it is to FP32, is kept between runs (`compression-press` makes it and times nothing), so
that this one is a pass over files on a quiet machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec import Struct

from benchmarks.compression import recipes
from benchmarks.compression.fields import FIELDS, Field
from benchmarks.compression.kept import PEER, files_of, opened, qualities
from benchmarks.compression.matching import Quality, nearest, said
from benchmarks.compression.table import FP32, timed
from benchmarks.frame import Result, goal, measured
from toolkit.compress.ladder import NAMES as SHIPPED
from toolkit.compress.source import Measure

__all__ = ["run"]

RUNS, ROUNDS = 7, 21  # short rounds, and many: on a shared machine what disturbs falls on everybody
SMALL = 4_000_000  # bytes of EfficientNet-Lite0


class Table(Struct, frozen=True, kw_only=True):
    """A result made of some of what was timed; `points` makes notes from it."""

    name: str
    what: str
    candidates: Sequence[str]
    points: Callable[[Field, Mapping[str, Quality], Result], list[str]]


def run() -> list[Result]:
    made = []
    for field in FIELDS:
        with field() as one, TemporaryDirectory() as folder:
            files = files_of(one)
            found = qualities(one, files)
            candidates = {name: opened(files, name, Path(folder)) for name in files}
            rounds = timed(candidates, one.asked(files[FP32]), RUNS, ROUNDS)
            for table in TABLES[one.name]:
                names = [name for name in files if name in {FP32, *table.candidates}]
                made.append(
                    measured(
                        f"compression-{table.name}-{one.name}-{one.shape}",
                        f"{table.what}; {one.shape}, one thread; the lower the better",
                        "ms",
                        FP32,
                        {name: rounds[name] for name in names},
                        notes=partial(_notes, table, one, found),
                        packages=["onnxruntime", "onnx", "torch", "numpy"],
                    )
                )
    return made


def _notes(table: Table, field: Field, found: Mapping[str, Quality], result: Result) -> list[str]:
    return [
        *table.points(field, found, result),
        *(f"{name}: {found[name].told()}. {_how(field, name)}" for name in result.rounds),
        field.said,
        "MB are 10^6 bytes of the whole ONNX file (of OpenVINO's: .xml and .bin), packed: the same by zstd at level 3; "
        "measures against FP32: the mean and the 5 % and 95 % quantiles of its bootstrap",
        "OpenVINO 2026.4.1 on one thread, f32 hint, for latency; NNCF 3.4.0 with its defaults",
    ]


def _how(field: Field, name: str) -> str:
    if name in SHIPPED:
        return "A recipe that comes with the package"
    if name in field.recipes:
        return f"Recipe: {recipes.told(field.recipes[name])}"
    return {FP32: "As exported", PEER: "In OpenVINO"}.get(name, "ONNX Runtime's own quantiser, per channel")


def _small(field: Field, found: Mapping[str, Quality], result: Result) -> list[str]:
    """The best within 4,000,000 bytes, and whether it agrees as it should."""
    times = {name: result.median(name) for name in result.rounds}
    point = nearest(found, list(field.recipes), "correlation", SMALL)
    notes = [said("At most 4 MB, best by the correlation of logits", point, found, times)]
    if point is not None:
        notes.append(goal("agreement with FP32 in 4 MB", _mean(found, point, "agreement"), least=0.95))
    return notes


def _mean(found: Mapping[str, Quality], name: str, measure: Measure) -> float:
    return found[name].held_out[measure].mean


TABLES: Mapping[str, Sequence[Table]] = {
    "efficientnet": (
        Table(
            name="points",
            what="EfficientNet-Lite0 in at most 4 MB, batch x height x width",
            candidates=("ONNX Runtime static int8", PEER, *recipes.PHOTOS),
            points=_small,
        ),
    ),
}
