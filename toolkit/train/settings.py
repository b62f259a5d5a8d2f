"""How a student is taught, and what came of it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from toolkit.train.lesson import Lesson

__all__ = ["Outcome", "Settings"]


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`batch` items are looked at before the weights move, by a `rate` that rises over the first tenth of the steps and
    falls to nothing along a cosine. `processes` share each batch, and give what one would, but for the last digits.
    A checkpoint is at most `keep_s` seconds and a step old. `lesson` is what is learned. Of `shards`, `bfloat16` and
    `patience_s` see toolkit.train.place."""

    epochs: Annotated[int, Meta(ge=1, le=10_000)]
    batch: Annotated[int, Meta(ge=1, le=65_536)]
    rate: Annotated[float, Meta(gt=0, le=1)]
    seed: Annotated[int, Meta(ge=0, lt=2**32)]
    processes: Annotated[int, Meta(ge=1, le=1024)]
    keep_s: Annotated[float, Meta(ge=0)] = 60.0
    lesson: Lesson = Lesson()
    shards: bool = False
    bfloat16: bool = False
    patience_s: Annotated[float, Meta(gt=0)] = 120.0

    def what(self) -> Settings:
        """The same without what moves nothing but the last digits: how the work is dealt out, and how often it is kept.
        A training that is gone on with may have these otherwise."""
        return replace(self, processes=1, shards=False, keep_s=60.0, patience_s=120.0)


class Outcome(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`before` and `after` are the mean distances of the items (see toolkit.train.loss) over the first and the last
    epoch, `flops` the operations of all processes, `cpu_s` the seconds of their processors."""

    steps: int
    before: float
    after: float
    flops: int
    cpu_s: float
