"""Teach a student in this process, in several of this machine, or in those of several hosts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from toolkit.train.device import device_of, halves
from toolkit.train.errors import TrainingError, TrainingHalted
from toolkit.train.interruption import heard
from toolkit.train.items import Feeds
from toolkit.train.place import Place
from toolkit.train.settings import Outcome, Settings
from toolkit.train.training import Progress, Spends, taught, unheard
from toolkit.train.way import way_to
from toolkit.train.work import digest_of, ended, result, shared, spent

__all__ = ["launched", "teach"]

RESTARTS = 3  # of processes that die
LAST = 20  # lines of a process that are told when it died
ENDING_S = 300  # for a step, once it is to be the last
BEGINS_S = 120  # that hosts may begin one after the other, at least
LOOKS_S = 0.2  # between two looks at whether the processes told how it ended


def teach(
    student: bytes,
    teacher: bytes | None,
    items: Sequence[Feeds],
    settings: Settings,
    progress: Progress,
    place: Place = Place(),  # noqa: B008 - it is frozen
    spends: Spends = unheard,
) -> tuple[dict[str, NDArray[np.float32]], Outcome]:
    """The weights that a student has learned, by their names in its graph, and what it took.

    A place with a folder keeps the training there: begun once more with the same arguments, it goes on. Several
    processes compute on one thread each; one, on as many as torch was told. `spends` hears what this beginning took,
    also where it ends badly. Raises TrainingError, TrainingHalted, Failed.
    """
    settings = replace(
        settings,
        processes=place.processes or settings.processes,
        shards=place.shards,
        bfloat16=place.bfloat16,
        patience_s=place.patience_s,
    )
    device = device_of(0, settings.processes)
    if settings.bfloat16 and not halves(device):
        raise TrainingError("train_bfloat16", f"the device ({device.type}) has no instructions for bfloat16")
    with TemporaryDirectory(prefix="sealpress-") as name:
        work = Path(name)
        of = digest_of(student, teacher, items, settings)
        folder = work / "kept" if place.folder is None else place.folder / of[:16]
        if settings.processes * place.hosts == 1:
            with heard() as stop:
                return taught(
                    student, teacher, items, settings, folder, progress, stop=stop, device=device, spends=spends
                )
        shared(work, student, teacher, items, settings)
        try:
            return launched(work, folder, replace(place, processes=settings.processes), progress)
        finally:
            spends(spent(work))


def launched(
    work: Path, folder: Path, place: Place, progress: Progress
) -> tuple[dict[str, NDArray[np.float32]], Outcome]:
    """Follow the training in the folder `work` in the processes of a place, through torchrun: those that die are begun
    again, and go on from the checkpoint in `folder`.

    Raises TrainingError, TrainingHalted.
    """
    root = Path(__file__).resolve().parents[2]
    meeting, interface = _meeting(place)
    command = [
        *(sys.executable, "-m", "torch.distributed.run", *meeting),
        *(f"--nproc-per-node={place.processes}", f"--max-restarts={RESTARTS}", f"--shutdown-timeout={ENDING_S}"),
        *("-m", "toolkit.train.worker", str(work.resolve()), str(folder.resolve()), str(place.rank)),
    ]
    own = {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(root),
        # a store of its own for each beginning: in that of torchrun stand the addresses of those who died
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    }
    lines: list[str] = []
    with subprocess.Popen(  # noqa: S603 - our own module, and folders that we made
        command,
        cwd=work,  # where we are, others may have put a module that is called like one of ours
        env=interface | os.environ | own,  # whoever names an interface knows better
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C comes to us, and is passed on once
    ) as run:
        try:
            with heard(run.terminate) as stop:
                Thread(target=_ends_in_time, args=(run, work, place.patience_s), daemon=True).start()
                for line in run.stdout or ():
                    lines = [*lines[1 - LAST :], line.rstrip()]
                    if line.startswith("step "):
                        progress(line.rstrip())
        except BaseException:
            run.terminate()
            _end(run, ENDING_S)
            raise
    found = result(work)
    if found is not None:
        return found
    if stop():
        raise TrainingHalted("train_interrupted", "before a step was done since the last checkpoint")
    told = f"the processes ended with {run.returncode} and without a result: {' | '.join(lines)[-1000:]}"
    raise TrainingHalted("train_link", told) if place.hosts > 1 else TrainingError("train_worker", told)


def _ends_in_time(run: subprocess.Popen[str], work: Path, patience_s: float) -> None:
    """Once the processes told how the training ended, torchrun ends within the time that a host is waited for. It may
    wait for one behind a cut wire without end, in a read that neither a limit nor a signal reaches."""
    while not ended(work):
        try:
            run.wait(LOOKS_S)
        except subprocess.TimeoutExpired:
            continue
        return
    _end(run, patience_s)


def _end(run: subprocess.Popen[str], after_s: float) -> None:
    try:
        run.wait(after_s)
    except subprocess.TimeoutExpired:
        run.kill()


def _meeting(place: Place) -> tuple[list[str], dict[str, str]]:
    """How the processes find each other: arguments of torchrun, and what gloo reads from the environment. Hosts are
    waited for until they had the time to begin; then no longer than a step may take. Raises TrainingHalted."""
    if place.hosts == 1:
        return ["--standalone", "--local-addr=127.0.0.1"], {}
    way = way_to(place.meet)
    begins = max(round(place.patience_s), BEGINS_S)
    waits = {"is_host": int(place.leads), "join_timeout": begins, "read_timeout": begins}
    return [
        *(f"--nnodes={place.hosts}", "--rdzv-backend=c10d", f"--rdzv-endpoint={way.endpoint}", "--rdzv-id=sealpress"),
        *(f"--rdzv-conf={','.join(f'{name}={value}' for name, value in waits.items())}", f"--local-addr={way.address}"),
    ], {"GLOO_SOCKET_IFNAME": way.interface} if way.interface else {}
