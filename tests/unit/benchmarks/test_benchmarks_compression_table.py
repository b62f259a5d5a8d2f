"""What the tables of the benchmarks of compression are made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.compression.peers import Feeds
from benchmarks.compression.table import agreed, encoder_share, timed


def test_items_that_are_alike_count_as_one() -> None:
    original = np.eye(2, dtype=np.float32)[[0] * 10 + [1] * 10]
    answers = np.eye(2, dtype=np.float32)[[0] * 20]
    by_item, by_photo = (agreed("agreement", original, answers, alike) for alike in (1, 10))
    assert by_item.mean == by_photo.mean == 0.5
    assert (by_photo.low, by_photo.high) == (0.0, 1.0)
    assert 0.2 < by_item.low < by_item.high < 0.8


def test_items_that_do_not_fall_into_groups_are_refused() -> None:
    rows = np.ones((3, 2), np.float32)
    with pytest.raises(ValueError, match="reshape"):
        agreed("agreement", rows, rows, 2)


def test_the_share_of_an_encoder_leaves_tables_out(tmp_path: Path) -> None:
    fp32, thin = (encoder(tmp_path / f"{inner}.onnx", inner) for inner in (8, 6))
    assert encoder_share(fp32, fp32) == 1
    assert encoder_share(thin, fp32) == (4 * 6 + 6 * 4) / (4 * 8 + 8 * 4)


def encoder(path: Path, inner: int) -> Path:
    """A table of 100 rows, and two layers with so many neurons between them."""
    shapes = {"table": (100, 4), "up": (4, inner), "down": (inner, 4)}
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "ids"], ["rows"]),
            helper.make_node("MatMul", ["rows", "up"], ["wide"]),
            helper.make_node("MatMul", ["wide", "down"], ["answer"]),
        ],
        "encoder",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["length"])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["length", 4])],
        [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in shapes.items()],
    )
    onnx.save(helper.make_model(graph), path)
    return path


class Counting:
    """A candidate that says how often it was asked, in seconds."""

    size = packed = 0

    def __init__(self, log: list[str], name: str) -> None:
        self._log, self._name = log, name

    def answers(self, feeds: Feeds) -> np.ndarray:
        return np.zeros(1)

    def seconds(self, feeds: Feeds, runs: int) -> float:
        self._log.append(f"{self._name} {runs}")
        return float(len(self._log))


def test_candidates_are_warmed_up_and_then_asked_in_turn() -> None:
    log: list[str] = []
    rounds = timed({name: Counting(log, name) for name in ("a", "b")}, {}, 6, rounds=2)
    assert log == ["a 2", "b 2", "a 6", "b 6", "a 6", "b 6"]
    assert rounds == {"a": [3000.0, 5000.0], "b": [4000.0, 6000.0]}
