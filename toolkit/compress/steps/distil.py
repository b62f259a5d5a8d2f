"""The weights that are left taught by the model that they come from."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta, Struct
from msgspec.structs import replace

from toolkit.compress.calibration import Calibration
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, Form, StepReport
from toolkit.extras import needs

__all__ = ["Distil"]


class Distil(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="distil"):
    """Distillation: all matrices, convolutions, biases and normalisations move so that the model gives again, for the
    calibration data, what the one that was brought gives, in its answer and in those hidden states that kept their
    shape. It comes after steps that take weights away and before those that round them. Zeros of matrices stay zeros,
    tables of embeddings stay as they are.

    `batch` items are looked at before the weights move; the `rate` rises, then falls to nothing. Of more `processes`
    each takes a share of every batch, on one processor.

    Hinton et al., "Distilling the Knowledge in a Neural Network", 2015; Jiao et al., "TinyBERT", 2020.
    """

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT})
    gives: ClassVar[Form | None] = None
    calibrates: ClassVar[bool] = True

    epochs: Annotated[int, Meta(ge=1, le=10_000)] = 5
    batch: Annotated[int, Meta(ge=1, le=65_536)] = 16
    rate: Annotated[float, Meta(gt=0, le=1)] = 1e-4
    processes: Annotated[int, Meta(ge=1, le=64)] = 1
    seed: Annotated[int, Meta(ge=0, lt=2**32)] = 0

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """See Step. Raises CompressionError where the model takes other tokens than the one that was brought;
        TrainingError."""
        with quiet(), needs("compress"):
            from toolkit.compress.nodes import Nodes
            from toolkit.compress.one_thread import one_thread
            from toolkit.train.launch import teach
            from toolkit.train.settings import Settings
        graph = Nodes(model, "distil")
        if data.parent is None:
            raise graph.failed("the model takes other tokens than the one that was brought, which cannot teach it")
        settings = Settings(
            epochs=self.epochs, batch=self.batch, rate=self.rate, seed=self.seed, processes=self.processes
        )
        with one_thread():  # the same bytes for the same arguments
            weights, outcome = teach(model, data.parent, tuple(data.feeds()), settings, data.progress, data.place)
        for name, value in weights.items():
            graph.assign(name, value)
        made, report = graph.finished()
        return made, replace(report, spent=outcome)
