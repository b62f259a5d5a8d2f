"""Pressed models beside what other tools make of the same ones: size, fidelity, and speed, round by round in turn."""

from __future__ import annotations

from benchmarks.compression import efficientnet, minilm
from benchmarks.frame import Result

__all__ = ["run"]


def run() -> list[Result]:
    return [*minilm.run(), *efficientnet.run()]
