"""`sealpress train` on two hosts that a wire joins: each is a network namespace with an interface of its own."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from tests.unit.toolkit.compress.steps.graphs import encoder, tokens
from toolkit.compress.quiet import quiet
from toolkit.new_box import create_box

with quiet():
    import onnx
    from onnx import numpy_helper

ROOT = Path(__file__).resolve().parents[2]
STEPS = 120
RECIPE = f"""
[[step]]
kind = "prune-neurons"
keep = 0.5

[[step]]
kind = "distil"
epochs = {STEPS // 2}
batch = 8
rate = 1e-4
"""
ADDRESSES = ("10.97.0.1", "10.97.0.2")
pytestmark = pytest.mark.slow


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=60)


class Host:
    """A namespace with a box, a model and items, and a process in it that follows commands."""

    def __init__(self, number: int, folder: Path) -> None:
        self.number, self.folder = number, folder
        self.name, self.wire = f"sealpress-{os.getpid()}-{number}", f"sp{os.getpid()}.{number}"

    def begin(self) -> None:
        ip("-n", self.name, "addr", "add", f"{ADDRESSES[self.number]}/24", "dev", self.wire)
        for wire in ("lo", self.wire):
            ip("-n", self.name, "link", "set", wire, "up")
        create_box(self.folder)
        (self.folder / "recovered.toml").write_text(RECIPE)
        (self.folder / "model.onnx").write_bytes(MODEL)
        for name, items in (("learn", tokens(16)), ("measure", tokens(4, seed=1))):
            (self.folder / name).mkdir()
            for number, item in enumerate(items):
                save_file(dict(item), self.folder / name / f"{number}.safetensors")
        with (self.folder / "stderr").open("w") as told:
            self._follows = subprocess.Popen(
                ["ip", "netns", "exec", self.name, sys.executable, "-m", "tests.e2e.train_host"],
                cwd=self.folder,
                env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=told,
                text=True,
            )

    def link(self, state: str) -> None:
        """Cut the wire at this end, or mend it."""
        ip("-n", self.name, "link", "set", self.wire, state)

    def train(self, out: str, *more: str) -> None:
        """Begin a training on one processor."""
        words = ["train", "recovered.toml", "model.onnx", "--calibrate", "learn", "--evaluate", "measure"]
        words += ["--data-licence", "LicenseRef-own", "--licence", "MIT", "--purpose", "search"]
        words += ["--budget", "fidelity>=0.01", "--processes", "1", "--json", "--out", out, *more]
        assert self._follows.stdin is not None
        self._follows.stdin.write(json.dumps(words) + "\n")
        self._follows.stdin.flush()

    def ended(self) -> tuple[int, Any]:
        """The exit status of what was begun, and what it printed."""
        assert self._follows.stdout is not None
        line = self._follows.stdout.readline()
        assert line, (self.folder / "stderr").read_text()[-2000:]
        status, said = json.loads(line)
        return status, json.loads(said)

    def has_ended(self, within_s: float) -> bool:
        """Whether what was begun has ended, or does so soon."""
        assert self._follows.stdout is not None
        return bool(select.select([self._follows.stdout], [], [], within_s)[0])

    def kept(self, out: str, file: str) -> list[Path]:
        """A file of the training that belongs to a bundle."""
        return list((self.folder / f"{out}.run" / "training").glob(f"*/{file}"))

    def weights(self, out: str) -> dict[str, NDArray[Any]]:
        model = onnx.load(self.folder / f"{out}.bundle" / "model.onnx")
        return {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}

    def end(self) -> None:
        if hasattr(self, "_follows"):
            self._follows.kill()
            self._follows.communicate()
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True, timeout=60)


MODEL = encoder()


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Host]]:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces take root, and ip of iproute2")
    folder = tmp_path_factory.mktemp("hosts")
    first, second = (Host(number, folder / f"host-{number}") for number in range(2))
    try:
        try:
            for host in (first, second):
                ip("netns", "add", host.name)
            ends = [("name", host.wire, "netns", host.name) for host in (first, second)]
            ip("link", "add", *ends[0], "type", "veth", "peer", *ends[1])
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces cannot be made here: {error.stderr}")
        for host in (first, second):
            host.begin()
        yield first, second
    finally:
        for host in (first, second):
            host.end()


def together(hosts: tuple[Host, Host], out: str, *more: str) -> None:
    """Begin a training on both."""
    for host in hosts:
        host.train(out, "--hosts", "2", "--host-rank", str(host.number), "--meet", f"{ADDRESSES[0]}:29400", *more)


def steps(log: Path) -> list[int]:
    """Those that a log tells; its first line says its format, and the last may be half written."""
    return [json.loads(line)["step"] for line in log.read_bytes().split(b"\n")[1:-1]]


def close(ours: dict[str, NDArray[Any]], theirs: dict[str, NDArray[Any]]) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_allclose(value, theirs[name], rtol=0, atol=1e-5)


def test_two_hosts_give_what_one_gives_also_where_the_wire_between_them_was_cut(hosts: tuple[Host, Host]) -> None:
    """All steps are made by both, the first of them before the wire is cut, the others after it was mended."""
    first, second = hosts
    first.train("one.bundle")
    status, said = first.ended()
    assert status == 0, said

    together(hosts, "cut.bundle", "--patience", "5")
    while not any(len(steps(path)) >= 3 for path in first.kept("cut", "log.jsonl")) and not first.has_ended(0.01):
        pass
    for host in hosts:
        host.link("down")
    for host in hosts:
        status, said = host.ended()
        assert (status, said["code"]) == (3, "train_link")
        assert not (host.folder / "cut.bundle").exists()
    [log] = first.kept("cut", "log.jsonl")
    assert 3 <= len(steps(log)) < STEPS
    assert first.kept("cut", "checkpoint.safetensors")
    assert not second.kept("cut", "checkpoint.safetensors")

    for host in hosts:
        host.link("up")
    together(hosts, "cut.bundle", "--resume")
    (status, led), (other, followed) = first.ended(), second.ended()
    assert (status, other) == (0, 0), (led, followed)
    assert led["bundle"] == "cut.bundle"
    assert followed == {"bundle": None}
    assert steps(log) == list(range(1, STEPS + 1))
    close(first.weights("cut"), first.weights("one"))
