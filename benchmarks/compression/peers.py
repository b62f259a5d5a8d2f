"""Other tools at work on an ONNX file, each in an environment of its own, and what runs what they made."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks.frame import environment
from toolkit.compress.measure import transport_bytes

__all__ = ["Candidate", "OpenVino", "Runtime", "nncf", "olive"]

HERE = Path(__file__).resolve().parent
Feeds = Mapping[str, NDArray[Any]]
OPENVINO = ("openvino==2026.4.1", "nncf==3.4.0", "onnx==1.23.2")


class Candidate(Protocol):
    """A model that can be run. `size` is in bytes, `packed` too, as it is sent (zstd)."""

    size: int
    packed: int

    def answers(self, feeds: Feeds) -> NDArray[Any]:
        """The first output of one batch."""
        ...

    def seconds(self, feeds: Feeds, runs: int) -> float:
        """The median time of a run, on one thread."""
        ...


class Runtime:
    """An ONNX file in ONNX Runtime on one thread."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        self.size, self.packed = path.stat().st_size, transport_bytes(path.read_bytes())
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._names = [one.name for one in self._session.get_inputs()]

    def answers(self, feeds: Feeds) -> NDArray[Any]:
        first: NDArray[Any] = self._session.run(None, {name: feeds[name] for name in self._names})[0]
        return first

    def seconds(self, feeds: Feeds, runs: int) -> float:
        import time

        given = {name: feeds[name] for name in self._names}
        taken = []
        for _ in range(runs):
            start = time.perf_counter()
            self._session.run(None, given)
            taken.append(time.perf_counter() - start)
        return float(np.median(taken))


class OpenVino:
    """A model in OpenVINO's own engine on one thread, in a process that stays alive and answers requests."""

    def __init__(self, path: Path, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [_openvino(), HERE / "openvino_peer.py", "serve", path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        files = [one.read_bytes() for one in (path, path.with_suffix(".bin")) if one.exists()]
        self.size, self.packed = sum(map(len, files)), sum(map(transport_bytes, files))

    def answers(self, feeds: Feeds) -> NDArray[Any]:
        result = self._folder / "answer.npy"
        self._asked({"do": "answer", "feeds": str(self._saved(feeds)), "result": str(result)})
        return np.asarray(np.load(result))

    def seconds(self, feeds: Feeds, runs: int) -> float:
        return float(self._asked({"do": "time", "feeds": str(self._saved(feeds)), "runs": runs})["seconds"])

    def _saved(self, feeds: Feeds) -> Path:
        path = self._folder / "feeds.npz"
        np.savez(path, **dict(feeds))  # type: ignore[arg-type]  # none is called allow_pickle
        return path

    def _asked(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None  # noqa: S101 - both are pipes
        assert self._process.stdout is not None  # noqa: S101 - both are pipes
        print(json.dumps(request), file=self._process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def nncf(fp32: Path, learn: Sequence[Feeds], folder: Path, *, transformer: bool) -> Path:
    """NNCF's post-training quantisation to int8 for OpenVINO, with the calibration items."""
    data, result = _batches(learn, folder), folder / "nncf.xml"
    kind = "transformer" if transformer else "plain"
    subprocess.run([_openvino(), HERE / "openvino_peer.py", "press", fp32, data, result, kind], check=True)
    return result


def olive(fp32: Path, folder: Path) -> Path:
    """Olive's pass for dynamic quantisation of an ONNX file, with what it sets by default. Telemetry is off."""
    python = environment("olive", "torch==2.13.0", "olive-ai==0.13.0", "onnxruntime==1.32.0", "requests")
    subprocess.run([python, HERE / "olive_peer.py", fp32, folder / "olive"], check=True, stdout=subprocess.DEVNULL)
    (found,) = [path for path in (folder / "olive").rglob("*.onnx") if "cache" not in path.parts]
    return found


def _openvino() -> Path:
    return environment("openvino", *OPENVINO)


def _batches(learn: Sequence[Feeds], folder: Path) -> Path:
    path = folder / "learn.npz"
    arrays = {f"{number}/{name}": array for number, one in enumerate(learn) for name, array in one.items()}
    np.savez(path, **arrays)  # type: ignore[arg-type]  # none is called allow_pickle
    return path
