"""A model that learns what a person knows: labels of texts, or answers to prompts."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta, Struct
from msgspec.structs import replace

from toolkit.compress.calibration import Calibration
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, Form, StepReport
from toolkit.extras import needs

__all__ = ["Finetune"]


class Finetune(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="finetune"):
    """Fine-tuning on the calibration items: of a classifier on their labels, of a model that generates on the answers
    to them as prompts. The model is to become another than the one that was brought: `fidelity` says how far it went,
    the accuracy on labels or the perplexity of an evaluation how well. Zeros of matrices stay zeros, tables stay.

    Of a model that generates, two narrow matrices of `rank` learn beside each of the linear layers whose names have one
    of `matrices` in them (none named: all), times `alpha` over rank, and are added to the weights in the end; others
    learn with all weights. A `rank` chooses the first for any model, and 0 the second.

    Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021.
    """

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT})
    gives: ClassVar[Form | None] = None
    calibrates: ClassVar[bool] = True

    rank: Annotated[int, Meta(ge=0, le=1024)] | None = None
    alpha: Annotated[float, Meta(gt=0, le=10_000)] = 16.0
    matrices: tuple[Annotated[str, Meta(min_length=1, max_length=1000)], ...] = ()
    epochs: Annotated[int, Meta(ge=1, le=10_000)] = 3
    batch: Annotated[int, Meta(ge=1, le=65_536)] = 16
    rate: Annotated[float, Meta(gt=0, le=1)] = 1e-4
    processes: Annotated[int, Meta(ge=1, le=64)] = 1
    seed: Annotated[int, Meta(ge=0, lt=2**32)] = 0

    def __post_init__(self) -> None:
        if self.matrices and self.rank == 0:
            raise ValueError("`matrices` says where adapters are, and `rank` 0 that there are none")

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """See Step. Raises CompressionError where no layer has such a name; TrainingError: train_labels, train_answers
        and what else a training may end in."""
        with quiet(), needs("compress"):
            from toolkit.compress.dialogues import told
            from toolkit.compress.layers import Graph
            from toolkit.compress.taught import labelled, taught
            from toolkit.train.lesson import Adapters, Lesson
            from toolkit.train.settings import Settings
        graph = Graph(model, "finetune")
        items = labelled(graph, data) if data.prompts is None else told(data.prompts, data)
        adapters = None
        rank = self.rank if self.rank is not None else 0 if data.prompts is None else 8
        if rank:
            asked = [layer for layer in graph.layers if layer.linear and _named(layer.name, self.matrices)]
            if not asked:
                raise graph.failed(f"no linear layer has {', '.join(self.matrices) or 'weights'} in its name")
            weights = tuple(layer.node.input[1] for layer in asked)
            adapters = Adapters(weights=weights, rank=rank, alpha=self.alpha, seed=self.seed)
        settings = Settings(
            epochs=self.epochs,
            batch=self.batch,
            rate=self.rate,
            seed=self.seed,
            processes=self.processes,
            lesson=Lesson(what=("classes",) if data.prompts is None else ("tokens",), adapters=adapters),
        )
        learned, outcome = taught(graph, model, data, settings, items)
        for name, value in learned.items():
            graph.assign(name, value)
        made, report = graph.finished()
        return made, replace(report, spent=outcome)


def _named(name: str, parts: tuple[str, ...]) -> bool:
    return not parts or any(part in name for part in parts)
