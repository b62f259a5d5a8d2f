"""The main job on a real model, from an empty folder to an audit report. `make demo` runs it.

It presses all-MiniLM-L6-v2, serves it, calls it over HTTP with the openai package and from a process without torch, is
refused where the rules say so, checks and tampers with the journal, and leaves the folder for the reader to go on with.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import models
import openai
from rich.console import Console
from rich.table import Table

COMMAND = Path(sys.executable).with_name("sealpress")
PERSONAL = "Please write to jane.doe@example.org about her visit."
say = Console(highlight=False)

EMBEDDED = """
import sys
for name in ("torch", "onnx", "transformers", "litestar"):
    sys.modules[name] = None  # cannot be imported from here on
import sealpress
model = sealpress.load("minilm.bundle")
print(model.embed(["Where is the ward?"], purpose="search").shape)
try:
    model.embed(["Please write to jane.doe@example.org."], purpose="search")
except sealpress.Denied as denied:
    print("refused:", [finding.rule for finding in denied.findings if not finding.ok])
"""


def main() -> None:
    start = time.monotonic()
    folder = _free_folder()
    box, auditor = folder / "box", folder / "box-auditor" / "auditor.key"
    source = models.provide(models.MINILM)

    _step("A box: settings, keys, an empty journal; the auditor's key in a folder of its own")
    _sealpress("init", box, cwd=folder)

    _step("Press all-MiniLM-L6-v2 to int8, and a copy whose papers say CC-BY-NC-4.0")
    _sealpress("compress", source, "--out", "minilm.bundle", cwd=box)
    _sealpress("compress", _noncommercial(source, folder), "--out", "noncommercial.bundle", cwd=box)

    _step("Serve both, and call them with the openai package, unchanged")
    key = json.loads(_sealpress("key", "create", "--json", cwd=box, show=False))["key"]
    with _server(box, "minilm.bundle", "noncommercial.bundle") as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0)
        names = sorted(model.id for model in client.models.list())
        plain, noncommercial = sorted(names, key=lambda name: "noncommercial" in name)
        say.print(f"models: {', '.join(names)}")
        _call(client, "a search", plain, "Where is the ward?", {"X-Purpose": "search"})
        _call(client, "no purpose", plain, "Where is the ward?", {})
        _call(client, "personal data, no legal basis", plain, PERSONAL, {"X-Purpose": "search"})
        _sealpress("consent", "record", "--subject", "patient-17", "--purpose", "search", cwd=box)
        consented = {"X-Purpose": "search", "X-Legal-Basis": "consent", "X-Subject": "patient-17"}
        _call(client, "the same with consent on record", plain, PERSONAL, consented)
        _call(client, "a product on it", noncommercial, "Where is the ward?", {"X-Purpose": "product"})

    _step("The same gate inside a process of one's own, where torch cannot be imported")
    embedded = subprocess.run([sys.executable, "-c", EMBEDDED], cwd=box, check=True, stdout=subprocess.PIPE, text=True)
    say.print(embedded.stdout.strip())

    _step("Check the journal; then flip one byte in a copy of it, and check again")
    verified = json.loads(_sealpress("journal", "verify", "--json", cwd=box, show=False))
    say.print(f"verified {verified['records']} records")
    failures = _tampered(box, folder / "tampered")
    say.print(f"the copy is refused: {failures}")

    _step("The report, recounted with the auditor's key")
    _sealpress("audit", "report", "--out", "report", "--auditor-key", auditor, cwd=box)

    shown = json.loads(_sealpress("show", "minilm.bundle", "--json", cwd=box, show=False))["measurements"]
    before, after = shown["before"], shown["after"]
    table = Table("what", "result", title="What you have now")
    for what, result in (
        ("size", f"{before['size_bytes'] / 1e6:.1f} MB -> {after['size_bytes'] / 1e6:.1f} MB"),
        ("speed", f"{before['latency_ms'] / after['latency_ms']:.2f} times FP32 (one text of 32 tokens, one thread)"),
        ("fidelity", f"cosine at least {after['fidelity']:.4f} (95 % bound of the mean)"),
        ("calls allowed", str(verified["allowed"])),
        ("calls refused", str(verified["refused"])),
        ("journal", f"{verified['records']} records, verified; one flipped byte: {failures}"),
        ("report", str(box / "report" / "report.html")),
        ("time", f"{time.monotonic() - start:.0f} s"),
    ):
        table.add_row(what, result)
    say.print(table)
    say.print(f"Go on in {box}: `source {Path(sys.executable).parent / 'activate'}`, then `sealpress --help`.")


def _step(title: str) -> None:
    say.rule(f"[bold]{title}", align="left")


def _free_folder() -> Path:
    """The folder of this demo: ./demo, or ./demo-2 and so on when there is one already."""
    names = ["demo", *(f"demo-{number}" for number in range(2, 1000))]
    folder = next(path for path in map(Path, names) if not path.exists())
    folder.mkdir()
    return folder.resolve()


def _sealpress(*arguments: str | Path, cwd: Path, show: bool = True) -> str:
    """Run the command as a person would, its progress on the screen; returns what it printed."""
    if show:
        say.print(f"[dim]$ sealpress {' '.join(map(str, arguments))}")
    done = subprocess.run([COMMAND, *arguments], cwd=cwd, check=True, stdout=subprocess.PIPE, text=True)
    if show:
        say.print(done.stdout.strip(), markup=False)
    return done.stdout


def _noncommercial(source: Path, folder: Path) -> Path:
    copy = folder / "minilm-noncommercial"
    shutil.copytree(source, copy)
    papers = copy / "README.md"
    text = papers.read_text("utf-8")
    papers.write_text(text.replace("license: apache-2.0", "license: cc-by-nc-4.0", 1), "utf-8")
    return copy


@contextmanager
def _server(box: Path, *bundles: str) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [COMMAND, "serve", *bundles, "--host", "127.0.0.1", "--port", str(port)]
    say.print(f"[dim]$ sealpress {' '.join(map(str, command[1:]))}")
    with (box / "server.log").open("w") as log:
        server = subprocess.Popen(command, cwd=box, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(server, address)
        yield address
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=30)


def _wait_until_ready(server: subprocess.Popen[bytes], address: str) -> None:
    for _ in range(600):
        if server.poll() is not None:
            sys.exit("the server stopped: see server.log in the box")
        try:
            with urllib.request.urlopen(f"{address}/readyz", timeout=1):  # noqa: S310 - our own server on loopback
                return
        except OSError:
            time.sleep(0.1)
    sys.exit("the server was not ready within a minute")


def _call(client: openai.OpenAI, what: str, model: str, text: str, headers: dict[str, str]) -> None:
    try:
        answer = client.embeddings.create(model=model, input=text, extra_headers=headers)
        result = f"[green]allowed[/], {len(answer.data[0].embedding)} numbers, {answer.usage.prompt_tokens} tokens"
    except openai.PermissionDeniedError as refusal:
        body: Any = refusal.response.json()
        rules = [finding["rule"] for finding in body["findings"] if not finding["ok"]]
        result = f"[red]refused[/] by {', '.join(rules)}"
    say.print(f"  {what:32} {result}")


def _tampered(box: Path, copy: Path) -> str:
    """Flip one byte in a copy of the box, and return what the check says of it."""
    shutil.copytree(box, copy, ignore=shutil.ignore_patterns("*.bundle"))
    log = copy / "journal" / "shard-000.log"
    data = bytearray(log.read_bytes())
    data[len(data) // 2] ^= 1
    log.write_bytes(data)
    done = subprocess.run(
        [COMMAND, "journal", "verify", "--json"], cwd=copy, stdout=subprocess.PIPE, text=True, check=False,
        env={**os.environ, "SEALPRESS_SETTINGS": str(copy / "sealpress.toml")},
    )  # fmt: skip
    if done.returncode != 1:
        sys.exit("the tampered journal was not refused")
    first = json.loads(done.stdout)["failures"][0]
    return f"{first['place']}, {first['code']}"


if __name__ == "__main__":
    main()
