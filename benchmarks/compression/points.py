"""How far combinations of steps come on all-MiniLM-L6-v2 and EfficientNet-Lite0, beside quantisation alone and a peer.

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
from benchmarks.compression.matching import Quality, fastest, nearest, said
from benchmarks.compression.table import FP32, encoder_share, timed
from benchmarks.frame import Result, goal, measured
from toolkit.compress.ladder import NAMES as SHIPPED
from toolkit.compress.source import Measure

__all__ = ["run"]

BOUNDS = (15, 12, 10)  # MB
RUNS, ROUNDS = 7, 21  # short rounds, and many: on a shared machine what disturbs falls on everybody
SMALL = 4_000_000  # bytes of EfficientNet-Lite0
LEAST = 0.97  # of the cosine, where the fastest is looked for
ALONE = (*recipes.ALONE, "ONNX Runtime dynamic int8")


class Table(Struct, frozen=True, kw_only=True):
    """A result made of some of what was timed; `points` makes notes from it."""

    name: str
    what: str
    candidates: Sequence[str]
    points: Callable[[Field, Mapping[str, Path], Mapping[str, Quality], Result], list[str]]


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
                        notes=partial(_notes, table, one, files, found),
                        packages=["onnxruntime", "onnx", "torch", "numpy"],
                    )
                )
    return made


def _notes(
    table: Table, field: Field, files: Mapping[str, Path], found: Mapping[str, Quality], result: Result
) -> list[str]:
    return [
        *table.points(field, files, found, result),
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


def _bounded(field: Field, _: Mapping[str, Path], found: Mapping[str, Quality], result: Result) -> list[str]:
    """The best at each bound, the best of quantisation alone, and the fastest that is near enough."""
    times = {name: result.median(name) for name in result.rounds}
    measure, own = field.measures[0], [name for name in result.rounds if name in field.recipes]
    notes = []
    for bound in BOUNDS:
        for what, names in (("best", own), ("best of quantisation alone", [n for n in ALONE if n in times])):
            point = nearest(found, names, measure, bound * 1_000_000)
            notes.append(said(f"At most {bound} MB, {what}", point, found, times))
    quick = fastest(found, own, measure, LEAST, times)
    notes.append(said(f"Fastest at a cosine of {LEAST} or more", quick, found, times))
    notes.append(said("The peer", PEER, found, times))
    if quick is not None:
        what = f"time of the fastest at a cosine of {LEAST} or more beside that of {PEER}"
        notes.append(goal(what, times[quick] / times[PEER], most=1))
    return notes


def _small(field: Field, _: Mapping[str, Path], found: Mapping[str, Quality], result: Result) -> list[str]:
    """The best within 4,000,000 bytes, and whether it agrees as it should."""
    times = {name: result.median(name) for name in result.rounds}
    point = nearest(found, list(field.recipes), "correlation", SMALL)
    notes = [said("At most 4 MB, best by the correlation of logits", point, found, times)]
    if point is not None:
        notes.append(goal("agreement with FP32 in 4 MB", _mean(found, point, "agreement"), least=0.95))
    return notes


def _pruned(_: Field, files: Mapping[str, Path], found: Mapping[str, Quality], result: Result) -> list[str]:
    repaired, bare = "neurons 75 %", "neurons 75 % without repair"
    return [
        goal("cosine with a quarter of the neurons gone, and repair,", _mean(found, repaired, "cosine"), least=0.955),
        f"Without repair it is {_mean(found, bare, 'cosine'):.4f}",
        *(
            f"{name}: {encoder_share(files[name], files[FP32]):.1%} of the encoder's parameters, "
            f"{1 / result.ratio(name):.2f} times as fast as FP32"
            for name in result.rounds
            if name in recipes.PRUNED and "int8" not in name
        ),
    ]


def _sparse(_: Field, __: Mapping[str, Path], ___: Mapping[str, Quality], result: Result) -> list[str]:
    ratios = [1 / result.ratio(name) for name in result.rounds if name in recipes.SPARSE and "int8" not in name]
    return [
        f"Zeros are no speed: floats with half of the weights zero are {min(ratios):.2f} to {max(ratios):.2f} times as "
        "fast as FP32. What they make smaller is the packed file"
    ]


def _mean(found: Mapping[str, Quality], name: str, measure: Measure) -> float:
    return found[name].held_out[measure].mean


# of one run each: what is in two tables was timed once
TABLES: Mapping[str, Sequence[Table]] = {
    "minilm": (
        Table(
            name="points",
            what="all-MiniLM-L6-v2 by combinations of steps, without training, batch x tokens",
            candidates=(*ALONE, PEER, *recipes.COMBINED, "neurons 75 %, int8-smooth"),
            points=_bounded,
        ),
        Table(
            name="pruned",
            what="all-MiniLM-L6-v2 with neurons or ranks taken out, batch x tokens",
            candidates=(PEER, "int8-smooth", *recipes.PRUNED),
            points=_pruned,
        ),
        Table(
            name="sparse",
            what="all-MiniLM-L6-v2 with zeros, and in few bits, batch x tokens",
            candidates=("gptq-t4", "gptq-words", "int8-smooth", *recipes.SPARSE),
            points=_sparse,
        ),
    ),
    "efficientnet": (
        Table(
            name="points",
            what="EfficientNet-Lite0 in at most 4 MB, batch x height x width",
            candidates=("ONNX Runtime static int8", PEER, *recipes.PHOTOS),
            points=_small,
        ),
    ),
}
