"""What the steps that train have in common: who teaches, and that the same arguments give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.compress.calibration import Calibration
from toolkit.compress.nodes import Nodes
from toolkit.compress.one_thread import one_thread
from toolkit.modification import Spent
from toolkit.runtime.session import Feeds
from toolkit.runtime.slots import PAST
from toolkit.train.errors import TrainingError
from toolkit.train.launch import teach
from toolkit.train.lesson import LABEL
from toolkit.train.settings import Outcome, Settings

__all__ = ["generates", "labelled", "taught"]


def taught(
    graph: Nodes, student: bytes, data: Calibration, settings: Settings, items: Sequence[Feeds] = ()
) -> tuple[dict[str, NDArray[Any]], Outcome]:
    """What a student learned, by the names of constants of its graph, and what it took: from the calibration data, or
    from other items, and where the lesson wants one, from the model that was brought. What this call took is put on its
    record, also where it fails or is interrupted.

    Raises TrainingError, "train_tokenizer" where a token has no row in a table of the graph, and the CompressionError
    of the step on `graph` where the model takes other tokens than the one that was brought.
    """
    if settings.lesson.teacher and data.parent is None:
        raise graph.failed("the model takes other tokens than the one that was brought, which cannot teach it")
    teacher = data.parent if settings.lesson.teacher else None
    given = tuple(items or data.feeds())
    _looked_up(graph, given)
    took: list[Spent] = []
    try:
        with one_thread():
            return teach(student, teacher, given, settings, data.progress, data.place, took.append)
    finally:
        # whole numbers: operations by the milliard, and milliseconds
        data.charge(
            gflop=sum(part.flops for part in took) // 10**9, cpu_ms=round(1000 * sum(part.cpu_s for part in took))
        )


def generates(graph: Nodes) -> bool:
    """Whether a graph is that of a model that generates: it has a cache."""
    return any(value.name.startswith(PAST) for value in graph.model.graph.input)


def labelled(graph: Nodes, data: Calibration) -> list[Feeds]:
    """The calibration items, each with the number of its class.

    Raises TrainingError "train_labels" where there are none, one is no class of the model, or its first output is not
    one number for each class.
    """
    if not data.labels or not data.classes:
        raise TrainingError("train_labels", "the items have no label" if data.classes else "the model has no classes")
    if unknown := sorted(set(data.labels) - set(data.classes)):
        raise TrainingError("train_labels", f"the model has no class {', '.join(map(repr, unknown[:5]))}")
    shape = graph.shapes.get(graph.model.graph.output[0].name, ())
    if len(shape) != 2 or shape[1] not in (len(data.classes), ""):
        raise TrainingError("train_labels", f"the answer has the shape {shape}, for {len(data.classes)} classes")
    numbers = {name: np.array([number], np.int64) for number, name in enumerate(data.classes)}
    return [{**item, LABEL: numbers[label]} for item, label in zip(data.feeds(), data.labels, strict=True)]


def _looked_up(graph: Nodes, items: Sequence[Feeds]) -> None:
    """Raises TrainingError "train_tokenizer" where an input names a row that the table it is looked up in lacks."""
    for node in graph.model.graph.node:
        table = graph.constant(node.input[0]) if node.op_type == "Gather" else None
        if table is None or not items or node.input[1] not in items[0]:
            continue
        highest = max(int(item[node.input[1]].max(initial=0)) for item in items)
        if highest >= len(table):
            told = f"{node.input[1]} holds {highest}, and {node.input[0]} has {len(table)} rows"
            raise TrainingError("train_tokenizer", told)
