"""Few bits for the layers that bear them, more for those that do not: found by trying each layer alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from toolkit.compress.calibration import Calibration
from toolkit.compress.grid import Scales
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, FUSED, QUANTISED, Form, StepReport
from toolkit.compress.steps.gptq import Gptq
from toolkit.compress.steps.static_int8 import StaticInt8
from toolkit.compress.steps.weight_bits import WeightBits
from toolkit.extras import needs

if TYPE_CHECKING:
    from toolkit.compress.layers import Layer

__all__ = ["Mixed", "kept_fine"]


class Mixed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="mixed"):
    """Mixed precision by sensitivity. Layers that share an input go together. Each such group is pressed alone, and
    what the answer of the model loses by that decides: the groups that cost most, up to `share` of the weights, get
    8-bit weights in blocks and keep their activations as floats; the others become what `rough` says: "int8" weights
    and activations (as `static-int8` does, with its `scales`), or "4bit" weights in blocks (as `weight-bits`; with
    "gptq" as that step). With "int8-graph" convolutions take part, the whole graph is in integers, and what costs most
    stays float. Tables stay as they are.

    The first `items` calibration items are looked at. Dong et al., "HAWQ: Hessian AWare Quantization of Neural
    Networks with Mixed-Precision", 2019, with the loss measured instead of estimated from a Hessian.
    """

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT, FUSED})
    gives: ClassVar[Form | None] = QUANTISED
    calibrates: ClassVar[bool] = True

    rough: Literal["int8", "int8-graph", "4bit", "gptq"] = "int8"
    share: Annotated[float, Meta(ge=0, le=1)] = 0.25
    items: Annotated[int, Meta(ge=1, le=1000)] = 16
    scales: Scales = "minmax"

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """See Step."""
        with quiet(), needs("compress"):
            from toolkit.compress.diagnosis import lost
            from toolkit.compress.layers import Graph
            from toolkit.compress.weights import finished, floats_left, opened
        graph = Graph(model, "mixed")
        groups: dict[str, list[Layer]] = {}
        for layer in graph.layers:
            if layer.linear or self.rough == "int8-graph":
                groups.setdefault(layer.input, []).append(layer)
        if not groups:
            raise graph.failed("the graph has no such layer whose weights are constant floats")
        names = [[layer.name for layer in layers] for layers in groups.values()]
        sizes = [sum(graph.matrix(layer).size for layer in layers) for layers in groups.values()]
        every = [name for group in names for name in group]

        def losses() -> list[float]:
            few = data.first(self.items)
            expected = list(few.outputs(model))
            # what its error is made up by is learned from all of the data, once
            learned = data if self.rough == "gptq" else few
            return [
                lost(expected, few, self._rough(model, learned, [name for name in every if name not in group]))
                for group in names
            ]

        key = f"mixed {self.rough} {self.items} {self.scales} {hashlib.sha256(model).hexdigest()}"
        found = data.once(key, losses) if 0 < self.share < 1 else [1.0] * len(names)
        fine = kept_fine(found, sizes, self.share)
        exact = [name for number in fine for name in names[number]]
        coarse = [name for name in every if name not in exact]
        after = self._rough(model, data, exact) if coarse else model
        if exact and self.rough != "int8-graph":
            after, _ = WeightBits(bits=8, exclude=self._others(after, exact)).apply(after, data)
        result = opened(after, "mixed")
        kept = "kept as it is" if self.rough == "int8-graph" else "kept in 8 bits with float activations"
        said = [f"{', '.join(names[number])}: {kept}" for number in fine]
        return finished("mixed", model, result, (*said, *floats_left(result)))

    def _rough(self, model: bytes, data: Calibration, exclude: Sequence[str]) -> bytes:
        if self.rough == "4bit":
            return WeightBits(bits=4, exclude=tuple(exclude)).apply(model, data)[0]
        if self.rough == "gptq":
            return Gptq(exclude=tuple(exclude)).apply(model, data)[0]
        step = StaticInt8(
            reach="layers" if self.rough == "int8" else "graph",
            range="minmax" if self.rough == "int8" else "mse",
            tables=False,
            scales=self.scales,
            exclude=tuple(exclude),
        )
        return step.apply(model, data)[0]

    @staticmethod
    def _others(model: bytes, exact: Sequence[str]) -> tuple[str, ...]:
        """The float layers of a model that are not among some: constants that were left may look like layers."""
        from toolkit.compress.layers import Graph

        return tuple(layer.name for layer in Graph(model, "mixed").layers if layer.name not in exact)


def kept_fine(losses: Sequence[float], sizes: Sequence[int], share: float) -> list[int]:
    """The numbers of the groups that lose most for their size, as many as go into the share; in the order of the
    graph."""
    room = share * sum(sizes)
    chosen = []
    for number in sorted(range(len(losses)), key=lambda number: (-losses[number] / sizes[number], number)):
        if sizes[number] <= room:
            room -= sizes[number]
            chosen.append(number)
    return sorted(chosen)
