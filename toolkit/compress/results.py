"""What was measured, as values."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from toolkit.bundle import Found
from toolkit.compress.source import Measure
from toolkit.compress.step import StepReport

__all__ = [
    "Diagnosis",
    "Example",
    "Fidelity",
    "Interval",
    "Kernel",
    "LayerError",
    "Outlier",
    "Result",
    "Run",
    "Sensitivity",
    "Slice",
    "TensorSize",
    "Trial",
]


class Interval(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mean and the bounds of its two-sided 90 % bootstrap interval, so that `low` is the lower 95 % bound."""

    mean: float
    low: float
    high: float


class Slice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Some of the items: those of a length, a label or a class, such as "length 1-16" or "label positive"."""

    name: str
    items: int
    score: Interval


class Fidelity(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How near the answers are to the original's. `worst` are the numbers of the items with the lowest scores, the
    lowest first, and `worst_scores` their scores."""

    measure: Measure
    score: Interval
    slices: tuple[Slice, ...]
    worst: tuple[int, ...]
    worst_scores: tuple[float, ...]


class Kernel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An operator as the runtime ran it: the types of its first two inputs, how often in one run, and its share of the
    time of all."""

    operator: str
    inputs: str
    count: int
    share: float


class Result(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model, measured. `latency_ms` and `latency_before_ms` are medians of the same run, in turn; `task` the task's
    own metric by name where the items carry labels, and `kinds` what was found of each kind of entity where they carry
    marked ones; `kernels` what ran, `memory_bytes` the most that the runtime's
    allocator held, and `energy_mj` the millijoules of one run, None where the host does not tell."""

    size_bytes: int
    transport_bytes: int
    fidelity: Fidelity
    latency_ms: float
    latency_before_ms: float
    task: dict[str, Interval] = {}
    kinds: dict[str, Found] = {}
    kernels: tuple[Kernel, ...] = ()
    memory_bytes: int = 0
    energy_mj: float | None = None


class Trial(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One recipe that was tried. `missed` says what of the budget it misses, or why no model came of it; `digest` is
    the SHA-256 of its ONNX file, empty where there is none."""

    number: int
    name: str
    recipe: tuple[dict[str, Any], ...]
    steps: tuple[StepReport, ...]
    digest: str
    result: Result | None
    missed: tuple[str, ...]
    seconds: float


class LayerError(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a layer's output lost, in decibels of signal to noise against the FP32 export: more is better."""

    name: str
    kind: str
    decibels: float


class Sensitivity(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the answer loses when one layer alone is pressed: the power of the change over that of the answer."""

    name: str
    kind: str
    lost: float


class Outlier(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An input channel of a layer whose largest value is `times` the median of those of all its channels."""

    name: str
    channel: int
    times: float


class Diagnosis(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a recipe hurts a model. `layers` hold the error after each layer in the order of the graph, `fall` the
    first that is below `FALL` decibels; `sensitivity`, what costs most first; `outliers`, the farthest first."""

    name: str
    recipe: str
    export_error: float
    fidelity: Interval
    steps: tuple[StepReport, ...]
    layers: tuple[LayerError, ...]
    fall: LayerError | None
    sensitivity: tuple[Sensitivity, ...]
    outliers: tuple[Outlier, ...]


class TensorSize(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The bytes of one stored tensor of the pressed model, by the name it has there, and how it is stored."""

    name: str
    stored: str
    size_bytes: int


class Example(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An item of the evaluation with a low score: its number, what it was (a text is cut short), its score."""

    number: int
    shown: str
    score: float


class Run(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole compression, as its report shows it. `chosen` is the number of the trial that was handed out, None where
    all were refused; `nearest` that which came nearest. `sizes`, `layers` and `worst` are those of the chosen one, else
    of the nearest. `data` holds the digests of the items by use.
    """

    format: Literal[1] = 1
    name: str
    source: str
    task: str
    licence: str
    budget: str
    machine: str
    method: dict[str, str]
    versions: dict[str, str]
    data: dict[str, str]
    export_error: float
    before: Result
    trials: tuple[Trial, ...]
    chosen: int | None
    nearest: int | None
    sizes: tuple[TensorSize, ...] = ()
    layers: tuple[LayerError, ...] = ()
    worst: tuple[Example, ...] = ()
