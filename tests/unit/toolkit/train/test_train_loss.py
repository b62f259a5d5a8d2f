"""Each part of a loss is what its definition says, item by item, and nothing on padding counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.unit.toolkit.compress.steps.graphs import encoder, tokens
from tests.unit.toolkit.train.test_train_training import spoilt
from toolkit.compress.quiet import quiet

with quiet():
    import torch

    from toolkit.train.errors import TrainingError
    from toolkit.train.items import joined
    from toolkit.train.lesson import Lesson, What
    from toolkit.train.loss import Loss
    from toolkit.train.network import Network, as_tensors

TEACHER = encoder(1)
STUDENT = spoilt(TEACHER)
ITEMS = tokens(3)


def losses(items: list[dict[str, NDArray[Any]]], *what: What, heat: float = 1.0) -> NDArray[np.float32]:
    """Of a batch, whose texts have several lengths."""
    student, teacher = Network(STUDENT, learns=True), Network(TEACHER, learns=False)
    loss = Loss(Lesson(what=what, temperature=heat), student, teacher, items[0])
    feeds = as_tensors(joined(items))
    with torch.no_grad():
        found: NDArray[np.float32] = loss(student(feeds, loss.names), teacher(feeds, loss.names), feeds).numpy()
    return found


def answers(model: bytes, item: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    network = Network(model, learns=False)
    found: NDArray[np.float64] = network(as_tensors(item), network.outputs)[0][0].double().numpy()
    return found


def logs(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return found


@pytest.mark.parametrize(
    "what", [("outputs",), ("hidden",), ("outputs", "hidden"), ("logits",), ("embeddings",)], ids=str
)
def test_an_item_loses_beside_longer_ones_what_it_loses_alone(what: tuple[What, ...]) -> None:
    together = losses(ITEMS, *what)
    alone = [losses([item], *what)[0] for item in ITEMS]
    assert together.shape == (3,)
    np.testing.assert_allclose(together, alone, rtol=1e-4)
    assert (together > 0).all()


def test_logits_are_held_as_what_they_foretell() -> None:
    for item, found in zip(ITEMS, losses(ITEMS, "logits", heat=2.0), strict=True):
        right, ours = logs(answers(TEACHER, item) / 2), logs(answers(STUDENT, item) / 2)
        assert found == pytest.approx(4 * (np.exp(right) * (right - ours)).sum(axis=1).mean(), rel=1e-3)


def test_embeddings_are_held_by_their_direction() -> None:
    for item, found in zip(ITEMS, losses(ITEMS, "embeddings"), strict=True):
        one, other = answers(TEACHER, item).mean(axis=0), answers(STUDENT, item).mean(axis=0)
        cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
        assert found == pytest.approx(1 - cosine, abs=1e-5)


def test_tokens_are_foretold_by_those_before_them() -> None:
    # the encoder gives 32 numbers a token
    small = [{**item, "input_ids": item["input_ids"] % 32} for item in ITEMS]
    for item, found in zip(small, losses(small, "tokens"), strict=True):
        foretold = logs(answers(STUDENT, item))[:-1]
        right = -foretold[np.arange(len(foretold)), item["input_ids"][0, 1:]]
        assert found == pytest.approx(right.mean(), rel=1e-3)


def test_what_an_item_lacks_is_said() -> None:
    def code(*what: What, teacher: Network | None = None, item: Any = ITEMS[0]) -> str:
        with pytest.raises(TrainingError) as refused:
            Loss(Lesson(what=what), Network(STUDENT, learns=True), teacher, item)
        return refused.value.code

    assert code("classes") == "train_labels"
    assert code("outputs") == "train_teacher"
