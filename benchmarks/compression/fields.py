"""Models to press, what is learned from, chosen by and measured on, and how their answers are held against FP32."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from msgspec import Struct
from numpy.typing import NDArray

from benchmarks.compression import efficientnet, minilm, peers
from benchmarks.compression.recipes import PHOTOS, Tables
from policies.facts import Tensor
from toolkit.box import Box
from toolkit.compress.data import Items, gathered
from toolkit.compress.source import Measure
from toolkit.compress.task import Task
from toolkit.runtime.images import ImageReader
from toolkit.runtime.readers import Reader

__all__ = ["FIELDS", "Field"]

Peer = Callable[[Path, list[peers.Feeds], Path], Path]


class Field(Struct, frozen=True, kw_only=True):
    """A model with its data. What a recipe is chosen by is the evaluation of `task`; `held_out` are items that nothing
    was learned from and nothing chosen by, `alike` of them in a row made of one (views of a photo).

    `reader` makes feeds for the FP32 file, `answered` one row of an answer; `asked` is what a run is timed on.
    `quantisers` are other tools that make a file for ONNX Runtime, by the name of what they make.
    """

    name: str
    shape: str
    task: Task
    recipes: Mapping[str, Tables]
    held_out: Items
    alike: int
    measures: tuple[Measure, ...]
    reader: Callable[[Path], Reader]
    answered: Callable[[NDArray[Any], peers.Feeds], NDArray[np.float32]]
    asked: Callable[[Path], peers.Feeds]
    quantisers: Mapping[str, Peer]
    said: str


def _told(what: str) -> None:
    print(f"  {what}", flush=True)


@contextmanager
def _photos() -> Iterator[Field]:
    module, learn, choose, views = efficientnet.ground()
    with TemporaryDirectory() as scratch, minilm.box(Path(scratch)) as settings:
        task = Task.of(
            module,
            box=Box.embedded(settings),
            calibrate=learn,
            evaluate=choose,
            licence="Apache-2.0",
            progress=_told,
            example=efficientnet.EXAMPLE,
            image=efficientnet.IMAGE,
            labels=efficientnet.LABELS,
        )

        def reader(fp32: Path) -> ImageReader:
            (taken,) = onnx.load(fp32).graph.input
            shape = ("batch", 3, 224, 224)
            return ImageReader([Tensor(name=taken.name, dtype="float32", shape=shape)], efficientnet.IMAGE)

        yield Field(
            name="efficientnet",
            shape="1x224x224",
            task=task,
            recipes=PHOTOS,
            held_out=gathered(views, "image"),
            alike=efficientnet.MEASURE,
            measures=("agreement", "correlation"),
            reader=reader,
            answered=lambda logits, _: logits,
            asked=lambda fp32: reader(fp32).feeds([learn[0]]),
            quantisers={"ONNX Runtime static int8": efficientnet.static},
            said=f"{len(learn)} views of ten photos to learn from, {len(choose)} other views of the same ten to choose "
            f"recipes by and {len(views)} of ten other photos to measure on; intervals are over photos, not views",
        )


FIELDS: Sequence[Callable[[], Any]] = (_photos,)
