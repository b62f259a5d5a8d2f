"""How a model is run on this host: lanes, threads and batches, measured when it is first loaded here.

On a processor one single-threaded lane a core mostly beats threads within a run, and batches gain nothing for a small
encoder; but that depends on the model and the host, so a few seconds of running both tell. A batch is chosen only where
an item gives the same answer in it as alone: int8 ranges taken at run time may differ with the items beside it.
"""

from __future__ import annotations

import os
import platform
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from io import BytesIO
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct

from compliance.crypto import sha256
from compliance.disk import put
from policies.errors import Fault
from policies.gate import Grant, gate
from policies.payload import Payload
from toolkit.box import Box, Context
from toolkit.bundle import Bundle
from toolkit.extras import needs
from toolkit.runtime.images import MAX_IMAGES
from toolkit.runtime.lane import Lane
from toolkit.runtime.readers import Outputs

__all__ = ["PLAIN", "Plan", "planned"]

RUN_S = 0.4  # how long one way of running is measured, in each of two rounds
SOME = 8  # items that are run to see how long they take
MOST = 64  # times as many are run to measure
WORDS = ("the", "nurse", "on", "ward", "three", "asks", "where", "a", "patient", "with", "fever", "was", "moved")
LENGTHS = (5, 9, 14, 20, 28, 40, 16, 12)  # of texts, in words
BATCH = 8
# by how much another way must be faster than one lane a core: less may be noise
GAIN = 1.05
# answers of a batch and of an item alone that differ by less are the same: rounding of sums in another order
SAME = 1e-4


Few = Annotated[int, Meta(ge=1, le=1024)]


class Plan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`lanes` run at once with `threads` each, and take `batch` items at most into one run.

    `pace` is how long one unit of size (toolkit.runtime.readers: Reader.size) takes a lane, in seconds; `rates` are the
    items a second of every way that was measured, none where nothing was; `alike`: an item gives the same answer in a
    batch as alone.

    Of a model that generates, one lane makes up to `rows` answers by one run, each run with `least` rows at least: an
    answer is then the same to the last bit whoever is beside it. With one row each answer is run by itself. `lookup`:
    no run has one token alone, so that an answer is the same to the last bit whether or not tokens are tried ahead
    (toolkit.runtime.lookup); False where this was wanted and does not hold, None where it was not wanted.
    """

    format: Literal[1] = 1
    lanes: Few = 1
    threads: Few = 1
    batch: Few = 1
    pace: Annotated[float, Meta(gt=0)] = 1e-4
    rates: dict[str, float] = {}
    alike: bool | None = None
    rows: Few = 1
    least: Few = 1
    lookup: bool | None = None


PLAIN = Plan()


def planned(bundle: Bundle, box: Box, cores: int, *, lookup: bool | None = None) -> Plan:
    """The plan for a bundle on `cores` cores of this host: as it was measured before, or measured now and kept.

    `lookup` is whether answers may try what stood before; None: as the settings have it.

    Raises Denied when the policy forbids to measure, ModelError, JournalError, Failed.
    """
    generates, rows = bool(bundle.manifest.generation), box.settings.generate.rows
    ahead = box.settings.generate.lookup if lookup is None else lookup
    if generates and rows == 1 and not ahead:
        return Plan(threads=cores)
    about = f"{_host(cores)}-{rows}{'-lookup' if ahead else ''}" if generates else _host(cores)
    path = box.folder / "state" / "plans" / f"{bundle.manifest.digest[:32]}-{about}.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Plan)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        pass  # measured for the first time, or kept by another version
    if generates:
        plan = _looking_up(bundle, box, cores, rows) if ahead else _generating(bundle, box, cores, rows)
    else:
        sample = _sample(bundle, SOME)
        plan = Plan(lanes=cores) if sample is None else _measured(bundle, box, cores, sample)
    put(path, msgspec.json.format(msgspec.json.encode(plan), indent=1) + b"\n")
    return plan


def _generating(bundle: Bundle, box: Box, cores: int, rows: int) -> Plan:
    """One lane on all cores: an answer is made of steps that wait for each other, and nothing else is as fast. Several
    answers share its runs where that changes none of them: what is faster is not asked, for noise must not decide what
    text there is."""
    session = _lane(bundle, cores).session
    in_force = box.policy
    call = box.call("measure", bundle.manifest.digest, Context(), bundle.signer, in_force)
    least = gate(
        in_force,
        bundle.manifest,
        call,
        Payload.checked({"rows": rows}),
        box.journal,
        lambda grant: session.alike(grant, in_force.digest, rows),
    )
    if least is None:
        return Plan(threads=cores, alike=False)
    return Plan(threads=cores, rows=rows, least=least, alike=True)


def _looking_up(bundle: Bundle, box: Box, cores: int, rows: int) -> Plan:
    """Each answer by itself, in runs of several tokens: attention takes those of one text alone. Where that changes
    answers, nothing is looked up."""
    session, generation = _lane(bundle, cores).session, bundle.manifest.generation
    assert generation  # noqa: S101 - only what generates is planned for it
    in_force = box.policy
    call = box.call("measure", bundle.manifest.digest, Context(), bundle.signer, in_force)
    alike = gate(
        in_force,
        bundle.manifest,
        call,
        Payload.checked({"lookup": True}),
        box.journal,
        lambda grant: session.alike_in_runs(grant, in_force.digest, generation.context),
    )
    if alike:
        return Plan(threads=cores, lookup=True)
    without = Plan(threads=cores) if rows == 1 else _generating(bundle, box, cores, rows)
    return msgspec.structs.replace(without, lookup=False)


def _measured(bundle: Bundle, box: Box, cores: int, sample: Payload) -> Plan:
    alone = _lane(bundle)
    answers = _run(bundle, box, alone, sample)
    ways = [(cores, 1, 1), (1, cores, 1)][: 1 if cores == 1 else 2]
    alike = None
    if alone.reader.together:
        alike = _alike(answers, _run(bundle, box, _lane(bundle, batch=BATCH), sample))
        ways += [(lanes, threads, BATCH) for lanes, threads, _ in ways] if alike else []
    rates = {way: _rate(bundle, box, way, sample) for way in ways}
    best = max(ways, key=lambda way: rates[way])
    if rates[best] < GAIN * rates[ways[0]]:
        best = ways[0]
    lanes, threads, batch = best
    size = alone.reader.cost(sample) / SOME
    return Plan(
        lanes=lanes,
        threads=threads,
        batch=batch,
        pace=lanes / rates[best] / size,
        rates={"x".join(map(str, way)): round(rate, 2) for way, rate in rates.items()},
        alike=alike,
    )


def _rate(bundle: Bundle, box: Box, way: tuple[int, int, int], sample: Payload) -> float:
    """Items a second with (lanes, threads, batch), all lanes together: the better of two rounds of about RUN_S."""
    lanes, threads, batch = way
    lane = _lane(bundle, threads, batch)
    began = perf_counter()
    _run(bundle, box, lane, sample)
    count = SOME * min(MOST, max(1, int(RUN_S / (perf_counter() - began))))
    some = _sample(bundle, count) or sample
    rates = []
    with ThreadPoolExecutor(lanes) as running:
        for _ in range(2):
            began = perf_counter()
            list(running.map(lambda _: _run(bundle, box, lane, some), range(lanes)))
            rates.append(lanes * count / (perf_counter() - began))
    return max(rates)


def _lane(bundle: Bundle, threads: int = 1, batch: int = 1) -> Lane:
    return Lane(bundle.model, bundle.manifest.digest, bundle.reader(), threads=threads, batch=batch)


def _run(bundle: Bundle, box: Box, lane: Lane, sample: Payload) -> Outputs:
    """The sample through a lane, under a recorded grant to measure."""
    in_force = box.policy
    call = box.call("measure", bundle.manifest.digest, Context(), bundle.signer, in_force)

    def work(grant: Grant) -> Outputs:
        (outputs,) = lane.run([grant], in_force.digest)
        if isinstance(outputs, Fault):
            raise outputs
        return outputs

    return gate(in_force, bundle.manifest, call, sample, box.journal, work)


def _alike(alone: Outputs, together: Outputs) -> bool:
    """Whether each item gives the same answer in a batch as alone. Where an answer holds no numbers, it does not."""
    for name, one in alone.items():
        if one.dtype.kind != "f":
            return False
        scale = float(np.abs(one).max()) or 1.0
        if not float(np.abs(one - together[name]).max()) <= SAME * scale:
            return False
    return True


def _sample(bundle: Bundle, count: int) -> Payload | None:
    """Items that the model takes, made up: texts of several lengths, or images. None for tensors, whose sizes nobody
    tells."""
    manifest = bundle.manifest
    if manifest.text:
        words = cycle(
            [
                "the",
                "nurse",
                "on",
                "third",
                "ward",
                "asks",
                "where",
                "a",
                "patient",
                "with",
                "fever",
                "was",
                "moved",
                "to",
                "last",
                "night",
            ]
        )
        return Payload.checked({"texts": [" ".join(islice(words, n)) for n in islice(cycle(LENGTHS), count)]})
    if manifest.image:
        with needs("images"):
            from PIL import Image
        noise = np.random.default_rng(0).integers(0, 255, (manifest.image.height, manifest.image.width, 3), np.uint8)
        file = BytesIO()
        Image.fromarray(noise).save(file, "PNG")
        return Payload.checked({"images": ["made-up"] * min(count, MAX_IMAGES)}, {"made-up": file.getvalue()})
    return None


def _host(cores: int) -> str:
    """What a plan depends on beside the model, as a part of a file's name."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next((line for line in info.read_text("utf-8").splitlines() if line.startswith("model name")), cpu)
    return sha256(f"{cpu} {os.cpu_count()} {cores} {version('onnxruntime')}".encode()).hex()[:16]
