"""The folder of a run: every trial is kept as it ends, so that it can be looked at, and the run gone on with.

RUN/run.json                    what the run was made from; another one is not gone on with
RUN/trials/003-NAME/trial.json  the recipe, its steps and what was measured       .../model.onnx  what it made
RUN/report.html  RUN/report.json
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from compliance.disk import put, put_folder
from toolkit.compress.errors import CompressionError
from toolkit.compress.recipe import Recipe
from toolkit.compress.report import write_report
from toolkit.compress.results import Run, Trial

__all__ = ["Trials"]

MAX_TRIAL = 16_000_000


class Trials:
    """The trials of one run, in their order."""

    def __init__(self, folder: Path, origin: dict[str, Any], *, resume: bool) -> None:
        """`origin` is what the outcome of a trial depends on.

        Raises CompressionError: run_exists, run_differs, run_malformed; Failed when the disk does not take it.
        """
        self._folder = folder
        self.kept: list[Trial] = []
        written = msgspec.json.format(msgspec.json.encode(origin, order="deterministic")) + b"\n"
        if not folder.exists():
            put(folder / "run.json", written)
            return
        if not resume:
            raise CompressionError("run_exists", f"{folder} holds a run already")
        try:
            if (folder / "run.json").read_bytes() != written:
                raise CompressionError("run_differs", f"{folder} holds a run of another model, other data or releases")
            for path in sorted((folder / "trials").glob("[0-9]*")):
                with (path / "trial.json").open("rb") as file:
                    self.kept.append(msgspec.json.decode(file.read(MAX_TRIAL), type=Trial))
        except (OSError, msgspec.MsgspecError) as error:
            raise CompressionError("run_malformed", f"{folder}: {error}") from None

    def known(self, recipe: Recipe) -> Trial | None:
        """What came of a recipe, if it was tried."""
        steps = msgspec.json.encode(recipe.plain(), order="deterministic")
        same = (one for one in self.kept if msgspec.json.encode(one.recipe, order="deterministic") == steps)
        return next(same, None)

    def keep(self, trial: Trial, model: bytes | None) -> None:
        """Raises Failed; then nothing half-written is left."""
        files = {"trial.json": msgspec.json.format(msgspec.json.encode(trial, order="deterministic")) + b"\n"}
        put_folder(self._path(trial), files if model is None else {**files, "model.onnx": model})
        self.kept.append(trial)

    def model(self, trial: Trial) -> bytes:
        """What a trial made. Raises CompressionError "run_malformed" where it is not what was measured."""
        path = self._path(trial) / "model.onnx"
        try:
            model = path.read_bytes()
        except OSError as error:
            raise CompressionError("run_malformed", f"{path}: {error.strerror}") from None
        if hashlib.sha256(model).hexdigest() != trial.digest:
            raise CompressionError("run_malformed", f"{path} is not the file that was measured")
        return model

    def report(self, run: Run) -> None:
        """Write report.html and report.json. Raises Failed."""
        write_report(run, self._folder)

    def _path(self, trial: Trial) -> Path:
        return self._folder / "trials" / f"{trial.number:03}-{trial.name}"
