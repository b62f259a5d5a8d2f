"""What combinations of steps come to on all-MiniLM-L6-v2 and EfficientNet-Lite0, beside quantisation alone and a peer.

What was pressed is kept in .cache between runs, by the recipe and the releases, so that a run may be broken off while
it presses and the measuring alone be done on a quiet machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from benchmarks.compression import efficientnet, minilm, peers
from benchmarks.compression.table import FP32, results
from benchmarks.frame import HERE, Result
from benchmarks.pressed import source
from policies.facts import Tensor
from toolkit.box import Box
from toolkit.compress.engine import Press, versions
from toolkit.compress.ladder import named
from toolkit.compress.recipe import Recipe
from toolkit.compress.task import Task
from toolkit.runtime.images import ImageReader
from toolkit.runtime.lane import reader_of

__all__ = ["run"]

KEPT = HERE.parent / ".cache" / "benchmarks" / "points"
PEER = "OpenVINO + NNCF int8"
Tables = Sequence[Mapping[str, Any]]


def _neurons(percent: int) -> dict[str, Any]:
    return {"kind": "prune-neurons", "keep": percent / 100}


SMOOTH = ({"kind": "smooth-quant", "alpha": 0.7}, {"kind": "static-int8", "scales": "pairs"})
WIDE = {"kind": "gptq", "block": 128, "scales": "hqq"}
THIRDS = {"kind": "table-codebook", "word": 3}
# those that begin alike are neighbours: what they share is pressed once
ENCODER: Mapping[str, Tables] = {
    **{name: named(name).plain() for name in ("int8-smooth", "w4-t4", "gptq-t4", "gptq-words")},
    "gptq by 128, tables in words of two": (WIDE, {"kind": "table-codebook"}),
    "gptq by 128, tables in words of three": (WIDE, THIRDS),
    "words": named("words").plain(),
    "words, tables in words of three": ({"kind": "codebook"}, THIRDS),
    "neurons 75 %": (_neurons(75),),
    "neurons 75 %, int8-smooth": (_neurons(75), *SMOOTH),
    "neurons 75 %, gptq-t4": (_neurons(75), *named("gptq-t4").plain()),
    "neurons 75 %, words": (_neurons(75), *named("words").plain()),
    "neurons 75 % without repair": ({**_neurons(75), "repair": False},),
    "neurons 85 %, int8-smooth": (_neurons(85), *SMOOTH),
    "neurons 60 %, int8-smooth": (_neurons(60), *SMOOTH),
    "ranks 81 %": ({"kind": "factorise", "keep": 0.81},),
    "zeros, two of four": ({"kind": "sparsify", "pattern": "2:4"},),
    "zeros in squares of four": ({"kind": "sparsify", "pattern": "block"},),
}
STATIC = {"kind": "static-int8", "range": "mse", "scales": "pairs"}
CORRECTED = ({"kind": "equalise"}, {"kind": "bias-correction", "scales": "pairs"})
CHANNELS = {"kind": "prune-channels", "keep": 0.9}
PHOTOS: Mapping[str, Tables] = {
    "int8-corrected": named("int8-corrected").plain(),
    "head in words": (*CORRECTED, {"kind": "codebook"}, STATIC),
    "head and convolutions of 200,000 in words": (*CORRECTED, {"kind": "codebook", "pointwise": 200_000}, STATIC),
    "head and convolutions of 100,000 in words": (*CORRECTED, {"kind": "codebook", "pointwise": 100_000}, STATIC),
    "channels 90 %, head in words of three": (CHANNELS, *CORRECTED, {"kind": "codebook", "word": 3}, STATIC),
}


def run() -> list[Result]:
    return [*_efficientnet(), *_minilm()]


def _minilm() -> list[Result]:
    learn, texts, where = minilm.passages()
    with TemporaryDirectory() as scratch, minilm.box(Path(scratch)) as settings:
        task = Task.of(
            source(), box=Box.embedded(settings), calibrate=learn, evaluate=texts, licence=None, progress=_told
        )
        files = _pressed(task, ENCODER)
        reader = reader_of((), task.source.text, None, task.source.tokenizer)
        folder = Path(scratch)
        candidates: dict[str, peers.Candidate] = {name: peers.Runtime(path) for name, path in files.items()}
        candidates[PEER] = _peer(files[FP32], [reader.feeds([text]) for text in learn], folder, transformer=True)

        def embedding(hidden: NDArray[Any], feeds: peers.Feeds) -> NDArray[np.float32]:
            return reader.answers([hidden], feeds)

        return results(
            "compression-points-minilm-1x32",
            "all-MiniLM-L6-v2 by combinations of steps, without training; batch x tokens",
            candidates,
            [reader.feeds([text]) for text in texts],
            embedding,
            ("cosine",),
            {"1x32": (minilm.tokens(1, 32), 30)},
            [
                f"{len(learn)} texts to calibrate on and {len(texts)} to measure on: {where}; no text stands in both",
                "cosine of the embeddings against FP32, its mean and the lower 95 % bound of a bootstrap; packed: with "
                "zstd, level 3",
                f"{PEER}: OpenVINO 2026.4.1 on one thread, f32 hint, for latency; NNCF 3.4.0 for transformers",
                *_recipes(ENCODER),
            ],
        )


def _efficientnet() -> list[Result]:
    module, learn, views = efficientnet.ground()
    with TemporaryDirectory() as scratch, minilm.box(Path(scratch)) as settings:
        task = Task.of(
            module,
            box=Box.embedded(settings),
            calibrate=learn,
            evaluate=views,
            licence="Apache-2.0",
            progress=_told,
            example=efficientnet.EXAMPLE,
            image=efficientnet.IMAGE,
            labels=efficientnet.LABELS,
        )
        files = _pressed(task, PHOTOS)
        (taken,) = onnx.load(files[FP32]).graph.input
        shape = ("batch", 3, 224, 224)
        reader = ImageReader([Tensor(name=taken.name, dtype="float32", shape=shape)], efficientnet.IMAGE)
        batches = [reader.feeds([view]) for view in learn]
        candidates: dict[str, peers.Candidate] = {name: peers.Runtime(path) for name, path in files.items()}
        candidates[PEER] = _peer(files[FP32], batches, Path(scratch), transformer=False)
        return results(
            "compression-points-efficientnet-1x224x224",
            "EfficientNet-Lite0 in at most 4 MB, batch x height x width",
            candidates,
            [reader.feeds([view]) for view in views],
            lambda logits, _: logits,
            ("agreement", "correlation"),
            {"1x224x224": ({taken.name: batches[0][taken.name]}, 20)},
            [
                f"{len(learn)} views of ten photos to calibrate on, {len(views)} of ten others to measure on; "
                "agreement of the top class and correlation of the logits with FP32: mean and the lower 95 % bound of "
                "a bootstrap. Views of one photo are alike, so the bounds are too narrow",
                *_recipes(PHOTOS),
            ],
        )


def _told(what: str) -> None:
    print(f"  {what}", flush=True)


def _pressed(task: Task, recipes: Mapping[str, Tables]) -> dict[str, Path]:
    """The ONNX file of each recipe, and that in FP32, which all that is missing is pressed from in one go."""
    files = {name: _place(task, tables) for name, tables in ((FP32, ()), *recipes.items())}

    def work(press: Press) -> None:
        KEPT.mkdir(parents=True, exist_ok=True)
        files[FP32].write_bytes(press.exported)
        for name, tables in recipes.items():
            if not files[name].exists():
                print(f"  press: {name}", flush=True)
                made = press.follow(Recipe.of(tables))
                files[name].write_bytes(made.model)
                _told(f"{len(made.model) / 1e6:.2f} MB, fidelity {made.reports[-1].fidelity}")

    if not all(path.exists() for path in files.values()):
        task.gated({"recipes": sorted(recipes)}, work)
    return files


def _place(task: Task, tables: Tables) -> Path:
    made_of = [task.source.digest, task.data.digests(), versions(), list(tables)]
    return KEPT / f"{hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:32]}.onnx"


def _peer(fp32: Path, batches: Sequence[peers.Feeds], folder: Path, *, transformer: bool) -> peers.Candidate:
    kept = fp32.with_suffix(".nncf.xml")
    if not kept.exists():
        made = peers.nncf(fp32, batches, folder, transformer=transformer)
        kept.with_suffix(".bin").write_bytes(made.with_suffix(".bin").read_bytes())
        kept.write_bytes(made.read_bytes())
    return peers.OpenVino(kept, folder)


def _recipes(recipes: Mapping[str, Tables]) -> list[str]:
    return [f"{name}: {', then '.join(map(_step, tables))}" for name, tables in recipes.items()]


def _step(table: Mapping[str, Any]) -> str:
    options = ", ".join(f"{key} {value}" for key, value in table.items() if key != "kind")
    return f"{table['kind']} ({options})" if options else str(table["kind"])
