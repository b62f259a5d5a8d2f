"""A student learns; several processes give what one gives; what was interrupted ends as if it had not been."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from tests.unit.toolkit.compress.steps.graphs import encoder, model_of, numbers, tokens
from toolkit.compress.one_thread import one_thread
from toolkit.compress.quiet import quiet

with quiet():
    import onnx
    from onnx import helper, numpy_helper
    from safetensors.numpy import load_file

    from toolkit.train.checkpoint import FILE
    from toolkit.train.device import PROCESSOR, halves
    from toolkit.train.errors import TrainingError, TrainingHalted
    from toolkit.train.launch import launched, teach
    from toolkit.train.log import CURVES, LOG, read_log
    from toolkit.train.network import Network
    from toolkit.train.place import Place
    from toolkit.train.settings import Outcome, Settings
    from toolkit.train.training import taught
    from toolkit.train.work import given, shared

Weights = dict[str, NDArray[np.float32]]

ROOT = Path(__file__).resolve().parents[4]
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


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Small graphs are slower on several threads, which wait for each other."""
    with one_thread():
        yield


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


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What three processes, begun once, left of several trainings: see tests.unit.toolkit.train.together."""
    folder = tmp_path_factory.mktemp("world")
    # batches of 4, 4 and 3 in three processes: shares are uneven
    shared(folder / "even", STUDENT, TEACHER, ITEMS, SETTINGS)
    rows = [{"x": numbers(1, 4)} for _ in range(2)] + [{"x": numbers(1, 4) * np.float32(np.nan)}]
    shared(folder / "infinite", linear(4, 3), linear(4, 3), rows, SETTINGS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
    command += ["--nproc-per-node=3", "-m", "tests.unit.toolkit.train.together", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def told(world: Path, name: str) -> list[str]:
    """How a training ended in each of the processes: the code, nothing where it ended well."""
    return [(world / f"{name}-{rank}.txt").read_text() for rank in range(3)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["whole", "shards", "gone-on"])
def test_several_processes_give_what_one_gives(world: Path, tmp_path: Path, name: str) -> None:
    """f'(x) = 1/N sum f_i'(x), also where the last batch is uneven, where each holds a part of the weights alone, and
    where both kinds follow each other in one training."""
    one, alone = taught(STUDENT, TEACHER, ITEMS, SETTINGS, tmp_path, ignore)
    assert told(world, name) == ["", "", ""]
    together = msgspec.json.decode((world / f"{name}.json").read_bytes(), type=Outcome)
    close(one, load_file(world / f"{name}.safetensors"), 1e-5)
    assert together.before == pytest.approx(alone.before, rel=1e-5)
    assert together.after == pytest.approx(alone.after, rel=1e-4)
    assert together.steps == alone.steps


@pytest.mark.slow
def test_all_processes_stop_after_the_same_step_where_one_is_told_to(world: Path) -> None:
    assert told(world, "stopped") == ["train_interrupted"] * 3
    assert [line.step for line in read_log(world / "stopped" / LOG)] == [1, 2]


@pytest.mark.slow
def test_what_is_wrong_in_one_process_is_said_by_all(world: Path) -> None:
    assert told(world, "infinite") == ["train_diverged"] * 3
    assert told(world, "differs") == ["train_differs"] * 3
    assert told(world, "few") == ["train_shards"] * 3
    assert not (world / "infinite-kept" / FILE).exists()


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
def test_a_process_that_dies_again_and_again_is_named_and_leaves_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolkit.train.launch.RESTARTS", 0)
    shared(tmp_path, STUDENT, TEACHER, ITEMS, SETTINGS)
    (tmp_path / "items.safetensors").write_bytes(b"")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / FILE).write_bytes(b"as it was")
    with pytest.raises(TrainingError) as error:
        launched(tmp_path, tmp_path / "kept", Place(processes=1), ignore)
    assert error.value.code == "train_worker"
    assert (tmp_path / "kept" / FILE).read_bytes() == b"as it was"


@pytest.mark.slow
def test_a_host_that_is_heard_no_more_ends_the_training_with_a_checkpoint(tmp_path: Path) -> None:
    """Two hosts of one process each, on one machine; the second stands still, as behind a cut wire."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        meet = f"127.0.0.1:{free.getsockname()[1]}"
    settings = replace(SETTINGS, epochs=400, keep_s=3600, patience_s=6)
    place = Place(processes=1, hosts=2, meet=meet, patience_s=6)
    works = [tmp_path / "first", tmp_path / "second"]
    for work in works:
        shared(work, STUDENT, TEACHER, ITEMS, settings)
    stopped: list[int] = []

    def cut(line: str) -> None:
        if line.startswith("step 3 ") and not stopped:
            stopped.append(worker_of(works[1]))
            os.kill(stopped[0], signal.SIGSTOP)

    def followed(rank: int) -> str:
        with pytest.raises(TrainingHalted) as error:
            launched(works[rank], works[rank] / "kept", replace(place, rank=rank), cut)
        return error.value.code

    with ThreadPoolExecutor(2) as hosts:
        first, second = hosts.submit(followed, 0), hosts.submit(followed, 1)
        try:
            assert first.result() == "train_link"
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGKILL)
        assert second.result() == "train_link"
    assert stopped
    # of a step after the third, though none was due for an hour; the second host keeps none
    log = read_log(works[0] / "kept" / LOG)
    assert len(log) >= 3
    assert (works[0] / "kept" / FILE).exists()
    assert not (works[1] / "kept" / FILE).exists()


def test_an_interrupt_is_heard_between_steps_and_nothing_is_lost(tmp_path: Path) -> None:
    whole, outcome = teach(STUDENT, TEACHER, ITEMS, SETTINGS, ignore)
    place, before = Place(folder=tmp_path), signal.getsignal(signal.SIGINT)

    def interrupt(line: str) -> None:
        if line.startswith("step 2 "):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(TrainingHalted) as error:
        teach(STUDENT, TEACHER, ITEMS, SETTINGS, interrupt, place)
    assert error.value.code == "train_interrupted"
    lines: list[str] = []
    again, after = teach(STUDENT, TEACHER, ITEMS, SETTINGS, lines.append, place)
    assert lines[0].startswith("step 4 of 6: loss 0.")
    close(whole, again, 0)
    assert (outcome.before, outcome.after, outcome.flops) == (after.before, after.after, after.flops)
    [folder] = tmp_path.iterdir()
    assert [line.step for line in read_log(folder / LOG)] == [1, 2, 3, 4, 5, 6]
    assert (folder / CURVES).read_text().count("<polyline") == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_too_little_memory_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    grown = [
        helper.make_node("MatMul", ["x", "a"], ["m"]),
        helper.make_node("Constant", [], ["s"], value_ints=[2**20, 2**20, 3]),
        helper.make_node("Expand", ["m", "s"], ["e"]),
        helper.make_node("Mul", ["e", "e"], ["y"]),
    ]
    model = model_of(grown, {"a": numbers(4, 3)}, ("n", 4))
    rows = [{"x": numbers(1, 4)} for _ in range(3)]
    with pytest.raises(TrainingHalted) as error:
        taught(model, model, rows, SETTINGS, tmp_path, ignore)
    assert error.value.code == "train_memory"
    assert not (tmp_path / FILE).exists()


def test_halves_of_floats_learn_too_and_are_refused_where_the_processor_has_none(tmp_path: Path) -> None:
    settings = replace(SETTINGS, epochs=4, bfloat16=True)
    weights, outcome = taught(STUDENT, TEACHER, ITEMS, settings, tmp_path / "halves", ignore)
    exact, _ = taught(STUDENT, TEACHER, ITEMS, replace(settings, bfloat16=False), tmp_path / "whole", ignore)
    assert outcome.after < outcome.before
    assert all(value.dtype == np.float32 for value in weights.values())
    close(weights, exact, 0.02)
    assert any((weights[name] != exact[name]).any() for name in exact)
    if not halves(PROCESSOR):
        place = Place(bfloat16=True)
        assert refused(lambda: teach(STUDENT, TEACHER, ITEMS, SETTINGS, ignore, place)) == "train_bfloat16"


def test_a_folder_gives_back_what_was_put_there(tmp_path: Path) -> None:
    shared(tmp_path, STUDENT, TEACHER, ITEMS, SETTINGS)
    work = given(tmp_path)
    assert (work.student, work.teacher, work.settings) == (STUDENT, TEACHER, SETTINGS)
    for ours, theirs in zip(work.items, ITEMS, strict=True):
        assert ours.keys() == theirs.keys()
        assert all((ours[name] == theirs[name]).all() for name in ours)
    (tmp_path / "settings.json").write_text("{}")
    assert refused(lambda: given(tmp_path)) == "train_work"
