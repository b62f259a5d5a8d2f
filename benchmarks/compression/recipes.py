"""What is pressed of all-MiniLM-L6-v2 and EfficientNet-Lite0 to see how far combinations of steps come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toolkit.compress.ladder import named

__all__ = ["ALONE", "COMBINED", "PHOTOS", "PRUNED", "SPARSE", "Tables", "told"]

Tables = Sequence[Mapping[str, Any]]  # the steps of a recipe


def told(tables: Tables) -> str:
    """A recipe in a line: kinds of steps with their options."""
    return ", then ".join(map(_step, tables)) or "as exported"


def _step(table: Mapping[str, Any]) -> str:
    options = ", ".join(f"{key} {value}" for key, value in table.items() if key != "kind")
    return f"{table['kind']} ({options})" if options else str(table["kind"])


def _neurons(percent: int) -> dict[str, Any]:
    return {"kind": "prune-neurons", "keep": percent / 100}


def _zeros(method: str, pattern: str) -> Tables:
    return ({"kind": "sparsify", "method": method, "pattern": pattern},)


SMOOTH = {"kind": "smooth-quant", "alpha": 0.7}
INTEGERS = {"kind": "static-int8", "scales": "pairs"}
LAYERS = {**INTEGERS, "tables": False}
WIDE = {"kind": "gptq", "block": 128, "scales": "hqq"}
HALVES, THIRDS = {"kind": "table-codebook"}, {"kind": "table-codebook", "word": 3}


# those that begin alike are neighbours: what they share is pressed once
ALONE: Mapping[str, Tables] = {
    name: named(name).plain() for name in ("int8", "int8-static", "w8-t4", "w4-t4", "int8-smooth")
}
COMBINED: Mapping[str, Tables] = {
    "int8-smooth, tables in words of three": (SMOOTH, LAYERS, THIRDS),
    "gptq-t4": named("gptq-t4").plain(),
    "gptq-words": named("gptq-words").plain(),
    "gptq by 16, tables in words of two": ({"kind": "gptq", "block": 16}, HALVES),
    "gptq by 128, tables in words of two": (WIDE, HALVES),
    "gptq by 128, tables in words of three": (WIDE, THIRDS),
    "words": named("words").plain(),
    "words, tables in words of three": ({"kind": "codebook"}, THIRDS),
    "neurons 95 %, int8-smooth, tables in words of three": (_neurons(95), SMOOTH, LAYERS, THIRDS),
}
PRUNED: Mapping[str, Tables] = {
    "neurons 75 %": (_neurons(75),),
    "neurons 75 %, int8-smooth": (_neurons(75), SMOOTH, INTEGERS),
    "neurons 75 % without repair": ({**_neurons(75), "repair": False},),
    "ranks 81 %": ({"kind": "factorise", "keep": 0.81},),
}
SPARSE: Mapping[str, Tables] = {
    f"zeros, {told} by {method}": _zeros(method, pattern)
    for method in ("magnitude", "wanda", "sparsegpt")
    for pattern, told in (("unstructured", "half"), ("2:4", "2:4"), ("block", "blocks of 4 x 4"))
}

CORRECTED = ({"kind": "equalise"}, {"kind": "bias-correction", "scales": "pairs"})
GRAPH = {"kind": "static-int8", "range": "mse", "scales": "pairs"}


# of the nine convolutions of 200,000 weights or more all but the last three, by their names in the export
MIDDLE = tuple(f"node_Conv_{number}" for number in (857, 860, 862, 865, 867, 870))


def _large(exclude: Sequence[str] = ()) -> Tables:
    return (*CORRECTED, {"kind": "codebook", "pointwise": 200_000, "exclude": list(exclude)}, GRAPH)


PHOTOS: Mapping[str, Tables] = {
    "int8-static": named("int8-static").plain(),
    "int8-corrected": named("int8-corrected").plain(),
    "head and nine large convolutions in words": _large(),
    "head and three large convolutions in words": _large(MIDDLE),
}
