"""What is taught: what the loss is made of, and what happens to weights while they learn."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

__all__ = ["COUNTED", "LABEL", "Adapters", "Lesson", "Level", "Levels", "What"]

# outputs: what leaves the graph; hidden: what each normalisation gives; logits: the probabilities that the outputs are
# of, softened; embeddings: the direction of each item as a whole. All four are held against the teacher's. classes: the
# label that a person gave to an item; tokens: those of a text themselves, each of which the ones before it foretell.
What = Literal["outputs", "hidden", "logits", "embeddings", "classes", "tokens"]

# what an item has beside the inputs of the graph: the number of its class (1,), and which of its tokens count (1,
# tokens), where not all of them do. No input of a graph that we export is called so.
LABEL = "taught.label"
COUNTED = "taught.counted"


class Levels(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the numbers of a weight may stand: `scale` times (whole number - `zero`), from `low` to `high`, with one
    scale for each `size` inputs of an output, or for all with 0. The scale is a constant of the graph (outputs, blocks)
    or (1, 1), and so is the zero where it has a name; else it is a number. `by_output`: the weight lies as (outputs,
    inputs), or as (outputs, inputs, positions ...) of a convolution. `paired`: no two neighbours may saturate together
    (see toolkit.compress.grid)."""

    scale: str
    zero: str | int = 0
    low: int
    high: int
    size: Annotated[int, Meta(ge=0)] = 0
    by_output: bool = False
    paired: bool = False


class Level(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same for what comes into a product: one scale (1,), a constant of the graph, and whole numbers from 0 up."""

    scale: str
    zero: int
    high: int


class Adapters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The weights that get an adapter of `rank`, by name; all others stay as they are. See toolkit.train.adapters."""

    weights: tuple[str, ...]
    rank: Annotated[int, Meta(ge=1)]
    alpha: Annotated[float, Meta(gt=0)]
    seed: Annotated[int, Meta(ge=0, lt=2**32)] = 0


class Lesson(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The loss is the sum of the parts in `what`; those that are distances are one part. `temperature` softens the
    logits of both sides (Hinton et al., "Distilling the Knowledge in a Neural Network", 2015).

    `weights` are rounded wherever the graph computes with them, the tensors `inputs` where they come into products with
    such weights, and the tensors `made` wherever they come into anything, on a scale that is held; all by name. Weights
    that are `held` stay as they are. With `adapters` these alone are learned."""

    what: tuple[What, ...] = ("outputs", "hidden")
    temperature: Annotated[float, Meta(gt=0, le=100)] = 1.0
    weights: dict[str, Levels] = {}
    inputs: dict[str, Level] = {}
    made: dict[str, Level] = {}
    held: tuple[str, ...] = ()
    adapters: Adapters | None = None

    @property
    def teacher(self) -> bool:
        """Whether it takes a teacher."""
        return not {"outputs", "hidden", "logits", "embeddings"}.isdisjoint(self.what)
