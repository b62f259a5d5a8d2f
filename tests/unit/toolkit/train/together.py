"""One of three processes that follow several trainings one after the other, since to begin processes takes longest:
`torchrun --nproc-per-node=3 -m tests.unit.toolkit.train.together FOLDER`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import torch
from msgspec.structs import replace
from safetensors.numpy import save_file
from torch import distributed

from toolkit.train.errors import TrainingError, TrainingHalted
from toolkit.train.settings import Settings
from toolkit.train.training import taught
from toolkit.train.work import Work, given


def ignore(_: str) -> None:
    pass


def after(step: int) -> tuple[Callable[[str], None], Callable[[], bool]]:
    """What is told of steps, and whether it is time to stop: in the process that hears of the step before."""
    seen: list[str] = []
    return seen.append, lambda: len(seen) == step - 1


def ended(folder: Path, name: str, work: Work, settings: Settings, kept: str, stops: int = 0) -> None:
    """Follow a training, and tell how it ended in this process."""
    rank = distributed.get_rank()
    progress, stop = after(stops) if stops else (ignore, lambda: False)
    code = ""
    try:
        weights, outcome = taught(
            work.student, work.teacher, work.items, settings, folder / kept, progress, stop=stop, host=0
        )
        if rank == 0:
            save_file(weights, folder / f"{name}.safetensors")
            (folder / f"{name}.json").write_bytes(msgspec.json.encode(outcome))
    except (TrainingError, TrainingHalted) as error:
        code = error.code
    (folder / f"{name}-{rank}.txt").write_text(code)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", timeout=timedelta(seconds=120))
    work, infinite = given(folder / "even"), given(folder / "infinite")
    settings = work.settings
    ended(folder, "whole", work, settings, "whole-kept")
    ended(folder, "shards", work, replace(settings, shards=True), "shards-kept")
    # the first process alone is told of steps, and asks for an end
    ended(folder, "stopped", work, replace(settings, shards=True), "stopped", stops=2)
    distributed.barrier()
    if distributed.get_rank() == 0:
        (folder / "gone-on").mkdir()
        (folder / "gone-on" / "checkpoint.safetensors").write_bytes(
            (folder / "stopped" / "checkpoint.safetensors").read_bytes()
        )
    distributed.barrier()
    ended(folder, "gone-on", work, settings, "gone-on")
    ended(folder, "infinite", infinite, replace(settings, batch=3), "infinite-kept")
    other = replace(settings, seed=distributed.get_rank() // 2)
    ended(folder, "differs", work, other, "differs-kept")
    ended(folder, "few", work, replace(settings, batch=2), "few-kept")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
