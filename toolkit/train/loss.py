"""How far a student is from what it should say: of each item by itself, so that batches may be dealt out in any way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch.nn import functional as F  # noqa: N812 - its customary name

from toolkit.train.device import PROCESSOR
from toolkit.train.errors import TrainingError
from toolkit.train.items import MASK, Feeds
from toolkit.train.lesson import COUNTED, LABEL, Lesson
from toolkit.train.network import Network, as_tensors

__all__ = ["Loss", "distances"]

Tensor = torch.Tensor

IDS = "input_ids"
LEAST = 1e-12  # what is divided by


class Loss:
    """That of a lesson. `names` are the tensors of both graphs that it looks at."""

    def __init__(
        self, lesson: Lesson, student: Network, teacher: Network | None, item: Feeds, device: torch.device = PROCESSOR
    ) -> None:
        """Looks at both, which are on the device, with one item. Raises TrainingError "train_teacher" where their
        outputs differ, or there is nothing that the lesson could compare; "train_labels" and "train_answers" where the
        item lacks those."""
        self._lesson = lesson
        feeds = as_tensors(item, device)
        self._outputs = _floats(student, feeds)
        compared = _compared(student, teacher, feeds) if teacher is not None and lesson.teacher else ()
        hidden = tuple(name for name in compared if name not in student.outputs)
        # keys and values of a decoder are no answer
        answers = self._outputs[:1]
        self._distances = (self._outputs if "outputs" in lesson.what else ()) + (
            hidden if "hidden" in lesson.what else ()
        )
        self.names = tuple(dict.fromkeys((*answers, *self._distances)))
        if not answers or (lesson.teacher and not compared):
            raise TrainingError("train_teacher", "no float tensor leaves the graph that could be compared")
        if "classes" in lesson.what and LABEL not in item:
            raise TrainingError("train_labels", "an item has no label")
        if "tokens" in lesson.what and IDS not in item:
            raise TrainingError("train_answers", f"an item has no {IDS}")

    def __call__(self, student: Sequence[Tensor], teacher: Sequence[Tensor], feeds: Mapping[str, Tensor]) -> Tensor:
        """For each item (items,), from the tensors with the `names` of both; those of the teacher are left out where
        the lesson takes none."""
        what, mask = self._lesson.what, feeds.get(MASK)
        parts = []
        if self._distances:
            places = [self.names.index(name) for name in self._distances]
            parts.append(distances([student[at] for at in places], [teacher[at] for at in places], mask))
        if "logits" in what:
            parts.append(_divergences(student[0], teacher[0], mask, self._lesson.temperature))
        if "embeddings" in what:
            one, other = _as_a_whole(student[0], mask), _as_a_whole(teacher[0], mask)
            parts.append(1 - F.cosine_similarity(one, other, dim=1))
        if "classes" in what:
            parts.append(F.cross_entropy(student[0], feeds[LABEL], reduction="none"))
        if "tokens" in what:
            parts.append(_surprise(student[0], feeds))
        return torch.stack(parts).sum(dim=0)


def distances(student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor | None) -> Tensor:
    """For each item (items,) the square of what differs over the square of what the teacher gave, its mean over the
    pairs of tensors (items, ...). What stands on padding does not count.

    Ba and Caruana, "Do Deep Nets Really Need to be Deep?", 2014, for logits; Jiao et al., "TinyBERT", 2020, for hidden
    states.
    """
    return torch.stack([_distance(a, b, mask) for a, b in zip(student, teacher, strict=True)]).mean(dim=0)


def _distance(student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
    apart, whole = (student - teacher).square(), teacher.square()
    if mask is not None and _by_token(teacher, mask):
        counts = mask.to(teacher.dtype).reshape(*mask.shape, *(1,) * (teacher.ndim - 2))
        apart, whole = apart * counts, whole * counts
    over = tuple(range(1, teacher.ndim))
    return apart.sum(dim=over) / whole.sum(dim=over).clamp_min(LEAST)


def _divergences(student: Tensor, teacher: Tensor, mask: Tensor | None, temperature: float) -> Tensor:
    """Kullback-Leibler, from what the teacher foretells to what the student does, in nats, its mean over the tokens of
    an item; times the square of the temperature, as gradients shrink by that (Hinton et al. 2015)."""
    right = F.log_softmax(teacher / temperature, dim=-1)
    apart = F.kl_div(F.log_softmax(student / temperature, dim=-1), right, reduction="none", log_target=True)
    apart = apart.sum(dim=-1) * temperature**2
    counts = torch.ones_like(apart)
    if mask is not None and _by_token(teacher, mask):
        counts = mask.to(apart.dtype).reshape(*mask.shape, *(1,) * (apart.ndim - 2)).expand_as(apart)
    over = tuple(range(1, apart.ndim))
    return (apart * counts).sum(dim=over) / counts.sum(dim=over) if over else apart


def _as_a_whole(answer: Tensor, mask: Tensor | None) -> Tensor:
    """One vector an item (items, numbers): the mean over the tokens where there are some (Reimers and Gurevych,
    "Sentence-BERT", 2019)."""
    if mask is None or answer.ndim != 3 or not _by_token(answer, mask):
        return answer.reshape(len(answer), -1)
    counts = mask.to(answer.dtype)[..., None]
    return (answer * counts).sum(dim=1) / counts.sum(dim=1).clamp_min(LEAST)


def _surprise(logits: Tensor, feeds: Mapping[str, Tensor]) -> Tensor:
    """Minus the logarithm of the probability of each token that counts, but the first, its mean over an item."""
    ids = feeds[IDS]
    counts = feeds.get(COUNTED, feeds.get(MASK, torch.ones_like(ids)))[:, 1:].to(logits.dtype)
    lost = F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
    return (lost * counts).sum(dim=1) / counts.sum(dim=1).clamp_min(LEAST)


def _by_token(tensor: Tensor, mask: Tensor) -> bool:
    return tensor.ndim > 1 and tensor.shape[:2] == mask.shape


def _floats(student: Network, feeds: Mapping[str, Tensor]) -> tuple[str, ...]:
    """The outputs that are floats."""
    with torch.no_grad():
        pairs = zip(student.outputs, student(feeds, student.outputs), strict=True)
        return tuple(name for name, value in pairs if value.is_floating_point())


def _compared(student: Network, teacher: Network, feeds: Mapping[str, Tensor]) -> tuple[str, ...]:
    """The outputs, and those hidden states that both have in the same shape. Raises TrainingError "train_teacher" where
    outputs differ."""
    hidden = [name for name in student.normalised if name in teacher.normalised]
    names = tuple(dict.fromkeys((*student.outputs, *hidden)))
    if student.outputs != teacher.outputs:
        raise TrainingError("train_teacher", f"the student gives {student.outputs}, its teacher {teacher.outputs}")
    with torch.no_grad():
        pairs = list(zip(names, student(feeds, names), teacher(feeds, names), strict=True))
    for name, ours, theirs in pairs:
        if name in student.outputs and ours.shape != theirs.shape:
            told = f"{name} has the shape {tuple(ours.shape)}, its teacher gives {tuple(theirs.shape)}"
            raise TrainingError("train_teacher", told)
    return tuple(name for name, ours, theirs in pairs if ours.shape == theirs.shape and ours.is_floating_point())
