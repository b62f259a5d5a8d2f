"""python -m benchmarks [NAME ...]: run the benchmarks named, or all, and write the page."""

from __future__ import annotations

import sys
from importlib import import_module

from benchmarks.frame import page

NAMES = ("calls", "seal", "verify", "bundle", "server", "compression", "policy", "privacy", "privacy.alone")

for name in sys.argv[1:] or NAMES:
    if name not in NAMES:
        sys.exit(f"no benchmark {name!r}; there are {', '.join(NAMES)}")
    print(f"{name}:", flush=True)
    for result in import_module(f"benchmarks.{name}").run():
        print(f"{result.name}: {result.what}")
        for candidate in result.rounds:
            ratio = result.ratio(candidate)
            print(f"  {candidate:40} {result.median(candidate):10.4g} {result.unit}   {ratio:.3f} of {result.base}")
page()
