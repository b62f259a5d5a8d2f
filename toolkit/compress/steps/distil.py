"""The weights that are left taught by the model that they come from."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from toolkit.compress.calibration import Calibration
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, Form, StepReport
from toolkit.extras import needs

__all__ = ["Distil"]

What = Literal["outputs", "hidden", "logits", "embeddings", "tokens"]


class Distil(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="distil"):
    """Distillation: all matrices, convolutions, biases and normalisations move so that the model gives again, for the
    calibration data, what the one that was brought gives. It comes after steps that take weights away and before those
    that round them. Zeros of matrices stay zeros, tables of embeddings stay as they are.

    `what` is held against that model: its "outputs"; the "hidden" states that kept their shape, which are what its
    normalisations give; the probabilities that its "logits" stand for, softened by `temperature`; the direction of its
    "embeddings", texts as a whole. Nothing named: outputs and hidden states, of models that generate logits and hidden
    states. With `answers` the calibration items are prompts: the model that was brought writes an answer of up to
    `tokens` to each, the most probable one ("greedy") or one by chance ("sampled", by the seed), and these "tokens" are
    learned, with the rest of `what` on top.

    `batch` items are looked at before the weights move; the `rate` rises, then falls to nothing. Of more `processes`
    each takes a share of every batch, on one processor.

    Hinton et al., "Distilling the Knowledge in a Neural Network", 2015; Jiao et al., "TinyBERT", 2020; Kim and Rush,
    "Sequence-Level Knowledge Distillation", 2016, for answers.
    """

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT})
    gives: ClassVar[Form | None] = None
    calibrates: ClassVar[bool] = True

    what: tuple[What, ...] = ()
    temperature: Annotated[float, Meta(gt=0, le=100)] = 1.0
    answers: Literal["none", "greedy", "sampled"] = "none"
    tokens: Annotated[int, Meta(ge=1, le=4096)] = 64
    epochs: Annotated[int, Meta(ge=1, le=10_000)] = 5
    batch: Annotated[int, Meta(ge=1, le=65_536)] = 16
    rate: Annotated[float, Meta(gt=0, le=1)] = 1e-4
    processes: Annotated[int, Meta(ge=1, le=64)] = 1
    seed: Annotated[int, Meta(ge=0, lt=2**32)] = 0

    def __post_init__(self) -> None:
        if ("tokens" in self.what) > (self.answers != "none"):
            raise ValueError('`what` has "tokens", which come with `answers`')

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """See Step. Raises CompressionError where the model takes other tokens than the one that was brought, or
        answers are wanted of one that does not generate; TrainingError."""
        with quiet(), needs("compress"):
            from toolkit.compress.dialogues import written
            from toolkit.compress.nodes import Nodes
            from toolkit.compress.taught import generates, taught
            from toolkit.runtime.sampling import Sampling
            from toolkit.train.lesson import Lesson
            from toolkit.train.settings import Settings
        graph = Nodes(model, "distil")
        what = self.what or (("logits", "hidden") if generates(graph) else ("outputs", "hidden"))
        items = []
        if self.answers != "none":
            if data.prompts is None or data.parent is None:
                raise graph.failed("`answers` are those of a model that generates")
            what = tuple(dict.fromkeys(("tokens", *self.what)))
            heat = 0.0 if self.answers == "greedy" else 1.0
            sampling = Sampling(max_tokens=self.tokens, temperature=heat, seed=self.seed)
            items = written(data.prompts, data, data.parent, sampling)
        settings = Settings(
            epochs=self.epochs,
            batch=self.batch,
            rate=self.rate,
            seed=self.seed,
            processes=self.processes,
            lesson=Lesson(what=what, temperature=self.temperature),
        )
        weights, outcome = taught(graph, model, data, settings, items)
        for name, value in weights.items():
            graph.assign(name, value)
        made, report = graph.finished()
        return made, replace(report, spent=outcome)
