"""`sealpress train` on two hosts that a wire joins: each is a network namespace with an interface of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from safetensors.numpy import save_file

from tests.commands import within
from tests.unit.toolkit.compress.steps.graphs import encoder, tokens
from toolkit.box import create_box
from toolkit.compress.training import Personal
from toolkit.train.checkpoint import FILE
from toolkit.train.log import LOG, read_log

SEALPRESS = Path(sys.executable).with_name("sealpress")
STEPS = 240
PATIENCE = 6
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


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=20)


class Hosts:
    """Two namespaces and the wire between them."""

    def __init__(self) -> None:
        self.names = tuple(f"sealpress-{os.getpid()}-{number}" for number in range(2))
        self.wires = tuple(f"sp{os.getpid()}.{number}" for number in range(2))

    def begin(self) -> None:
        for name in self.names:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ends = [("name", wire, "netns", name) for wire, name in zip(self.wires, self.names, strict=True)]
        ip("link", "add", *ends[0], "type", "veth", "peer", *ends[1])
        for name, wire, address in zip(self.names, self.wires, ADDRESSES, strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", wire)
            ip("-n", name, "link", "set", wire, "up")

    def link(self, state: str) -> None:
        """Cut the wire, or mend it."""
        for name, wire in zip(self.names, self.wires, strict=True):
            ip("-n", name, "link", "set", wire, state)

    def end(self) -> None:
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def follow(self, host: int, folder: Path, *words: str | Path) -> subprocess.Popen[str]:
        """Begin the command on a host, in a folder."""
        command = ["ip", "netns", "exec", self.names[host], SEALPRESS, *words]
        said = (folder / "stdout").open("w"), (folder / "stderr").open("w")
        return subprocess.Popen(command, cwd=folder, stdout=said[0], stderr=said[1], text=True, start_new_session=True)


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces take root, and ip of iproute2")
    made = Hosts()
    try:
        made.begin()
    except (subprocess.SubprocessError, OSError) as error:
        made.end()
        pytest.skip(f"network namespaces cannot be made here: {getattr(error, 'stderr', error)}")
    try:
        yield made
    finally:
        made.end()
