"""What can go wrong while a model is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from policies.errors import Refused

__all__ = ["TrainingError"]


class TrainingError(Refused):
    """A model that cannot be trained, or a training that came to nothing. No weight of it is handed out."""

    hints: ClassVar[Mapping[str, str]] = {
        "train_operator": "Train before steps that quantise or fuse; of other models, please report the operator.",
        "train_weights": "Take the training out of the recipe: there is no matrix of floats left to learn.",
        "train_items": "Give more calibration items: a training learns from at least two.",
        "train_answers": "Give each item an `answer`, short enough that the context holds it with its prompt.",
        "train_labels": "Give labels that the model has a class for, one to each item: `sealpress show` names them.",
        "train_tokenizer": "Give the tokenizer that the model came with: the other has tokens that it has no row for.",
        "train_shapes": "Bring all inputs in one shape; only texts with an attention_mask may differ in length.",
        "train_teacher": "Leave steps away that change what the model takes, so that its parent can teach it.",
        "train_checkpoint": "Move the checkpoint away, and begin the training anew.",
        "train_diverged": "Take a smaller `rate`: the loss was no number any more.",
        "train_work": "Begin the training anew: its folder is not what was put there.",
        "train_worker": "Look at the lines of the process that is named; with less memory take fewer `processes`.",
    }
