"""Pressed models beside what other tools make of the same ones: size, fidelity, and speed, round by round in turn."""

from __future__ import annotations

from benchmarks.frame import Result

__all__ = ["run"]


def run() -> list[Result]:
    # here, so that what counts and chooses is tested without the libraries of models
    from benchmarks.compression import efficientnet, minilm, points

    return [*minilm.run(), *efficientnet.run(), *points.run()]
