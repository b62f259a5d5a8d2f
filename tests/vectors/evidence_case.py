"""Evidence that holds, to be attacked part by part, and what an attack on it is."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.forge import Forge
from tests.periods import Period, parts_of

__all__ = ["KEPT", "Case", "Given", "Mutation", "Parts", "coded", "evidence_case", "mutated", "without"]

Parts = dict[str, bytes]


class Given(NamedTuple):
    """What the auditor knows from outside: the name of a kept head, the witness, and the period that was asked for."""

    head: str | None = "joint after"
    witness: bytes | None = None
    period: tuple[int, int] | None = None


KEPT = Given()


class Mutation(NamedTuple):
    name: str
    parts: Parts
    given: Given
    found: str


class Case(NamedTuple):
    forge: Forge
    kept: Mapping[str, str]
    since: int
    until: int
    parts: Parts
    others: Mapping[str, Parts]  # other evidence of the same journal, or of another one


@cache
def evidence_case() -> Case:
    with TemporaryDirectory() as name:
        folder = Path(name)
        period = Period.forged(folder / "journal")
        foreign = Period.forged(folder / "foreign", name="another journal")
        period.make(folder / "e.zip")
        period.make(folder / "whole.zip", whole=True)
        period.make(folder / "unproved.zip", heads=())
        foreign.make(folder / "foreign.zip")
        found = {other: parts_of(folder / f"{other}.zip") for other in ("whole", "unproved", "foreign")}
        return Case(period.forge, dict(period.kept), period.since, period.until, parts_of(folder / "e.zip"), found)


def mutated(name: str, case: Case, parts: Parts, found: str, given: Given = KEPT) -> Mutation:
    assert parts != case.parts or given != Given(), name
    return Mutation(name, parts, given, found)


def without(parts: Parts, name: str) -> Parts:
    return {other: content for other, content in parts.items() if other != name}


def coded(data: bytes) -> str:
    return base64.b64encode(data).decode()
