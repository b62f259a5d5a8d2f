"""A student that learns a lesson, in one of the processes that share the work.

Each process takes a share of every batch; the gradient of the whole batch is the sum of theirs over the number of its
items, f'(x) = 1/N sum f_i'(x), whatever the shares are.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from msgspec.structs import replace
from numpy.typing import NDArray
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from torch.utils.flop_counter import FlopCounterMode

from toolkit.modification import Spent
from toolkit.train.checkpoint import gone_on_with, keep, whole
from toolkit.train.device import PROCESSOR
from toolkit.train.errors import TrainingError, TrainingHalted
from toolkit.train.group import Group
from toolkit.train.items import Feeds, batches, joined, share
from toolkit.train.log import Line, Log
from toolkit.train.loss import Loss
from toolkit.train.network import Network, as_tensors
from toolkit.train.settings import Outcome, Settings
from toolkit.train.student import student_of
from toolkit.train.work import digest_of

__all__ = ["Progress", "Spends", "taught", "unheard"]

Progress = Callable[[str], None]
Spends = Callable[[Spent], None]
Tensor = torch.Tensor

WARM = 0.1  # of the steps, over which the rate rises
NORM = 1.0  # of a gradient, above which it is cut
LEAST = 1e-6  # a gradient far below is what rounding leaves, and moves nothing
NO_MEMORY = "can't allocate memory"  # what torch says of the processor's


def never() -> bool:
    return False


def unheard(_: Spent) -> None:
    pass


def taught(
    student: bytes,
    teacher: bytes | None,
    items: Sequence[Feeds],
    settings: Settings,
    folder: Path,
    progress: Progress,
    stop: Callable[[], bool] = never,
    host: int = 0,
    device: torch.device = PROCESSOR,
    spends: Spends = unheard,
) -> tuple[dict[str, NDArray[np.float32]], Outcome]:
    """The weights that a student has learned, by their names in its graph, and what it took.

    `student` and `teacher` are ONNX files that take the same inputs, `items` inputs of one item each, and what else its
    lesson wants of an item. A lesson that holds nothing against a teacher has none. A checkpoint in `folder` is gone on
    from, and left there when it ends, also where it ends badly. Every process of a group calls this with the same
    arguments, and the number of its host and its device. Where one is told to `stop`, all do after the same step.
    `spends` hears what each step took in all processes, and of one that did not come to its end what it took in this.

    Raises TrainingError, TrainingHalted, Failed.
    """
    group = Group(host, device)
    if len(items) < 2:
        raise TrainingError("train_items", f"there are {len(items)} items")
    if min(settings.batch, len(items)) < group.size:
        told = f"batches of {min(settings.batch, len(items))} items are dealt out to {group.size} processes"
        raise TrainingError("train_shards", told)
    try:
        return _Taught(student, teacher, items, settings, folder, progress, stop, group, device, spends).followed()
    except MemoryError:
        raise TrainingHalted("train_memory", "there is not enough memory") from None
    except RuntimeError as error:
        if NO_MEMORY not in str(error) and not isinstance(error, torch.OutOfMemoryError):
            raise
        raise TrainingHalted("train_memory", str(error)[:200]) from None


class _Taught:
    """One training in one process."""

    def __init__(
        self,
        student: bytes,
        teacher: bytes | None,
        items: Sequence[Feeds],
        settings: Settings,
        folder: Path,
        progress: Progress,
        stop: Callable[[], bool],
        group: Group,
        device: torch.device,
        spends: Spends,
    ) -> None:
        of = digest_of(student, teacher, items, settings)
        if not group.agrees(bytes.fromhex(of)):
            raise TrainingError("train_differs", f"this host holds the training {of[:16]}, another one another")
        self._student, self._items, self._settings, self._folder = student, items, settings, folder
        self._progress, self._stop, self._group = progress, stop, group
        self._device, self._spends = device, spends
        self._learner = student_of(student, settings.lesson).to(device)
        self._master = None if teacher is None else Network(teacher, learns=False).to(device)
        if self._master is not None and set(self._learner.names) != set(self._master.names):
            told = f"the student takes {self._learner.names}, its teacher {self._master.names}"
            raise TrainingError("train_teacher", told)
        self._loss = Loss(settings.lesson, self._learner, self._master, items[0], device)
        parameters = sum(value.numel() for value in self._learner.parameters())
        self._sharded = settings.shards and group.size > 1
        if self._sharded:
            # it brings a compiler along, which takes as long to load as to teach a small model
            from torch.distributed.fsdp import fully_shard

            fully_shard(self._learner)
        self._optimiser = torch.optim.AdamW(self._learner.parameters(), lr=settings.rate, eps=LEAST, weight_decay=0.0)
        self._standing = gone_on_with(folder, of, self._learner, self._optimiser, group)
        self._kept = self._standing.steps
        together = distributed.is_initialized() and not self._sharded
        self._model = DistributedDataParallel(self._learner) if together else self._learner
        self._order = list(batches(len(items), settings.batch, settings.epochs, settings.seed))
        if self._standing.steps > len(self._order):
            raise TrainingError("train_checkpoint", f"{folder} holds a checkpoint of more steps than there are")
        self._flops: dict[tuple[tuple[str, tuple[int, ...]], ...], int] = {}
        self._log: Log | None = None
        if group.leads:
            self._log = Log(folder, of, settings, len(items), len(self._order), parameters)
            self._log.go_on(self._standing.steps)

    def followed(self) -> tuple[dict[str, NDArray[np.float32]], Outcome]:
        steps = len(self._order)
        spent, saved = time.process_time(), time.monotonic()
        moving = False
        try:
            while self._standing.steps < steps:
                loss, flops, apart = self._gradient()
                now = time.process_time()
                late = self._group.leads and time.monotonic() - saved >= self._settings.keep_s
                sums = self._group.sums([loss, flops, now - spent, self._stop(), late])
                spent = now
                self._spends(Spent(flops=int(sums[1]), cpu_s=sums[2]))
                self._refuse_infinite(sums[0], "loss")
                norm = torch.nn.utils.clip_grad_norm_(self._learner.parameters(), NORM, error_if_nonfinite=False)
                self._refuse_infinite(float(whole(norm)), "gradient")
                moving = True
                self._optimiser.step()
                self._stands(sums, apart)
                moving = False
                ended = self._standing.steps == steps
                if ended or sums[3] or sums[4]:
                    self._keep()
                    saved = time.monotonic()
                if sums[3] and not ended:
                    told = f"after step {self._standing.steps} of {steps}; the checkpoint is in {self._folder}"
                    raise TrainingHalted("train_interrupted", told)
        except BaseException:
            self._spends(Spent(flops=0, cpu_s=time.process_time() - spent))
            # those who hold shards have to gather them together, which who is cut off cannot
            if not moving and not self._sharded and self._standing.steps > self._kept:
                self._keep()
            raise
        return self._weights(), self._outcome()

    def _gradient(self) -> tuple[float, int, float]:
        """The sum of the losses of this process's share of the next batch, its operations, and when it was begun."""
        began, batch = time.monotonic(), self._batch()
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate()
        own = share(batch, self._group.rank, self._group.size)
        # who has none of a small batch takes part all the same, with an item that does not count
        taken = own if len(own) else batch[:1]
        feeds = as_tensors(joined([self._items[index] for index in taken]), self._device)
        # counting takes longer than computing does in small graphs, and comes to the same for the same shapes
        shapes = tuple(sorted((name, tuple(value.shape)) for name, value in feeds.items()))
        counter = FlopCounterMode(display=False) if shapes not in self._flops else None
        with counter or nullcontext(), torch.autocast(self._device.type, torch.bfloat16, self._settings.bfloat16):
            with torch.no_grad():
                right = [] if self._master is None else self._master(feeds, self._loss.names)
            found = self._loss(_floats(self._model(feeds, self._loss.names)), _floats(right), feeds).mean() * len(own)
            self._optimiser.zero_grad()
            # the mean over processes, which the group takes, times their number is the sum
            torch.autograd.backward(found * self._group.size / len(batch))
        if counter is not None:
            self._flops[shapes] = counter.get_total_flops()
        return float(found.detach()), self._flops[shapes] * bool(len(own)), began

    def _batch(self) -> NDArray[np.intp]:
        return self._order[self._standing.steps]

    def _rate(self) -> float:
        return self._settings.rate * _rising_and_falling(self._standing.steps, len(self._order))

    def _stands(self, sums: Sequence[float], began: float) -> None:
        """A step further."""
        before, batch, rate = self._standing, self._batch(), self._rate()
        an_epoch = len(self._order) // self._settings.epochs
        epoch, place = divmod(before.steps, an_epoch)
        self._standing = replace(
            before,
            steps=before.steps + 1,
            first=before.first + sums[0] * (epoch == 0),
            current=sums[0] + (0.0 if place == 0 else before.current),
            flops=before.flops + int(sums[1]),
            cpu_s=before.cpu_s + sums[2],
        )
        if self._log is not None:
            line = Line(
                step=before.steps + 1,
                epoch=epoch + 1,
                loss=sums[0] / len(batch),
                rate=rate,
                items=len(batch),
                seconds=round(time.monotonic() - began, 6),
            )
            self._progress(self._log.step(line))

    def _refuse_infinite(self, value: float, what: str) -> None:
        if not math.isfinite(value):
            told = f"the {what} of step {self._standing.steps + 1} of {len(self._order)} is {value}"
            raise TrainingError("train_diverged", told)

    def _keep(self) -> None:
        keep(self._folder, self._standing, self._learner, self._optimiser, put_it=self._group.leads)
        self._kept = self._standing.steps
        if self._log is not None:
            self._log.draw()

    def _weights(self) -> dict[str, NDArray[np.float32]]:
        if not self._sharded:
            return self._learner.weights()
        gathered = student_of(self._student, self._settings.lesson)
        with torch.no_grad():
            for (_, ours), (_, shard) in zip(
                gathered.named_parameters(), self._learner.named_parameters(), strict=True
            ):
                ours.copy_(whole(shard))
        return gathered.weights()

    def _outcome(self) -> Outcome:
        return Outcome(
            steps=self._standing.steps,
            before=self._standing.first / len(self._items),
            after=self._standing.current / len(self._items),
            flops=self._standing.flops,
            cpu_s=round(self._standing.cpu_s, 3),
        )


def _floats(tensors: Sequence[Tensor]) -> list[Tensor]:
    """A loss is a sum of many small numbers, for which halves of floats are too short."""
    return [value.float() if value.dtype == torch.bfloat16 else value for value in tensors]


def _rising_and_falling(step: int, steps: int) -> float:
    """The share of the rate for a step from 0. Loshchilov and Hutter, "SGDR", 2017."""
    warm = max(1, round(WARM * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
