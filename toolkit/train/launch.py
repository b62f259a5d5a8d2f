"""Teach a student in this process, or in several of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from toolkit.train.errors import TrainingError
from toolkit.train.items import Feeds
from toolkit.train.settings import Outcome, Settings
from toolkit.train.training import Progress, taught
from toolkit.train.work import result, shared

__all__ = ["teach"]

RESTARTS = 3  # of processes that die
LAST = 20  # lines of a process that are told when it died


def teach(
    student: bytes, teacher: bytes | None, items: Sequence[Feeds], settings: Settings, progress: Progress
) -> tuple[dict[str, NDArray[np.float32]], Outcome]:
    """The weights that a student has learned, by their names in its graph, and what it took.

    Several processes compute on one thread each; one, on as many as torch was told. Raises TrainingError, Failed.
    """
    with TemporaryDirectory(prefix="sealpress-") as name:
        folder = Path(name)
        if settings.processes == 1:
            return taught(student, teacher, items, settings, folder, progress)
        shared(folder, student, teacher, items, settings)
        return launched(folder, settings.processes, progress)


def launched(folder: Path, processes: int, progress: Progress) -> tuple[dict[str, NDArray[np.float32]], Outcome]:
    """Follow the training in a folder in so many processes, through torchrun: those that die are begun again.

    Raises TrainingError.
    """
    root = Path(__file__).resolve().parents[2]
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"),
        *(f"--max-restarts={RESTARTS}", "-m", "toolkit.train.worker", str(folder)),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    lines: list[str] = []
    with subprocess.Popen(  # noqa: S603 - our own module, and a folder that we made
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as run:
        try:
            for line in run.stdout or ():
                lines = [*lines[1 - LAST :], line.rstrip()]
                if line.startswith("step "):
                    progress(line.rstrip())
        except BaseException:
            run.terminate()
            raise
    found = result(folder)
    if found is None:
        told = " | ".join(lines)[-1000:]
        raise TrainingError("train_worker", f"the processes ended with {run.returncode} and without a result: {told}")
    return found
