"""What can go wrong while a model is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from policies.errors import Failed, Refused

__all__ = ["TrainingError", "TrainingHalted"]


class TrainingError(Refused):
    """A model that cannot be trained, or a training that came to nothing. No weight of it is handed out."""

    hints: ClassVar[Mapping[str, str]] = {
        "train_operator": "Train before steps that quantise or fuse; of other models, please report the operator.",
        "train_weights": "Take the training out of the recipe: there is no matrix of floats left to learn.",
        "train_items": "Give more calibration items: a training learns from at least two.",
        "train_shards": "Take fewer processes, or a larger `batch`: each process needs an item of a batch.",
        "train_answers": "Give each item an `answer`, short enough that the context holds it with its prompt.",
        "train_labels": "Give labels that the model has a class for, one to each item: `sealpress show` names them.",
        "train_tokenizer": "Give the tokenizer that the model came with: the other has tokens that it has no row for.",
        "train_shapes": "Bring all inputs in one shape; only texts with an attention_mask may differ in length.",
        "train_teacher": "Leave steps away that change what the model takes, so that its parent can teach it.",
        "train_recipe": "Add a step that trains, such as `distil`, to the recipe; `compress` follows the others.",
        "train_checkpoint": "Move the checkpoint away, and begin the training anew.",
        "train_diverged": "Take a smaller `rate`: the loss was no number any more.",
        "train_differs": "Give all hosts the same source, recipe, data and releases, on processors of one kind.",
        "train_bfloat16": "Leave --bf16 away: this processor would compute it by other instructions, and slower.",
        "train_work": "Begin the training anew: its folder is not what was put there.",
        "train_worker": "Look at the lines of the process that is named; with less memory take fewer `processes`.",
    }


class TrainingHalted(Failed):
    """A training that stopped on its way. What it had learned by then is in its checkpoint, where it has a folder."""

    hints: ClassVar[Mapping[str, str]] = {
        "train_interrupted": "Give the same command once more, with --resume, to go on from the checkpoint.",
        "train_link": "See that all hosts run and reach each other; then give each its command again, with --resume.",
        "train_memory": "Take a smaller `batch`, fewer processes, or --shards; then go on with --resume.",
    }
