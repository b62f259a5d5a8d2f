"""What the steps that train have in common: who teaches, and that the same arguments give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from toolkit.compress.calibration import Calibration
from toolkit.compress.nodes import Nodes
from toolkit.compress.one_thread import one_thread
from toolkit.runtime.session import Feeds
from toolkit.train.launch import teach
from toolkit.train.settings import Outcome, Settings

__all__ = ["taught"]


def taught(
    graph: Nodes, student: bytes, data: Calibration, settings: Settings, items: Sequence[Feeds] = ()
) -> tuple[dict[str, NDArray[Any]], Outcome]:
    """What a student learned, by the names of constants of its graph, and what it took: from the calibration data, or
    from other items, and where the lesson wants one, from the model that was brought.

    Raises TrainingError, and the CompressionError of the step on `graph` where the model takes other tokens than the
    one that was brought.
    """
    if settings.lesson.teacher and data.parent is None:
        raise graph.failed("the model takes other tokens than the one that was brought, which cannot teach it")
    teacher = data.parent if settings.lesson.teacher else None
    with one_thread():
        return teach(student, teacher, tuple(items or data.feeds()), settings, data.progress)
