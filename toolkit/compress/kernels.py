"""Which kernels ran, how long and on what memory, by the runtime's own profile."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from msgspec import Struct

from policies.gate import Grant
from toolkit.compress.results import Kernel
from toolkit.runtime.session import Feeds, Session

__all__ = ["PROFILED", "kernels", "profiled", "repeated"]

PROFILED = 20  # runs, of which the kernels and the energy are found


def profiled(model: bytes, one: Feeds, grant: Grant, in_force: str) -> tuple[tuple[Kernel, ...], int]:
    """See `kernels`, for one item and a session of its own: a profile costs time. Raises Ungated, ModelError."""
    with TemporaryDirectory(prefix="sealpress-") as folder:
        session = Session(model, hashlib.sha256(model).hexdigest(), profile=Path(folder))
        repeated(session, one, grant, in_force)
        return kernels(session.profiled(), PROFILED)


def repeated(session: Session, one: Feeds, grant: Grant, in_force: str) -> None:
    """So many runs of one item. Raises Ungated, ModelError."""
    session.run(grant, in_force, lambda _: [one] * PROFILED)


def kernels(trace: bytes, runs: int) -> tuple[tuple[Kernel, ...], int]:
    """What ran in `runs` runs, what took longest first, and the most bytes that the runtime's allocator held."""
    events = [
        event
        for event in msgspec.json.decode(trace, type=list[_Event])
        if event.cat == "Node" and event.name.endswith("_kernel_time")
    ]
    microseconds: Counter[tuple[str, str]] = Counter()
    count: Counter[tuple[str, str]] = Counter()
    for event in events:
        key = str(event.args.get("op_name", "")), _types(event.args.get("input_type_shape", ()))
        microseconds[key] += event.dur
        count[key] += 1
    total = max(1, sum(microseconds.values()))
    ran = tuple(
        Kernel(operator=key[0], inputs=key[1], count=round(count[key] / runs), share=time / total)
        for key, time in microseconds.most_common()
    )
    return ran, max((int(event.args.get("mem_in_use_peak", 0)) for event in events), default=0)


class _Event(Struct):
    """An entry of the trace: a node has the category "Node", and one event whose name ends with its kernel's time."""

    name: str = ""
    cat: str = ""
    dur: int = 0
    args: dict[str, Any] = {}


def _types(inputs: Iterable[dict[str, Any]]) -> str:
    """The types of the first two inputs, which say in what a kernel computes."""
    return ", ".join(name for one in list(inputs)[:2] for name in one)
