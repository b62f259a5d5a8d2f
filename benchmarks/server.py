"""The server with gate, scan and journal on, against a bare loop in the same minute and a plain FastAPI app."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.frame import Result, environment, in_turn, measured
from benchmarks.pressed import COMMAND, box_with_bundle

TEXT = "Visiting hours on the third ward are from two to six; please ask at the desk before you go in."
CONNECTIONS = 32
SECONDS = 6.0
HERE = Path(__file__).resolve().parent


def run() -> list[Result]:
    box = box_with_bundle()
    bundle = box / "minilm.bundle"
    settings = box / "sealpress.toml"
    if "[serve]" not in settings.read_text():
        settings.write_text(settings.read_text() + "\n[serve]\nrate_per_s = 1000000\nburst = 1000000\n")
    made = subprocess.run([COMMAND, "key", "create", "--json"], cwd=box, check=True, capture_output=True, text=True)
    key = json.loads(made.stdout)["key"]
    peer = environment("fastapi", "fastapi", "uvicorn[standard]", "onnxruntime==1.32.0", "tokenizers==0.23.3", "numpy")
    with ExitStack() as running:
        sealed = running.enter_context(_served([COMMAND, "serve", "minilm.bundle"], box, {}))
        plain = running.enter_context(
            _served([peer, "-m", "uvicorn", "fastapi_peer:app", "--log-level", "warning"], HERE,
                    {"BUNDLE": str(bundle)})
        )  # fmt: skip
        rounds = in_turn(
            {
                "bare loop, one thread a core": lambda: _bare(bundle),
                "sealpress serve": _loaded(sealed, key),
                "plain FastAPI, no gate, no record": _loaded(plain, key),
            },
            rounds=7,
        )
    return [
        measured(
            "server",
            f"Texts a second over {CONNECTIONS} connections, one text of about 25 tokens a request, closed loop, "
            f"{SECONDS:.0f} s a round; sealpress with API key, gate, privacy scan and sealed journal (buffered).",
            "texts/s",
            "bare loop, one thread a core",
            rounds,
            notes=[
                "The goal was 0.85 of the bare loop, and it is not reached. By CPU time of the server alone a request "
                "took about 9.2 ms beside 6.6 ms in the bare loop (0.72). The Python between two inferences costs "
                "several times in place what it costs alone; cold caches and a contended interpreter lock are our "
                "guess, not proved.",
                "The load comes from the same cores (one asyncio process on raw sockets; wrk gave the same) and is "
                "part of what is lost. The bare loop serves nobody: tokenizer, session and pooling in the process.",
            ],
            packages=["sealpress", "litestar", "uvicorn", "onnxruntime"],
        )
    ]


def _bare(bundle: Path) -> float:
    command = [sys.executable, HERE / "bare.py", bundle, TEXT, str(SECONDS)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@contextmanager
def _served(command: list[str | Path], cwd: Path, env: dict[str, str]) -> Iterator[int]:
    """The port of a server that is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)], cwd=cwd, env={**os.environ, **env},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield port
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=30)


def _loaded(port: int, key: str) -> Callable[[], float]:
    body = json.dumps({"model": "all-MiniLM-L6-v2-int8", "input": TEXT}).encode()
    head = (
        f"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nX-Purpose: search\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body

    async def client(until: float) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answered = 0
        while time.perf_counter() < until:
            writer.write(request)
            header = await reader.readuntil(b"\r\n\r\n")
            if not header.startswith(b"HTTP/1.1 20"):
                raise RuntimeError(header.decode())
            size = next(line for line in header.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(size.split(b":")[1]))
            answered += 1
        writer.close()
        return answered

    async def load() -> float:
        start = time.perf_counter()
        counts = await asyncio.gather(*(client(start + SECONDS) for _ in range(CONNECTIONS)))
        return sum(counts) / (time.perf_counter() - start)

    return lambda: asyncio.run(load())
