"""What is pressed of EfficientNet-Lite0 to see how far combinations of steps come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toolkit.compress.ladder import named

__all__ = ["PHOTOS", "Tables", "told"]

Tables = Sequence[Mapping[str, Any]]  # the steps of a recipe


def told(tables: Tables) -> str:
    """A recipe in a line: kinds of steps with their options."""
    return ", then ".join(map(_step, tables)) or "as exported"


def _step(table: Mapping[str, Any]) -> str:
    options = ", ".join(f"{key} {value}" for key, value in table.items() if key != "kind")
    return f"{table['kind']} ({options})" if options else str(table["kind"])


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
