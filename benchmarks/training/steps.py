"""One of the processes whose steps are timed: `torchrun -m benchmarks.training.steps MODEL BATCH TOKENS STEPS`."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from toolkit.train.items import MASK, share
from toolkit.train.lesson import Lesson
from toolkit.train.loss import Loss
from toolkit.train.network import Network, as_tensors
from toolkit.train.student import student_of


def main(model: bytes, batch: int, tokens: int, steps: int) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    rank, count = distributed.get_rank(), distributed.get_world_size()
    own = len(share(np.arange(batch), rank, count))
    learner, teacher = student_of(model, Lesson()), Network(model, learns=False)
    random = np.random.default_rng(rank)
    item = {name: np.zeros((own, tokens), np.int64) for name in learner.names}
    item |= {"input_ids": random.integers(1000, 20_000, size=(own, tokens)), MASK: np.ones((own, tokens), np.int64)}
    loss = Loss(Lesson(), learner, teacher, item)
    together = DistributedDataParallel(learner)
    optimiser = torch.optim.AdamW(learner.parameters(), lr=1e-6)
    feeds = as_tensors(item)

    def step(*, shared: bool) -> float:
        distributed.barrier()
        began = time.perf_counter()
        with nullcontext() if shared else together.no_sync():
            with torch.no_grad():
                right = teacher(feeds, loss.names)
            optimiser.zero_grad()
            torch.autograd.backward(loss(together(feeds, loss.names), right, feeds).mean())
        optimiser.step()
        return time.perf_counter() - began

    step(shared=True)
    timed = [(step(shared=False), step(shared=True)) for _ in range(steps)]
    size = sum(4 * value.numel() for value in learner.parameters())
    figures = {
        "computing": [computing for computing, _ in timed],
        "whole": [whole for _, whole in timed],
        "bytes": size,
        "small": _reduced(1, 4 * steps),
        "large": _reduced(size // 4, steps),
    }
    if rank == 0:
        sys.stdout.write(f"{json.dumps(figures)}\n")
    distributed.destroy_process_group()


def _reduced(numbers: int, rounds: int) -> float:
    """Median seconds of an all-reduce of so many floats."""
    values = torch.ones(numbers)

    def once() -> float:
        distributed.barrier()
        began = time.perf_counter()
        distributed.all_reduce(values)
        return time.perf_counter() - began

    return _median(once, rounds)


def _median(once: Callable[[], float], rounds: int) -> float:
    once()
    return statistics.median(once() for _ in range(rounds))


if __name__ == "__main__":
    main(Path(sys.argv[1]).read_bytes(), *map(int, sys.argv[2:]))
