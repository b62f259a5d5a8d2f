"""Every item is looked at once an epoch, by one process; texts are padded behind their tokens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.train.errors import TrainingError
from toolkit.train.items import batches, joined, share


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 3), st.integers(0, 5), st.integers(1, 7))
def test_each_item_is_taken_once_an_epoch(count: int, size: int, epochs: int, seed: int, processes: int) -> None:
    dealt = [share(batch, rank, processes) for batch in batches(count, size, epochs, seed) for rank in range(processes)]
    numbers, times = np.unique(np.concatenate(dealt), return_counts=True)
    assert numbers.tolist() == list(range(count))
    assert set(times.tolist()) == {epochs}


def test_the_order_is_that_of_the_seed_and_the_epoch() -> None:
    first, second = (np.concatenate(list(batches(50, 8, 2, seed))) for seed in (0, 1))
    assert first.tolist() == np.concatenate(list(batches(50, 8, 2, 0))).tolist()
    assert first.tolist() != second.tolist()
    assert first[:50].tolist() != first[50:].tolist()


def test_texts_are_padded_to_the_longest() -> None:
    texts = [{"input_ids": np.full((1, length), 7), "attention_mask": np.ones((1, length), int)} for length in (3, 5)]
    made = joined(texts)
    assert made["input_ids"].tolist() == [[7, 7, 7, 0, 0], [7] * 5]
    assert made["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1] * 5]


def test_other_inputs_have_one_shape() -> None:
    with pytest.raises(TrainingError) as refused:
        joined([{"x": np.zeros((1, 3))}, {"x": np.zeros((1, 4))}])
    assert refused.value.code == "train_shapes"


def test_texts_for_a_decoder_share_what_is_said_of_a_batch_and_have_no_cache() -> None:
    texts = [
        {
            "input_ids": np.full((1, length), 7),
            "attention_mask": np.ones((1, length), int),
            "num_logits_to_keep": np.zeros(1, int),
            "past_key_values.0.key": np.zeros((1, 5, 0, 4), np.float32),
        }
        for length in (3, 5)
    ]
    made = joined(texts)
    assert made["input_ids"].shape == (2, 5)
    assert made["num_logits_to_keep"].shape == (1,)
    assert made["past_key_values.0.key"].shape == (2, 5, 0, 4)
    with pytest.raises(TrainingError) as refused:
        joined([texts[0], {**texts[1], "num_logits_to_keep": np.ones(1, int)}])
    assert refused.value.code == "train_shapes"
