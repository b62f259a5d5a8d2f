"""The frame of every benchmark: candidates in turn, medians, ratios, the machine, and a page made from the results.

Machines are shared and noisy, so nothing is compared that was not measured in the same run, round by round in turn; a
figure is the median over the rounds, and a ratio is the median of the ratios within the rounds.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec
from msgspec import Struct, structs

__all__ = ["Result", "environment", "goal", "in_turn", "lasting", "measured", "page", "shorten", "times"]

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
PAGE = HERE.parent / "docs" / "benchmarks.md"

_shorter = 1.0


class Result(Struct, frozen=True, kw_only=True):
    """One benchmark. `rounds` maps a candidate to its figures; `base` names the one that the others are divided by."""

    name: str
    what: str
    unit: str
    base: str
    rounds: dict[str, list[float]]
    notes: list[str]
    versions: dict[str, str]
    machine: str
    at: str

    def median(self, candidate: str) -> float:
        return statistics.median(self.rounds[candidate])

    def ratio(self, candidate: str) -> float:
        pairs = zip(self.rounds[candidate], self.rounds[self.base], strict=True)
        return statistics.median(figure / base for figure, base in pairs)


def shorten(by: float) -> None:
    """Let everything that asks `lasting` or `times` take that part of its time only; then no result is kept."""
    global _shorter  # noqa: PLW0603 - set once, by the command line
    _shorter = by


def lasting(seconds: float) -> float:
    return seconds / _shorter


def times(rounds: int) -> int:
    return max(1, round(rounds / _shorter))


def goal(what: str, figure: float, *, most: float | None = None, least: float | None = None) -> str:
    """A note on what was to be reached, and whether it was."""
    bound = f"at least {least:.4g}" if most is None else f"at most {most:.4g}"
    holds = (most is None or figure <= most) and (least is None or figure >= least)
    return f"Goal: {what} {bound}; it is {figure:.4g}: {'reached' if holds else 'NOT reached'}."


def in_turn(candidates: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Ask every candidate once a round, so that a slow minute of the machine is everybody's."""
    figures: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds):
        for name, candidate in candidates.items():
            figures[name].append(candidate())
            print(f"  round {number + 1}/{rounds}  {name}: {figures[name][-1]:.4g}", flush=True)
    return figures


def measured(
    name: str,
    what: str,
    unit: str,
    base: str,
    rounds: dict[str, list[float]],
    *,
    notes: list[str] | Callable[[Result], list[str]],
    packages: list[str],
) -> Result:
    """The result of this run on this machine, written to results/NAME.json unless the run was shortened. `notes` may be
    made of the figures."""
    result = Result(
        name=name,
        what=what,
        unit=unit,
        base=base,
        rounds=rounds,
        notes=[],
        versions={package: version(package) for package in packages},
        machine=_machine(),
        at=datetime.now(UTC).isoformat(timespec="minutes"),
    )
    result = structs.replace(result, notes=notes if isinstance(notes, list) else notes(result))
    if _shorter != 1:
        return result
    RESULTS.mkdir(exist_ok=True)
    data = msgspec.json.format(msgspec.json.encode(result), indent=1)
    (RESULTS / f"{name}.json").write_bytes(data + b"\n")
    return result


def environment(name: str, *requirements: str) -> Path:
    """The Python of a peer's own environment, made on first use."""
    folder = HERE / ".environments" / name
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        print(f"  making the environment of {name}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
        (folder / ".ready").touch()
    return python


def page() -> None:
    """Write docs/benchmarks.md from all results there are."""
    parts = [
        "# Benchmarks\n",
        "Made by `make bench` from `benchmarks/results`; do not edit. Compare within a table only.\n",
    ]
    for path in sorted(RESULTS.glob("*.json")):
        result = msgspec.json.decode(path.read_bytes(), type=Result)
        parts.append(f"\n## {result.name}\n\n{result.what}\n\n")
        parts.append(
            f"| candidate | median, {result.unit} | lowest | highest | to {result.base} |\n|---|---|---|---|---|\n"
        )
        for candidate, figures in result.rounds.items():
            parts.append(
                f"| {candidate} | {result.median(candidate):.4g} | {min(figures):.4g} | {max(figures):.4g} "
                f"| {result.ratio(candidate):.3f} |\n"
            )
        count = len(result.rounds[result.base])
        versions = ", ".join(f"{package} {number}" for package, number in result.versions.items())
        parts.append(f"\n{count} rounds in turn, {result.at}, {result.machine}; {versions}.\n")
        parts += [f"\n- {note}" for note in result.notes]
        parts.append("\n" if result.notes else "")
    PAGE.write_text("".join(parts), "utf-8")


def _machine() -> str:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores of {model}, {platform.system()}, Python {platform.python_version()}"
