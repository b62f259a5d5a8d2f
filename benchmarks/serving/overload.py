"""More than a server can take: what those get who are accepted, how soon the others are refused, and what is left of
the throughput. About five minutes.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks.frame import Result, goal, lasting, measured
from benchmarks.serving.boxes import MODEL, BoxFolder, made_box
from benchmarks.serving.closed import CONNECTIONS
from benchmarks.serving.load import TIMEOUT_S, Offered, closed, offered, within_ms
from benchmarks.serving.processes import Server
from benchmarks.serving.servers import FASTAPI, MLSERVER, OURS, Candidate, peers, sealpress
from toolkit.settings import read_settings

__all__ = ["run"]

FACTORS = (2, 3, 4)
SECONDS, PEER_SECONDS, PEAK_SECONDS = 60.0, 20.0, 5.0
BUSY = 503
PACKAGES = ["sealpress", "litestar", "uvicorn", "onnxruntime"]


class Phase(NamedTuple):
    """`peak` is the throughput of a closed loop just before, in texts a second."""

    peak: float
    saw: Offered
    pss_mb: float

    @property
    def accepted(self) -> list[float]:
        return self.saw.seconds.get(200, [])

    @property
    def refused(self) -> list[float]:
        return self.saw.seconds.get(BUSY, [])

    def told(self) -> str:
        """Everything by status, and those who went away."""
        counts = {str(status) if status else "hung up": len(found) for status, found in self.saw.seconds.items()}
        counts |= {f"none within {TIMEOUT_S:g} s": self.saw.timeouts} if self.saw.timeouts else {}
        return ", ".join(f"{name}: {count:,}" for name, count in sorted(counts.items()))


def run() -> list[Result]:
    box = made_box("serving-overload")
    key = box.command("key", "create")["key"]
    ours = sealpress(box, key)
    phases: dict[int, Phase] = {}
    with TemporaryDirectory() as scratch:
        with ours.serve(Path(scratch) / "log") as server:
            closed(server.port, ours.again(), CONNECTIONS, lasting(PEAK_SECONDS))  # warm up
            before = server.pss_mb()
            places = _places(box, server, key)
            for factor in FACTORS:
                phases[factor] = _phase(ours, server, factor, lasting(SECONDS))
        others = {
            one.name: _peer(one, Path(scratch) / "log") for one in peers(box.bundle) if one.name in (FASTAPI, MLSERVER)
        }
    return [
        *(_waits(factor, phase, places) for factor, phase in phases.items()),
        _goodput(phases),
        _memory(before, phases),
        *_beside(phases[FACTORS[0]], others),
    ]


def _places(box: BoxFolder, server: Server, key: str) -> int:
    """How many are inside the server at most: those that wait, and one in each lane."""
    url = f"http://127.0.0.1:{server.port}/v1/models/{MODEL}"
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})) as answer:
        lanes = int(json.load(answer)["plan"]["lanes"])
    return read_settings(box.path / "sealpress.toml").serve.queue + lanes


def _phase(one: Candidate, server: Server, factor: float, seconds: float) -> Phase:
    requests = one.again()
    peak = closed(server.port, requests, CONNECTIONS, lasting(PEAK_SECONDS)).per_s
    phase = Phase(peak, offered(server.port, requests, factor * peak, seconds), server.pss_mb())
    print(f"  {one.name} at {factor} times {peak:.4g} texts/s: {phase.told()}", flush=True)
    return phase


def _peer(one: Candidate, log: Path) -> Phase:
    with one.serve(log) as server:
        closed(server.port, one.again(), CONNECTIONS, lasting(1.0))  # warm up
        return _phase(one, server, FACTORS[0], lasting(PEER_SECONDS))


def _waits(factor: int, phase: Phase, places: int) -> Result:
    promise = places / phase.peak * 1e3
    figures = {
        "the queue's promise": promise,
        "accepted, p50": within_ms(phase.accepted, 0.5),
        "accepted, p99": within_ms(phase.accepted, 0.99),
        "refused (503), p50": within_ms(phase.refused, 0.5),
        "refused (503), p99": within_ms(phase.refused, 0.99),
        "of it: the load is late, p99": within_ms(phase.saw.late, 0.99),
    }
    return measured(
        f"serving-overload-{factor}x",
        f"Milliseconds from when a request is due until its answer, {factor} times what the server can take, "
        f"{lasting(SECONDS):g} s, open loop (Poisson).",
        "ms",
        "the queue's promise",
        {name: [figure] for name, figure in figures.items()},
        notes=[
            goal("p99 of the accepted, times the promise", figures["accepted, p99"] / promise, most=1.5),
            goal("p99 of the refused, ms", figures["refused (503), p99"], most=10.0),
            f"The promise is {places} places by {phase.peak:.4g} texts/s, the throughput of a closed loop just before.",
            f"Answers: {phase.told()}.",
        ],
        packages=PACKAGES,
    )


def _goodput(phases: Mapping[int, Phase]) -> Result:
    base = "closed loop just before"
    rounds = {
        base: [phase.peak for phase in phases.values()],
        "accepted and answered": [phase.saw.per_s for phase in phases.values()],
    }
    notes = [
        goal(f"goodput at {factor} times, of the peak", phase.saw.per_s / phase.peak, least=0.85)
        for factor, phase in phases.items()
    ]
    return measured(
        "serving-overload-goodput",
        f"Texts a second under overload; the rounds are {', '.join(map(str, phases))} times what the server can take.",
        "texts/s",
        base,
        rounds,
        notes=notes,
        packages=PACKAGES,
    )


def _memory(before: float, phases: Mapping[int, Phase]) -> Result:
    rounds = {"before": [before], **{f"after {factor} times": [one.pss_mb] for factor, one in phases.items()}}
    first, last = phases[FACTORS[0]].pss_mb, phases[FACTORS[-1]].pss_mb
    return measured(
        "serving-overload-memory",
        "Memory (PSS, 2^20 bytes) of the server before and after.",
        "MB",
        "before",
        rounds,
        notes=[goal("after the last, times what it was after the first", last / first, most=1.05)],
        packages=PACKAGES,
    )


def _beside(ours: Phase, others: Mapping[str, Phase]) -> list[Result]:
    phases = {OURS: ours, **others}
    notes = [
        f"{name}: peak {one.peak:.4g} texts/s, answered {one.saw.per_s:.4g} texts/s; {one.told()}."
        for name, one in phases.items()
    ]
    notes.append(f"sealpress for {lasting(SECONDS):g} s, the others for {lasting(PEER_SECONDS):g} s.")
    what = f"{FACTORS[0]} times what each can take, open loop; a client goes away after {TIMEOUT_S:g} s"
    return [
        measured(
            "serving-overload-peers-goodput",
            f"Share of its own peak that a server still answers: {what}.",
            "of its peak",
            OURS,
            {name: [one.saw.per_s / one.peak] for name, one in phases.items()},
            notes=notes,
            packages=PACKAGES,
        ),
        measured(
            "serving-overload-peers-p99",
            f"Milliseconds within which 99 of 100 answers with 200 come: {what}.",
            "ms",
            OURS,
            {name: [within_ms(one.accepted, 0.99)] for name, one in phases.items()},
            notes=notes,
            packages=PACKAGES,
        ),
    ]
