"""A server as a tree of processes: started, asked until it answers, weighed, and ended with all its children."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks.serving.load import asked
from benchmarks.serving.pool import Request

__all__ = ["Server", "pss_mb", "running"]

READY_S = 120.0
END_S = 40.0
_TICKS = os.sysconf("SC_CLK_TCK")


class Server(NamedTuple):
    """One that answers. `ready_s` is the time from its start until the first answer; `log` is all that it wrote."""

    process: subprocess.Popen[bytes]
    port: int
    ready_s: float
    log: Path

    def cpu_s(self) -> float:
        """User and system time of all its processes so far, those that ended included."""
        return sum(sum(map(int, _stat(pid)[11:15])) for pid in _tree(self.process.pid)) / _TICKS

    def pss_mb(self) -> float:
        """Memory of all its processes in 2^20 bytes; a page that n processes share counts as one n-th in each."""
        return sum(map(pss_mb, _tree(self.process.pid)))

    def end(self) -> int:
        """Ask it to end, wait, and return its status; whatever is left of it then is killed: some do not end at all."""
        tree = _tree(self.process.pid)
        self.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(END_S)
        for pid in tree:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return self.process.wait()


@contextmanager
def running(
    command: Sequence[str | Path], port: int, first: Request, log: Path, *, cwd: Path, env: Mapping[str, str]
) -> Iterator[Server]:
    """Start a server, ask it the `first` request until it is answered, and end it afterwards."""
    with log.open("wb") as written:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=cwd, env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=written, stderr=written
        )
    server = Server(process, port, 0.0, log)
    try:
        while (status := asked(port, first, within_s=0.25).status) != 200:
            if process.poll() is not None or time.perf_counter() - began > READY_S:
                raise RuntimeError(f"{command[0]} does not serve ({status}): {log.read_text('utf-8')[-2000:]}")
            time.sleep(0.01)
        yield server._replace(ready_s=time.perf_counter() - began)
    finally:
        if process.poll() is None:
            server.end()


def pss_mb(pid: int) -> float:
    with suppress(ProcessLookupError, FileNotFoundError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    return 0.0


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name, which may hold anything; zeros for a process that ended."""
    with suppress(ProcessLookupError, FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return ["0"] * 16


def _tree(root: int) -> list[int]:
    """A process and all its descendants."""
    parents = {int(path.name): int(_stat(int(path.name))[1]) for path in Path("/proc").iterdir() if path.name.isdigit()}
    tree = [root]
    for pid in tree:
        tree += [child for child, parent in parents.items() if parent == pid]
    return tree
