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


def _eights(share: float) -> dict[str, Any]:
    return {"kind": "mixed", "rough": "gptq", "share": share}


# those that begin alike are neighbours: what they share is pressed once
ALONE: Mapping[str, Tables] = {
    name: named(name).plain() for name in ("int8", "int8-static", "w8-t4", "w4-t4", "int8-smooth")
}
COMBINED: Mapping[str, Tables] = {
    "int8-smooth, tables in words of three": (SMOOTH, LAYERS, THIRDS),
    "gptq-t4": named("gptq-t4").plain(),
    "gptq-words": named("gptq-words").plain(),
    "gptq by 128, tables in words of two": (WIDE, HALVES),
    "gptq by 128, tables in words of three": (WIDE, THIRDS),
    "words": named("words").plain(),
    "words, tables in words of three": ({"kind": "codebook"}, THIRDS),
    "neurons 95 %, int8-smooth, tables in words of three": (_neurons(95), SMOOTH, LAYERS, THIRDS),
    "gptq, a third in 8 bits, tables in words of two": (_eights(0.33), HALVES),
    "gptq, two thirds in 8 bits, tables in words of three": (_eights(0.66), THIRDS),
    "neurons 85 %, words": (_neurons(85), {"kind": "codebook"}, HALVES),
    "neurons 75 %, int8-smooth, tables in words of three": (_neurons(75), SMOOTH, LAYERS, THIRDS),
}
PRUNED: Mapping[str, Tables] = {
    "neurons 75 %": (_neurons(75),),
    "neurons 75 %, int8-smooth": (_neurons(75), SMOOTH, INTEGERS),
    "neurons 75 % without repair": ({**_neurons(75), "repair": False},),
    "ranks 81 %": ({"kind": "factorise", "keep": 0.81},),
}
SPARSE: Mapping[str, Tables] = {
    **{
        f"zeros, {told} by {method}": _zeros(method, pattern)
        for pattern, told in (("unstructured", "half"), ("2:4", "2:4"), ("block", "blocks of 4 x 4"))
        for method in ("sparsegpt", "wanda", "magnitude")
    },
    "zeros, half by sparsegpt, int8-smooth": (*_zeros("sparsegpt", "unstructured"), SMOOTH, INTEGERS),
}

CORRECTED = ({"kind": "equalise"}, {"kind": "bias-correction", "scales": "pairs"})
GRAPH = {"kind": "static-int8", "range": "mse", "scales": "pairs"}


# of the nine convolutions of 200,000 weights or more all but the last three, by their names in the export
MIDDLE = tuple(f"node_Conv_{number}" for number in (857, 860, 862, 865, 867, 870))


def _large(least: int, exclude: Sequence[str] = (), before: Tables = CORRECTED) -> Tables:
    return (*before, {"kind": "codebook", "pointwise": least, "exclude": list(exclude)}, GRAPH)


PHOTOS: Mapping[str, Tables] = {
    "int8-static": named("int8-static").plain(),
    "int8-corrected": named("int8-corrected").plain(),
    "head and nine large convolutions in words": _large(200_000),
    "head and three large convolutions in words": _large(200_000, MIDDLE),
    "head in words": _large(0),
    "channels 80 %, head in words": _large(0, before=({"kind": "prune-channels", "keep": 0.8}, *CORRECTED)),
}
