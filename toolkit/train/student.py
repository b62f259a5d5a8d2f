"""The network that learns a lesson."""

from __future__ import annotations

from toolkit.train.adapters import Adapted
from toolkit.train.lesson import Lesson
from toolkit.train.network import Network
from toolkit.train.rounding import Rounded

__all__ = ["student_of"]


def student_of(model: bytes, lesson: Lesson) -> Network:
    """That of an ONNX file. Raises TrainingError "train_operator", "train_weights"."""
    if lesson.adapters is not None:
        return Adapted(model, lesson.adapters)
    return Rounded(model, lesson) if lesson.weights else Network(model, learns=True)
