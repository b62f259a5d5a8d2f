"""all-MiniLM-L6-v2, pressed by our recipes and by other tools."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime.quantization
from numpy.typing import NDArray

from benchmarks.compression import peers
from benchmarks.compression.table import FP32, results
from benchmarks.frame import Result
from benchmarks.pressed import source
from toolkit.compress import compress
from toolkit.compress.measure import evaluation_texts
from toolkit.compress.sources import huggingface, pretrained
from toolkit.new_box import create_box
from toolkit.runtime.lane import reader_of

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "wiki_passages"
FILES = ("calib.txt", "dev.txt")
LEARN, MEASURE = 300, 200
TERMS = "CC-BY-SA-4.0"  # of Wikipedia; nothing that is made of either set of texts is handed on
RECIPES = ("int8", "int8-smooth", "int8-t4", "mixed-t4", "w8-t4", "w4-t4")
SMALLEST = "size<=90MB, fidelity>=0.98"


def run() -> list[Result]:
    with TemporaryDirectory() as scratch, box(Path(scratch)) as settings:
        folder = Path(scratch)
        learn, texts, where = passages()
        found = huggingface.read(source())
        reader = reader_of((), found.text, None, found.tokenizer)
        fp32 = folder / "fp32.onnx"
        fp32.write_bytes(pretrained.load(found).export())
        files = {FP32: fp32, "ONNX Runtime dynamic int8": dynamic(fp32, folder)}
        given: dict[str, Any] = {"calibrate": learn, "evaluate": texts, "data_licence": TERMS, "settings": settings}
        for name in RECIPES:
            print(f"  press: {name}", flush=True)
            bundle = compress(source(), recipe=name, out=folder / f"{name}.bundle", **given)
            files[f"sealpress {name}"] = bundle.path / "model.onnx"
        print(f"  search: {SMALLEST}", flush=True)
        bundle = compress(source(), budget=SMALLEST, out=folder / "least.bundle", **given)
        files[f"sealpress, the smallest at 0.98 ({bundle.manifest.name})"] = bundle.path / "model.onnx"
        batches = [reader.feeds([text]) for text in learn]
        candidates: dict[str, peers.Candidate] = {name: peers.Runtime(path) for name, path in files.items()}
        candidates["Olive dynamic int8"] = peers.Runtime(peers.olive(fp32, folder))
        candidates["OpenVINO FP32"] = peers.OpenVino(fp32, folder)
        candidates["OpenVINO + NNCF int8"] = peers.OpenVino(peers.nncf(fp32, batches, folder, transformer=True), folder)

        def embedding(hidden: NDArray[Any], feeds: peers.Feeds) -> NDArray[np.float32]:
            return reader.answers([hidden], feeds)

        return results(
            "compression-minilm",
            "all-MiniLM-L6-v2 pressed by several tools, batch x tokens",
            candidates,
            [reader.feeds([text]) for text in texts],
            embedding,
            ("cosine",),
            {
                "1x32": (tokens(1, 32), 40),
                "1x128": (tokens(1, 128), 15),
                "32x128": (tokens(32, 128), 1),
            },
            [
                f"{len(learn)} texts to calibrate on and {len(texts)} to measure on: {where}; no text stands in both",
                "cosine of the embeddings against FP32, its mean and the lower 95 % bound of a bootstrap",
                "OpenVINO 2026.4.1 on one thread, f32 hint, for latency; NNCF 3.4.0 for transformers, its defaults; "
                "Olive 0.13.0, its pass for dynamic quantisation with its defaults; sizes of OpenVINO: .xml and .bin",
            ],
        )


@contextmanager
def box(folder: Path) -> Iterator[Path]:
    """The settings of a box that lasts as long as the benchmark."""
    create_box(folder / "box")
    yield folder / "box" / "sealpress.toml"


def passages() -> tuple[list[str], list[str], str]:
    if DATA.exists():
        learn, texts = (lines(DATA / name) for name in FILES)
        return learn[:LEARN], texts[:MEASURE], "Wikipedia passages"
    texts = evaluation_texts()
    return texts[::2], texts[1::2], "passages of the standard library"


def lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line.strip()]


def dynamic(fp32: Path, folder: Path) -> Path:
    path = folder / "dynamic.onnx"
    onnxruntime.quantization.quantize_dynamic(
        fp32, path, per_channel=True, weight_type=onnxruntime.quantization.QuantType.QInt8
    )
    return path


def tokens(batch: int, length: int) -> peers.Feeds:
    ids = np.random.default_rng(0).integers(1000, 20_000, size=(batch, length), dtype=np.int64)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
