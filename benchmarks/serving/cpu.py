"""What sealpress itself takes of a call beside tokenizer, inference and pooling: see benchmarks.serving.own.

About a minute.
"""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks.frame import Result, goal, measured, times
from benchmarks.pressed import ROOT
from benchmarks.serving.boxes import made_box

__all__ = ["run"]

ROUNDS = 7
CALLS = 320
GOAL_US, AIM_US = 80, 40


def run() -> list[Result]:
    box = made_box("serving-cpu")
    arguments = [box.path / "sealpress.toml", box.bundle, str(times(ROUNDS)), str(CALLS)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.serving.own", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    rounds: dict[str, list[float]] = json.loads(done.stdout)
    base, together, *_ = (name for name in rounds if ":" not in name)

    def notes(result: Result) -> list[str]:
        goals = [
            goal(f"{name}, microseconds", result.median(name), most=bound)
            for name in (base, together)
            for bound in (GOAL_US, AIM_US)
        ]
        return [
            *goals,
            "A lane takes up to four calls at a time where so many wait, as under load.",
            "The parts are measured in runs of their own, and what a watch takes is taken off. The rest is what holds "
            "the parts together: grants, the lane, the answer.",
            "The thread that syncs and signs works beside the calls, and is not in the figure of a call.",
        ]

    return [
        measured(
            "serving-cpu",
            f"Microseconds of CPU that a call takes beside tokenizer, inference and pooling: gate, scan, records of "
            f"intent and outcome, receipt. {CALLS} calls a round with one text each, in one thread, with inferences "
            "between.",
            "us",
            base,
            rounds,
            notes=notes,
            packages=["sealpress", "cryptography", "onnxruntime"],
        )
    ]
