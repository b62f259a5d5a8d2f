"""One of the processes of a training: `torchrun ... -m toolkit.train.worker FOLDER`.

A training that cannot come to anything is told in the folder and ends well, since to begin it again would not help; a
process that dies is begun again by torchrun, and goes on from the last checkpoint.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import distributed

from toolkit.train.errors import TrainingError
from toolkit.train.training import taught
from toolkit.train.work import failed, given, told

__all__ = ["main"]


def main(folder: Path) -> None:
    """Take part in the training in a folder."""
    torch.set_num_threads(1)
    work = given(folder)
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    first = distributed.get_rank() == 0
    try:
        weights, outcome = taught(
            work.student,
            work.teacher,
            work.items,
            work.settings,
            folder,
            _tell if first else lambda _: None,
        )
        if first:
            told(folder, weights, outcome)
    except TrainingError as error:
        if first:
            failed(folder, error)
    finally:
        distributed.destroy_process_group()


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
