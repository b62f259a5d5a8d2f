"""Training on another device than the processor: what no machine of ours has is stood in for by torch's device without
numbers, on which a tensor that lies elsewhere is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.toolkit.compress.steps.graphs import model_of, numbers
from toolkit.compress.quiet import quiet

with quiet():
    import torch
    from onnx import helper, numpy_helper

    from toolkit.train.device import PROCESSOR, backend_of, device_of
    from toolkit.train.errors import TrainingHalted
    from toolkit.train.lesson import Lesson
    from toolkit.train.loss import Loss
    from toolkit.train.network import Network, as_tensors
    from toolkit.train.settings import Settings
    from toolkit.train.training import taught

made = helper.make_node
NODES = [
    made("Constant", [], ["c"], value=numpy_helper.from_array(numbers(4))),
    made("Mul", ["x", "c"], ["m"]),
    made("MatMul", ["m", "w"], ["p"]),
    made("Add", ["p", "b"], ["q"]),
    made("LayerNormalization", ["q", "g"], ["n"]),
    made("Gelu", ["n"], ["e"]),
    made("Softmax", ["e"], ["y"]),
]


def test_all_that_a_step_touches_is_on_the_device() -> None:
    pruned = numbers(4, 5) * (np.arange(20).reshape(4, 5) % 3 > 0)
    model = model_of(NODES, {"w": pruned, "b": numbers(5), "g": numbers(5)}, (2, 3, 4))
    device = torch.device("meta")
    student, teacher = (Network(model, learns=learns).to(device) for learns in (True, False))
    item = {"x": numbers(2, 3, 4)}
    loss = Loss(Lesson(), student, teacher, item, device)
    optimiser = torch.optim.AdamW(student.parameters())
    feeds = as_tensors(item, device)
    found = loss(student(feeds, loss.names), teacher(feeds, loss.names), feeds)
    torch.autograd.backward(found.mean())
    optimiser.step()
    assert found.device.type == "meta"
    assert {value.grad.device.type for value in student.parameters() if value.grad is not None} == {"meta"}


def test_too_little_memory_on_the_device_is_told_as_such(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("toolkit.train.training.student_of", full)
    with pytest.raises(TrainingHalted) as halted:
        taught(
            b"", None, [{}, {}], Settings(epochs=1, batch=2, rate=1e-3, seed=0, processes=1), tmp_path, lambda _: None
        )
    assert halted.value.code == "train_memory"


@pytest.mark.parametrize(("have", "processes", "expected"), [(0, 1, "cpu"), (1, 2, "cpu"), (2, 2, "cuda:1")])
def test_a_process_takes_a_graphics_processor_where_each_has_one(
    monkeypatch: pytest.MonkeyPatch, have: int, processes: int, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: have > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: have)
    found = device_of(processes - 1, processes)
    assert str(found) == expected
    assert backend_of(found) == ("nccl" if have >= processes else "gloo")
    assert backend_of(PROCESSOR) == "gloo"
