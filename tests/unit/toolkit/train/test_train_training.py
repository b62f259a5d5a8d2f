"""A student learns; several processes give what one gives; what was interrupted ends as if it had not been."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from tests.unit.toolkit.compress.steps.graphs import encoder, model_of, numbers, tokens
from toolkit.compress.quiet import quiet

with quiet():
    import onnx
    from onnx import helper, numpy_helper

    from toolkit.train.checkpoint import FILE
    from toolkit.train.errors import TrainingError
    from toolkit.train.launch import launched, teach
    from toolkit.train.network import Network
    from toolkit.train.place import Place
    from toolkit.train.settings import Settings
    from toolkit.train.training import taught
    from toolkit.train.work import given, shared

Weights = dict[str, NDArray[np.float32]]

TEACHER = encoder()
ITEMS = tokens(11)
SETTINGS = Settings(epochs=2, batch=4, rate=1e-3, seed=3, processes=1, keep_s=0)


def spoilt(model: bytes, noise: float = 0.05) -> bytes:
    """With other weights."""
    opened = onnx.load_from_string(model)
    random = np.random.default_rng(0)
    learned = Network(model, learns=True).weights()
    for tensor in opened.graph.initializer:
        if tensor.name in learned:
            value = numpy_helper.to_array(tensor)
            other = (value + noise * random.normal(size=value.shape)).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(other, tensor.name))
    data: bytes = opened.SerializeToString()
    return data


STUDENT = spoilt(TEACHER)


def ignore(_: str) -> None:
    pass


def close(a: Weights, b: Weights, tolerance: float) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        np.testing.assert_allclose(value, b[name], rtol=0, atol=tolerance)


def refused(work: Callable[[], Any]) -> str:
    with pytest.raises(TrainingError) as error:
        work()
    return error.value.code


def test_a_student_comes_nearer_to_its_teacher(tmp_path: Path) -> None:
    lines: list[str] = []
    weights, outcome = taught(STUDENT, TEACHER, ITEMS, replace(SETTINGS, epochs=8), tmp_path, lines.append)
    assert outcome.after < 0.8 * outcome.before
    assert outcome.steps == len(lines) == 24
    assert outcome.flops > 0
    assert outcome.cpu_s > 0
    assert set(weights) == set(Network(STUDENT, learns=True).weights())


def test_what_was_interrupted_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole, outcome = taught(STUDENT, TEACHER, ITEMS, SETTINGS, tmp_path / "whole", ignore)

    def stop(line: str) -> None:
        if line.startswith("step 4 "):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        taught(STUDENT, TEACHER, ITEMS, SETTINGS, tmp_path / "cut", stop)
    lines: list[str] = []
    again, after = taught(STUDENT, TEACHER, ITEMS, SETTINGS, tmp_path / "cut", lines.append)
    assert lines[0].startswith("step 4 ")
    close(whole, again, 0)
    assert (outcome.before, outcome.after, outcome.flops) == (after.before, after.after, after.flops)


def test_several_processes_give_what_one_gives(tmp_path: Path) -> None:
    # batches of 4, 4 and 3 in three processes: shares are uneven; and of 1 item, where two processes have none
    items = ITEMS[:9]
    one, alone = taught(STUDENT, TEACHER, items, SETTINGS, tmp_path, ignore)
    three, together = teach(STUDENT, TEACHER, items, replace(SETTINGS, processes=3), ignore)
    close(one, three, 1e-5)
    assert together.before == pytest.approx(alone.before, rel=1e-5)
    assert together.after == pytest.approx(alone.after, rel=1e-4)


@pytest.mark.slow
def test_a_process_that_is_killed_is_begun_again_and_nothing_is_lost(tmp_path: Path) -> None:
    settings = replace(SETTINGS, processes=2)
    shared(tmp_path / "cut", STUDENT, TEACHER, ITEMS, settings)
    whole, _ = taught(STUDENT, TEACHER, ITEMS, SETTINGS, tmp_path, ignore)
    killed: list[int] = []
    seen: list[str] = []

    def kill(line: str) -> None:
        seen.append(line)
        if line.startswith("step 3 ") and not killed:
            killed.append(worker_of(tmp_path / "cut"))
            os.kill(killed[0], signal.SIGKILL)

    again, _ = launched(tmp_path / "cut", tmp_path / "kept", Place(processes=2), kill)
    assert killed
    # from the checkpoint, not from the start
    assert sum(line.startswith("step 1 ") for line in seen) == 1
    close(whole, again, 1e-5)


def worker_of(folder: Path) -> int:
    """A process that takes part in the training in a folder."""
    for path in Path("/proc").iterdir():
        try:
            command = (path / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        # torchrun itself has it in the same place, as an argument of its own
        if str(folder).encode() in command and b"torch.distributed.run" not in command:
            return int(path.name)
    raise AssertionError


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    taught(STUDENT, TEACHER, ITEMS, SETTINGS, tmp_path, ignore)
    other = replace(SETTINGS, seed=4)
    assert refused(lambda: taught(STUDENT, TEACHER, ITEMS, other, tmp_path, ignore)) == "train_checkpoint"
    file = tmp_path / FILE
    file.write_bytes(file.read_bytes()[:-100])
    assert refused(lambda: taught(STUDENT, TEACHER, ITEMS, SETTINGS, tmp_path, ignore)) == "train_checkpoint"


def test_zeros_of_a_matrix_stay_zeros(tmp_path: Path) -> None:
    opened = onnx.load_from_string(STUDENT)
    masks = {}
    for tensor in opened.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.ndim == 2 and value.dtype == np.float32 and tensor.name in Network(STUDENT, learns=True).weights():
            masks[tensor.name] = np.random.default_rng(1).random(value.shape) < 0.5
            tensor.CopyFrom(numpy_helper.from_array(np.where(masks[tensor.name], value, 0).astype("f"), tensor.name))
    weights, _ = taught(opened.SerializeToString(), TEACHER, ITEMS, SETTINGS, tmp_path, ignore)
    assert masks
    for name, kept in masks.items():
        assert not weights[name][~kept].any()
        assert weights[name][kept].all()


def linear(*shape: int, output: str = "y") -> bytes:
    return model_of([helper.make_node("MatMul", ["x", "a"], [output])], {"a": numbers(*shape)}, ("n", shape[0]))


def test_what_cannot_be_learned_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    rows = [{"x": numbers(1, 4)} for _ in range(3)]

    def learned(student: bytes, teacher: bytes, items: list[Any], **other: Any) -> Callable[[], Any]:
        return lambda: taught(student, teacher, items, replace(SETTINGS, **other), tmp_path, ignore)

    good = linear(4, 3)
    assert refused(learned(good, good, rows[:1])) == "train_items"
    assert refused(learned(good, linear(4, 2), rows)) == "train_teacher"
    assert refused(learned(TEACHER, good, ITEMS)) == "train_teacher"
    nothing = model_of([helper.make_node("Relu", ["x"], ["y"])], {}, ("n", 4))
    assert refused(learned(nothing, nothing, rows)) == "train_weights"
    assert refused(learned(good, good, [*rows, {"x": numbers(1, 4) * np.float32(np.nan)}])) == "train_diverged"
    assert not (tmp_path / FILE).exists()


@pytest.mark.slow
def test_a_fault_of_a_process_is_the_error_of_the_training() -> None:
    rows = [{"x": numbers(1, 4)}, {"x": numbers(1, 4) * np.float32(np.nan)}]
    settings = replace(SETTINGS, processes=2)
    assert refused(lambda: teach(linear(4, 3), linear(4, 3), rows, settings, ignore)) == "train_diverged"


def test_a_folder_gives_back_what_was_put_there(tmp_path: Path) -> None:
    shared(tmp_path, STUDENT, TEACHER, ITEMS, SETTINGS)
    work = given(tmp_path)
    assert (work.student, work.teacher, work.settings) == (STUDENT, TEACHER, SETTINGS)
    for ours, theirs in zip(work.items, ITEMS, strict=True):
        assert ours.keys() == theirs.keys()
        assert all((ours[name] == theirs[name]).all() for name in ours)
    (tmp_path / "settings.json").write_text("{}")
    assert refused(lambda: given(tmp_path)) == "train_work"
