"""Two models to press, what is learned from, chosen by and measured on, and how their answers are held against FP32."""

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
from benchmarks.compression.recipes import ALONE, COMBINED, PHOTOS, PRUNED, SPARSE, Tables
from benchmarks.pressed import source
from policies.facts import Tensor
from toolkit.box import Box
from toolkit.compress.data import Items, gathered
from toolkit.compress.measure import evaluation_texts
from toolkit.compress.source import Measure
from toolkit.compress.task import Task
from toolkit.runtime.images import ImageReader
from toolkit.runtime.lane import reader_of
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
    transformer: bool
    said: str


def _told(what: str) -> None:
    print(f"  {what}", flush=True)


@contextmanager
def _encoder() -> Iterator[Field]:
    learn, choose, texts, where = _passages()
    with TemporaryDirectory() as scratch, minilm.box(Path(scratch)) as settings:
        task = Task.of(
            source(),
            box=Box.embedded(settings),
            calibrate=learn,
            evaluate=choose,
            licence=None,
            data_licence=minilm.TERMS,
            parents=(),
            progress=_told,
        )
        reader = reader_of((), task.source.text, None, task.source.tokenizer)

        def embedding(hidden: NDArray[Any], feeds: peers.Feeds) -> NDArray[np.float32]:
            return reader.answers([hidden], feeds)

        yield Field(
            name="minilm",
            shape="1x32",
            task=task,
            recipes={**ALONE, **COMBINED, **PRUNED, **SPARSE},
            held_out=gathered(texts, "text"),
            alike=1,
            measures=("cosine",),
            reader=lambda _: reader,
            answered=embedding,
            asked=lambda _: minilm.tokens(1, 32),
            quantisers={"ONNX Runtime dynamic int8": lambda fp32, _, folder: minilm.dynamic(fp32, folder)},
            transformer=True,
            said=f"{len(learn)} texts to learn from, {len(choose)} others to choose recipes by and {len(texts)} more "
            f"to measure on: {where}",
        )


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
            data_licence=efficientnet.TERMS,
            parents=(),
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
            transformer=False,
            said=f"{len(learn)} views of ten photos to learn from, {len(choose)} other views of the same ten to choose "
            f"recipes by and {len(views)} of ten other photos to measure on; intervals are over photos, not views",
        )


def _passages() -> tuple[list[str], list[str], list[str], str]:
    if minilm.DATA.exists():
        learn, others = (minilm.lines(minilm.DATA / name) for name in minilm.FILES)
        each = minilm.MEASURE
        return learn[: minilm.LEARN], others[each : 2 * each], others[2 * each : 3 * each], "Wikipedia passages"
    texts = evaluation_texts()
    return texts[::3], texts[1::3], texts[2::3], "passages of the standard library"


FIELDS: Sequence[Callable[[], Any]] = (_encoder, _photos)
