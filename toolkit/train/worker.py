"""One of the processes of a training: `torchrun ... -m toolkit.train.worker WORK KEPT HOST`.

WORK is the folder with what is to be done, KEPT the one of checkpoints, HOST the number of this host. A training that
cannot come to anything, or was told to stop, is told in WORK and ends well, since to begin it again would not help; a
process that dies is begun again by torchrun, and goes on from the last checkpoint.
"""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path

import torch
from torch import distributed

from toolkit.train.device import backend_of, device_of
from toolkit.train.errors import TrainingError, TrainingHalted
from toolkit.train.interruption import heard
from toolkit.train.training import taught, unheard
from toolkit.train.work import failed, given, spends, told

__all__ = ["main"]

BEGINS_S = 120  # that processes may take to begin, at least
UNHEARD = ("Timed out waiting", "timed out", "wait timeout")  # what gloo and the store say of who is silent


def main(folder: Path, keeps: Path, host: int) -> None:
    """Take part in the training in a folder."""
    torch.set_num_threads(1)
    work = given(folder)
    note = partial(spends, folder) if _first() else unheard
    with heard() as stop:
        device = device_of(int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"]))
        try:
            _meet(device, work.settings.patience_s)
            weights, outcome = taught(
                work.student,
                work.teacher,
                work.items,
                work.settings,
                keeps,
                _say,
                stop=stop,
                host=host,
                device=device,
                spends=note,
            )
            if _first():
                told(folder, weights, outcome)
        except (TrainingError, TrainingHalted) as error:
            if _first():
                failed(folder, error)
        except RuntimeError as error:
            if os.environ["GROUP_WORLD_SIZE"] == "1" or not any(said in str(error) for said in UNHEARD):
                raise
            # whoever notices first tells: the others of this host may hear no more than that it went
            failed(folder, TrainingHalted("train_link", f"another host was not heard: {str(error)[:200]}"))
            return
        distributed.destroy_process_group()


def _meet(device: torch.device, patience_s: float) -> None:
    """Begin the group. Processes are waited for until they had the time to begin; then each, until it is given up."""
    place, size, rank = os.environ["MASTER_ADDR"], int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
    begins, patience = (timedelta(seconds=one) for one in (max(BEGINS_S, patience_s), patience_s))
    make = distributed.TCPStore  # type: ignore[attr-defined]  # it is documented there, and comes from C++
    store = make(place, int(os.environ["MASTER_PORT"]), size, rank == 0, timeout=begins)
    store.set_timeout(patience)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group(backend_of(device), store=store, rank=rank, world_size=size, timeout=patience)


def _first() -> bool:
    """Whether this process speaks for its host."""
    return os.environ["LOCAL_RANK"] == "0"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
