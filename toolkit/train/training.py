"""A student that learns what its teacher says, in one of the processes that share the work.

Each process takes a share of every batch; the gradient of the whole batch is the sum of theirs over the number of its
items, f'(x) = 1/N sum f_i'(x), whatever the shares are.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import torch
from msgspec.structs import replace
from numpy.typing import NDArray
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from torch.utils.flop_counter import FlopCounterMode

from toolkit.train.checkpoint import Standing, keep, kept
from toolkit.train.errors import TrainingError
from toolkit.train.items import Feeds, batches, joined, share
from toolkit.train.loss import Loss
from toolkit.train.network import Network, as_tensors
from toolkit.train.settings import Outcome, Settings
from toolkit.train.student import student_of

__all__ = ["Progress", "taught"]

Progress = Callable[[str], None]

WARM = 0.1  # of the steps, over which the rate rises
NORM = 1.0  # of a gradient, above which it is cut
LEAST = 1e-6  # a gradient far below is what rounding leaves, and moves nothing


def taught(
    student: bytes, teacher: bytes | None, items: Sequence[Feeds], settings: Settings, folder: Path, progress: Progress
) -> tuple[dict[str, NDArray[np.float32]], Outcome]:
    """The weights that a student has learned, by their names in its graph, and what it took.

    `student` and `teacher` are ONNX files that take the same inputs, `items` inputs of one item each, and what else its
    lesson wants of an item. A lesson that holds nothing against a teacher has none. A checkpoint in `folder` is gone on
    from. Every process of a group calls this with the same arguments.

    Raises TrainingError.
    """
    if len(items) < 2:
        raise TrainingError("train_items", f"there are {len(items)} items")
    learner = student_of(student, settings.lesson)
    master = None if teacher is None else Network(teacher, learns=False)
    if master is not None and set(learner.names) != set(master.names):
        raise TrainingError("train_teacher", f"the student takes {learner.names}, its teacher {master.names}")
    loss = Loss(settings.lesson, learner, master, items[0])
    rank, processes = (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)
    optimiser = torch.optim.AdamW(learner.parameters(), lr=settings.rate, eps=LEAST, weight_decay=0.0)
    standing = kept(folder, _digest(student, teacher, items, settings), learner, optimiser)
    model = DistributedDataParallel(learner) if distributed.is_initialized() else learner
    order = list(batches(len(items), settings.batch, settings.epochs, settings.seed))
    an_epoch = len(order) // settings.epochs
    spent, saved = time.process_time(), time.monotonic()
    for number in range(standing.steps, len(order)):
        batch = order[number]
        for group in optimiser.param_groups:
            group["lr"] = settings.rate * _rising_and_falling(number, len(order))
        own = share(batch, rank, processes)
        # who has none of a small batch takes part all the same, with an item that does not count
        taken = own if len(own) else batch[:1]
        with FlopCounterMode(display=False) as counter:
            feeds = as_tensors(joined([items[index] for index in taken]))
            with torch.no_grad():
                right = [] if master is None else master(feeds, loss.names)
            apart = loss(model(feeds, loss.names), right, feeds).mean() * len(own)
            optimiser.zero_grad()
            # the mean over processes, which the group takes, times their number is the sum
            torch.autograd.backward(apart * processes / len(batch))
        whole = torch.tensor([float(apart.detach()), counter.get_total_flops() * bool(len(own))], dtype=torch.float64)
        if processes > 1:
            distributed.all_reduce(whole)
        if not math.isfinite(whole[0]):
            raise TrainingError("train_diverged", f"the loss of step {number + 1} of {len(order)} is {float(whole[0])}")
        torch.nn.utils.clip_grad_norm_(learner.parameters(), NORM, error_if_nonfinite=False)
        optimiser.step()
        begins = number % an_epoch == 0
        standing = replace(
            standing,
            steps=number + 1,
            first=standing.first + float(whole[0]) * (number < an_epoch),
            current=float(whole[0]) + (0.0 if begins else standing.current),
            flops=standing.flops + int(whole[1]),
        )
        progress(f"step {number + 1} of {len(order)}: {float(whole[0]) / len(batch):.5f}")
        if rank == 0 and (time.monotonic() - saved >= settings.keep_s or number + 1 == len(order)):
            now = time.process_time()
            standing, spent, saved = replace(standing, cpu_s=standing.cpu_s + now - spent), now, time.monotonic()
            keep(folder, standing, learner, optimiser)
    return learner.weights(), _outcome(standing, len(items), processes)


def _digest(student: bytes, teacher: bytes | None, items: Sequence[Feeds], settings: Settings) -> str:
    digest = hashlib.sha256(msgspec.json.encode(settings))
    for part in (student, teacher or b"", *(item[name].tobytes() for item in items for name in sorted(item))):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def _rising_and_falling(step: int, steps: int) -> float:
    """The share of the rate for a step from 0. Loshchilov and Hutter, "SGDR", 2017."""
    warm = max(1, round(WARM * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _outcome(standing: Standing, items: int, processes: int) -> Outcome:
    return Outcome(
        steps=standing.steps,
        before=standing.first / items,
        after=standing.current / items,
        flops=standing.flops,
        cpu_s=round(standing.cpu_s * processes, 3),
    )
