"""python -m benchmarks [--shorter N] [NAME ...]: run the benchmarks named, or all, and write the page.

With --shorter those that last take an N-th of their time, to see that they run; then nothing is kept.
"""

from __future__ import annotations

import argparse
from importlib import import_module

from benchmarks.frame import page, shorten

NAMES = (
    "calls",
    "seal",
    "verify",
    "evidence",
    "bundle",
    "serving",
    "compression",
    "generation",
    "policy",
    "privacy",
    "privacy.alone",
    "training",
)
PARTS = (
    "compression-press",
    "compression-points",
    "generation-quality",
    "generation-speed",
    "generation-served",
    "serving-closed",
    "serving-start",
    "serving-cpu",
    "serving-overload",
    "serving-soak",
    "training-recovery",
)

parser = argparse.ArgumentParser(prog="python -m benchmarks")
parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join((*NAMES, *PARTS)))
parser.add_argument("--shorter", type=float, default=1.0, metavar="N")
asked = parser.parse_args()
shorten(asked.shorter)
for name in asked.names or NAMES:
    if name not in (*NAMES, *PARTS):
        parser.error(f"no benchmark {name!r}; there are {', '.join((*NAMES, *PARTS))}")
    print(f"{name}:", flush=True)
    for result in import_module(f"benchmarks.{name.replace('-', '.')}").run():
        print(f"{result.name}: {result.what}")
        for candidate in result.rounds:
            ratio = result.ratio(candidate)
            print(f"  {candidate:40} {result.median(candidate):10.4g} {result.unit}   {ratio:.3f} of {result.base}")
        for note in result.notes:
            print(f"  - {note}")
if asked.shorter == 1:
    page()
