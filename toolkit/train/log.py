"""What is written of a training while it lasts: how it was begun, a line for each step, and the curves."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import msgspec
import torch
from msgspec import Struct

from compliance.disk import put
from toolkit.train.curves import curves
from toolkit.train.errors import TrainingError
from toolkit.train.settings import Settings

__all__ = ["BEGUN", "CURVES", "LOG", "Begun", "Line", "Log", "read_log"]

FORMAT = 1
BEGUN, LOG, CURVES = "begun.json", "log.jsonl", "curves.svg"
MAX_LOG = 500_000_000


class Begun(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a training is made of and where it runs. `of` is the digest of all that it depends on; `instructions` are
    those of the processor that torch computes with."""

    format: int = FORMAT
    of: str
    settings: Settings
    items: int
    parameters: int
    steps: int
    processes: int
    threads: int
    cores: int
    instructions: str
    torch: str


class Line(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A step: its mean loss, its rate, the items of its batch, and the seconds that it took. The first line of a log
    says its format in the place of these."""

    step: int
    epoch: int
    loss: float
    rate: float
    items: int
    seconds: float


class Log:
    """The files beside a checkpoint. A training that goes on keeps the lines up to its checkpoint alone."""

    def __init__(self, folder: Path, of: str, settings: Settings, items: int, steps: int, parameters: int) -> None:
        """Raises Failed; TrainingError "train_checkpoint" where the log is none."""
        self._folder = folder
        self._steps = steps
        self._lines: list[Line] = []
        self._began = time.monotonic()
        begun = Begun(
            of=of,
            settings=settings,
            items=items,
            parameters=parameters,
            steps=steps,
            processes=settings.processes,
            threads=torch.get_num_threads(),
            cores=os.cpu_count() or 1,
            instructions=torch.backends.cpu.get_cpu_capability(),
            torch=str(torch.__version__),
        )
        put(folder / BEGUN, msgspec.json.format(msgspec.json.encode(begun, order="deterministic")) + b"\n")

    def go_on(self, steps: int) -> None:
        """Take up the log of so many steps. Raises Failed, TrainingError."""
        path = self._folder / LOG
        if steps and path.exists():
            self._lines = [line for line in read_log(path) if line.step <= steps]
        self._put()

    def step(self, line: Line) -> str:
        """Note a step. Returns what a person is told of it. Raises Failed."""
        self._lines.append(line)
        with (self._folder / LOG).open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")
        first = self._lines[self._started] if len(self._lines) > self._started else line
        passed = sum(one.seconds for one in self._lines[self._started :])
        done = line.step - first.step + 1
        left = passed / done * (self._steps - line.step)
        speed = sum(one.items for one in self._lines[self._started :]) / max(passed, 1e-9)
        return f"step {line.step} of {self._steps}: loss {line.loss:.5f}, {speed:.1f} items/s, {_said(left)} left"

    def draw(self) -> None:
        """Put the curves. Raises Failed."""
        put(self._folder / CURVES, curves([(line.step, line.loss, line.rate) for line in self._lines]).encode())

    def _put(self) -> None:
        self._started = len(self._lines)
        lines: list[Any] = [{"format": FORMAT}, *self._lines]
        put(self._folder / LOG, b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


def read_log(path: Path) -> list[Line]:
    """The steps of a log; a last line that was cut short is left out. Raises TrainingError "train_checkpoint"."""
    try:
        with path.open("rb") as file:
            head, *lines = file.read(MAX_LOG).split(b"\n")
        if msgspec.json.decode(head, type=dict[str, int]) != {"format": FORMAT}:
            raise TrainingError("train_checkpoint", f"{path} is of another release")
        return [msgspec.json.decode(line, type=Line) for line in lines[:-1]]
    except (OSError, msgspec.MsgspecError) as error:
        raise TrainingError("train_checkpoint", f"{path}: {str(error)[:200]}") from None


def _said(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
