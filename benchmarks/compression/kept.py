"""Files that recipes and other tools make of a model, and how near they are to it, kept in .cache between runs.

So a run may be broken off and gone on with, and speed be measured alone on a quiet machine. What is kept goes by all
that it was made of: model, data, releases and the code of toolkit.compress.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.compression import peers
from benchmarks.compression.fields import Field
from benchmarks.compression.matching import Quality
from benchmarks.compression.table import FP32, agreed
from benchmarks.frame import HERE
from toolkit.compress.engine import Press
from toolkit.compress.recipe import Recipe
from toolkit.compress.versions import versions

__all__ = ["PEER", "files_of", "opened", "qualities"]

KEPT = HERE.parent / ".cache" / "benchmarks" / "points"
PEER = "OpenVINO + NNCF int8"


def files_of(field: Field) -> dict[str, Path]:
    """The file of each candidate, FP32 first; what is missing is made."""
    files = {name: _place(field, name) for name in (FP32, *field.quantisers, PEER, *field.recipes)}
    KEPT.mkdir(parents=True, exist_ok=True)
    if not all(files[name].exists() for name in (FP32, *field.recipes)):
        field.task.gated({"recipes": sorted(field.recipes)}, lambda press: _press(press, field, files))
    reader = field.reader(files[FP32])
    with TemporaryDirectory() as folder:
        for name, path in files.items():
            if path.exists():
                continue
            print(f"  made by another tool: {name}", flush=True)
            batches = [reader.feeds([item]) for item in field.task.data.calibrate.items]
            if name == PEER:
                made = peers.nncf(files[FP32], batches, Path(folder), transformer=field.transformer)
                path.with_suffix(".bin").write_bytes(made.with_suffix(".bin").read_bytes())
            else:
                made = field.quantisers[name](files[FP32], batches, Path(folder))
            _write(path, made.read_bytes())
    return files


def opened(files: Mapping[str, Path], name: str, folder: Path) -> peers.Candidate:
    return peers.OpenVino(files[name], folder) if name == PEER else peers.Runtime(files[name])


def qualities(field: Field, files: Mapping[str, Path]) -> dict[str, Quality]:
    """How near each candidate is to FP32; what is not known is found."""
    found: dict[str, Quality] = {}
    batches: list[list[peers.Feeds]] = []
    original: list[NDArray[np.float32]] = []
    with TemporaryDirectory() as folder:
        for name, path in files.items():
            known = path.with_suffix(".quality.json")
            if not known.exists():
                batches = batches or _batches(field, files[FP32])
                original = original or _answers(field, peers.Runtime(files[FP32]), batches)
                one = opened(files, name, Path(folder))
                answers = _answers(field, one, batches)
                chosen_by, held_out = (
                    {kind: agreed(kind, a, b, alike) for kind in field.measures}
                    for a, b, alike in zip(original, answers, (1, field.alike), strict=True)
                )
                made = Quality(size=one.size, packed=one.packed, chosen_by=chosen_by, held_out=held_out)
                _write(known, msgspec.json.encode(made))
                print(f"  {name}: {made.size / 1e6:.2f} MB, {chosen_by} {held_out}", flush=True)
            found[name] = msgspec.json.decode(known.read_bytes(), type=Quality)
    return found


def _press(press: Press, field: Field, files: Mapping[str, Path]) -> None:
    _write(files[FP32], press.exported)
    for name, tables in field.recipes.items():
        if not files[name].exists():
            print(f"  press: {name}", flush=True)
            _write(files[name], press.follow(Recipe.of(tables)).model)


def _batches(field: Field, fp32: Path) -> list[list[peers.Feeds]]:
    """One item a batch: of those to choose by, and of those held out."""
    reader = field.reader(fp32)
    return [
        [reader.feeds([item]) for item in items] for items in (field.task.data.evaluate.items, field.held_out.items)
    ]


def _answers(field: Field, one: peers.Candidate, batches: list[list[peers.Feeds]]) -> list[NDArray[np.float32]]:
    return [np.concatenate([field.answered(one.answers(feeds), feeds) for feeds in some]) for some in batches]


def _place(field: Field, name: str) -> Path:
    """Where a candidate is kept."""
    how = [peers.OPENVINO, name] if name == PEER else list(field.recipes.get(name, [name] if name != FP32 else []))
    data = field.task.data.digests(), field.held_out.digest
    made_of = [field.task.source.digest, data, versions(), _code(), how]
    digest = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:32]
    return KEPT / f"{digest}.{'xml' if name == PEER else 'onnx'}"


@cache
def _code() -> str:
    """Of what makes the files: a checkout has the same release whatever it holds."""
    found = hashlib.sha256()
    for path in sorted((HERE.parent / "toolkit" / "compress").rglob("*.py")):
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    part = path.with_suffix(".part")
    part.write_bytes(data)
    part.replace(path)
