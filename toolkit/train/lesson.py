"""What is taught: what the loss is made of."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

__all__ = ["COUNTED", "LABEL", "Lesson", "What"]

# outputs: what leaves the graph; hidden: what each normalisation gives; logits: the probabilities that the outputs are
# of, softened; embeddings: the direction of each item as a whole. All four are held against the teacher's. classes: the
# label that a person gave to an item; tokens: those of a text themselves, each of which the ones before it foretell.
What = Literal["outputs", "hidden", "logits", "embeddings", "classes", "tokens"]

# what an item has beside the inputs of the graph: the number of its class (1,), and which of its tokens count (1,
# tokens), where not all of them do. No input of a graph that we export is called so.
LABEL = "taught.label"
COUNTED = "taught.counted"


class Lesson(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The loss is the sum of the parts in `what`; those that are distances are one part. `temperature` softens the
    logits of both sides (Hinton et al., "Distilling the Knowledge in a Neural Network", 2015)."""

    what: tuple[What, ...] = ("outputs", "hidden")
    temperature: Annotated[float, Meta(gt=0, le=100)] = 1.0

    @property
    def teacher(self) -> bool:
        """Whether it takes a teacher."""
        return not {"outputs", "hidden", "logits", "embeddings"}.isdisjoint(self.what)
