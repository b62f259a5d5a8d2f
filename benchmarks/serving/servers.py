"""The servers that are measured: ours, and those of others with neither key, gate nor record.

Each peer runs one single-threaded session of the same ONNX file in each of as many processes as there are cores, which
is what its own pages advise for work that keeps a processor busy; batches gain nothing for this model.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import cycle, product
from pathlib import Path
from typing import NamedTuple

from benchmarks.frame import environment
from benchmarks.pressed import COMMAND
from benchmarks.serving.boxes import MODEL, BoxFolder
from benchmarks.serving.load import Request
from benchmarks.serving.processes import Server, running

__all__ = [
    "BENTOML",
    "CONFIGURED",
    "CORES",
    "FASTAPI",
    "LITSERVE",
    "MLSERVER",
    "OURS",
    "TEXTS",
    "Candidate",
    "peers",
    "post",
    "sealpress",
]

PEERS = Path(__file__).resolve().parent / "peers"
CORES = len(os.sched_getaffinity(0))
OURS = "sealpress serve"
FASTAPI, LITSERVE, MLSERVER, BENTOML = "FastAPI", "LitServe", "MLServer", "BentoML"

_MODEL = ("onnxruntime==1.32.0", "tokenizers==0.23.3", "numpy==2.4.6")
_WEB = ("fastapi==0.165.0", "uvicorn[standard]==0.54.0")
REQUIREMENTS = {
    FASTAPI: _WEB,
    LITSERVE: ("litserve==0.2.19", *_WEB),
    MLSERVER: ("mlserver==1.7.1", "uvloop==0.21.0"),  # with later ones its workers do not start
    BENTOML: ("bentoml==1.4.40",),
}
CONFIGURED = (
    f"Peers, one session with one thread in each of {CORES} processes (one a core, as their pages advise), no log of "
    f"requests: FastAPI 0.165.0 with uvicorn[standard] 0.54.0 --workers {CORES}; LitServe 0.2.19, workers_per_device "
    f"{CORES}, fast_queue; MLServer 1.7.1, parallel_workers {CORES}, no adaptive batching, Open Inference Protocol; "
    f"BentoML 1.4.40, workers cpu_count. All with onnxruntime 1.32.0 and tokenizers 0.23.3."
)

# 64 texts of 22 to 28 tokens in which nothing personal is found
TEXTS = [
    f"{who} on the {ward} ward asks {what}; please tell the desk before {when}."
    for who, ward, what, when in product(
        ("The night nurse", "A visitor with two children", "The head physician", "The cook"),
        ("third", "children's"),
        ("where the wheelchairs are kept during the day", "how long the lift will stay out of order this week",
         "for a second key to the room with the medicines", "whether the new beds were delivered in the morning"),
        ("you go home", "the next meal is served"),
    )
]  # fmt: skip


class Candidate(NamedTuple):
    """`serve(log)` starts the server, which is asked `requests`."""

    name: str
    serve: Callable[[Path], AbstractContextManager[Server]]
    requests: Sequence[Request]

    def again(self) -> Iterator[Request]:
        """The requests in turn, without end."""
        return cycle(self.requests)


def sealpress(box: BoxFolder, key: str, workers: int = 1) -> Candidate:
    """Ours, with gate, privacy scan and the sealed journal, in the class `buffered`."""
    requests = _openai({"Authorization": f"Bearer {key}", "X-Purpose": "search"})

    def serve(log: Path) -> AbstractContextManager[Server]:
        port = _free()
        command = [COMMAND, "serve", box.bundle, "--port", str(port), "--workers", str(workers)]
        return running(command, port, requests[0], log, cwd=box.path, env={})

    return Candidate(OURS if workers == 1 else f"{OURS} --workers {workers}", serve, requests)


def peers(bundle: Path) -> list[Candidate]:
    """Those of others, in environments of their own, which are made on first use."""
    return [_fastapi(bundle), _litserve(bundle), _mlserver(bundle), _bentoml(bundle)]


def post(path: str, body: object, headers: Mapping[str, str] | None = None, kind: str = "") -> Request:
    data = json.dumps(body).encode()
    said = {"Host": "localhost", "Content-Type": "application/json", **(headers or {})}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in said.items())]
    return Request("\r\n".join([*lines, f"Content-Length: {len(data)}", "", ""]).encode() + data, kind)


def _openai(headers: Mapping[str, str] | None = None) -> list[Request]:
    return [post("/v1/embeddings", {"model": MODEL, "input": text}, headers) for text in TEXTS]


def _fastapi(bundle: Path) -> Candidate:
    def command(port: int) -> list[str | Path]:
        options = ["--host", "127.0.0.1", "--port", str(port), "--workers", str(CORES), "--log-level", "warning"]
        return [_python(FASTAPI), "-m", "uvicorn", "fastapi_peer:app", *options]

    return _peer(FASTAPI, bundle, command, _openai())


def _litserve(bundle: Path) -> Candidate:
    def command(port: int) -> list[str | Path]:
        return [_python(LITSERVE), PEERS / "litserve_peer.py", str(CORES), str(port)]

    return _peer(LITSERVE, bundle, command, _openai())


def _mlserver(bundle: Path) -> Candidate:
    requests = [
        post("/v2/models/minilm/infer",
             {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]})
        for text in TEXTS
    ]  # fmt: skip

    def command(port: int) -> list[str | Path]:
        settings = {
            "DEBUG": "false", "HOST": "127.0.0.1", "HTTP_PORT": port, "GRPC_PORT": _free(), "METRICS_PORT": _free(),
            "PARALLEL_WORKERS": CORES, "MODEL_NAME": "minilm", "MODEL_IMPLEMENTATION": "mlserver_peer.Embedder",
        }  # fmt: skip
        said = [f"MLSERVER_{name}={value}" for name, value in settings.items()]
        return ["env", *said, _python(MLSERVER).with_name("mlserver"), "start", "."]

    return _peer(MLSERVER, bundle, command, requests)


def _bentoml(bundle: Path) -> Candidate:
    def command(port: int) -> list[str | Path]:
        program = _python(BENTOML).with_name("bentoml")
        said = ["env", "BENTOML_DO_NOT_TRACK=True", "BENTOML_HOME=./bentoml"]
        where = ["--working-dir", PEERS, "--host", "127.0.0.1", "--port", str(port)]
        return [*said, program, "serve", "bentoml_peer:Embedder", *where]

    return _peer(BENTOML, bundle, command, _openai())


def _peer(
    name: str, bundle: Path, command: Callable[[int], list[str | Path]], requests: Sequence[Request]
) -> Candidate:
    def serve(log: Path) -> AbstractContextManager[Server]:
        port = _free()
        env = {"BUNDLE": str(bundle), "PYTHONPATH": str(PEERS)}
        return running(command(port), port, requests[0], log, cwd=log.parent, env=env)

    return Candidate(name, serve, requests)


def _python(peer: str) -> Path:
    return environment(peer.lower(), *REQUIREMENTS[peer], *_MODEL)


def _free() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
