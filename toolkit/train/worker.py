"""One of the processes of a training: `torchrun ... -m toolkit.train.worker WORK KEPT HOST`.

WORK is the folder with what is to be done, KEPT the one of checkpoints, HOST the number of this host. A training that
cannot come to anything, or was told to stop, is told in WORK and ends well, since to begin it again would not help; a
process that dies is begun again by torchrun, and goes on from the last checkpoint.
"""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed

from toolkit.train.device import backend_of, device_of
from toolkit.train.errors import TrainingError, TrainingHalted
from toolkit.train.interruption import heard
from toolkit.train.training import taught
from toolkit.train.work import failed, given, told

__all__ = ["main"]


def main(folder: Path, keeps: Path, host: int) -> None:
    """Take part in the training in a folder."""
    torch.set_num_threads(1)
    work = given(folder)
    with heard() as stop:
        place, processes = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
        device = device_of(place, processes)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        distributed.init_process_group(backend_of(device), timeout=timedelta(seconds=work.settings.patience_s))
        first = place == 0
        try:
            weights, outcome = taught(
                work.student,
                work.teacher,
                work.items,
                work.settings,
                keeps,
                _tell,
                stop=stop,
                host=host,
                device=device,
            )
            if first:
                told(folder, weights, outcome)
        except (TrainingError, TrainingHalted) as error:
            if first:
                failed(folder, error)
        distributed.destroy_process_group()


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
