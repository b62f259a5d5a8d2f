"""Weights that learn, from the model that they come from, while they are rounded."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta, Struct
from msgspec.structs import replace

from toolkit.compress.calibration import Calibration
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, QUANTISED, Form, StepReport
from toolkit.compress.steps.static_int8 import StaticInt8
from toolkit.compress.steps.weight_bits import WeightBits
from toolkit.extras import needs

__all__ = ["Qat"]


class Qat(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="qat"):
    """Quantisation-aware training: what `to` would round, weights in blocks or to int8 with the activations that they
    are multiplied by, is rounded in each pass while it learns from the model that was brought, as in `distil`; so do
    the scales of weights, and of what comes into linear layers; where the whole graph is in integers, those of
    activations are held. What comes out is the graph that `to` makes, with the integers that were learned. Zeros of
    matrices stay zeros. Weights with `scales` "offset", among which zero is none, are left to `weight-bits`.

    Esser et al., "Learned Step Size Quantization" (LSQ), 2020, with zero points held; Jacob et al., "Quantization and
    Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018.
    """

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT})
    gives: ClassVar[Form | None] = QUANTISED
    calibrates: ClassVar[bool] = True

    to: WeightBits | StaticInt8 = WeightBits(bits=4)
    epochs: Annotated[int, Meta(ge=1, le=10_000)] = 3
    batch: Annotated[int, Meta(ge=1, le=65_536)] = 16
    rate: Annotated[float, Meta(gt=0, le=1)] = 1e-4
    processes: Annotated[int, Meta(ge=1, le=64)] = 1
    seed: Annotated[int, Meta(ge=0, lt=2**32)] = 0

    def __post_init__(self) -> None:
        if isinstance(self.to, WeightBits) and self.to.scales == "offset":
            raise ValueError('`to` has `scales` "offset", among whose levels zero is none')
        if isinstance(self.to, StaticInt8) and self.to.activation_bits != 8:
            raise ValueError("`to` has `activation_bits` 16, for which the runtime has no kernel that keeps to them")

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """See Step. Raises CompressionError also where the model takes other tokens than the one that was brought;
        TrainingError."""
        with quiet(), needs("compress"):
            from toolkit.compress.layers import Graph
            from toolkit.compress.rounding import plan_of
            from toolkit.compress.taught import taught
            from toolkit.train.settings import Settings
        graph = Graph(model, "qat")
        plan = plan_of(self.to, graph, data)
        settings = Settings(
            epochs=self.epochs,
            batch=self.batch,
            rate=self.rate,
            seed=self.seed,
            processes=self.processes,
            lesson=plan.lesson,
        )
        weights, outcome = taught(graph, plan.student, data, settings)
        made, report = plan.finished(model, weights)
        return made, replace(report, spent=outcome)
