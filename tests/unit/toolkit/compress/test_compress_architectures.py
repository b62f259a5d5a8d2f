"""Architectures of timm and torchvision with local weights. Where the two are not installed, what needs them is
skipped; what is decided before is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from policies.errors import Failed, Refused, Unusable
from tests.unit.toolkit.compress.conftest import Gated
from toolkit.compress.data import NONE, Data
from toolkit.compress.engine import Press
from toolkit.compress.intake import taken_in
from toolkit.compress.quiet import quiet
from toolkit.compress.sources.architectures import Architecture, read, timm_folder

with quiet():
    import torch
    from safetensors.torch import save_file

TIMM: dict[str, Any] = {
    "architecture": "mobilenetv3_small_050",
    "num_classes": 5,
    "pretrained_cfg": {
        "input_size": [3, 64, 64],
        "interpolation": "bicubic",
        "crop_pct": 0.875,
        "mean": [0.4, 0.5, 0.6],
        "std": [0.2, 0.2, 0.3],
    },
}


def folder_of(path: Path, config: object, tensors: dict[str, torch.Tensor]) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    save_file(tensors, path / "model.safetensors")
    return path


def refused(work: Any) -> str:
    with pytest.raises((Refused, Unusable, Failed)) as caught:
        work()
    return caught.value.code


def test_a_timm_folder_says_how_its_images_become_a_tensor(tmp_path: Path) -> None:
    source = taken_in(folder_of(tmp_path / "m", TIMM, {"x": torch.ones(1)}))
    assert isinstance(source, Architecture)
    image = source.image
    assert (image.height, image.width, image.shorter_side, image.resample) == (64, 64, 73, "bicubic")
    assert source.labels == tuple(f"LABEL_{number}" for number in range(5))
    assert source.library == "timm"


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "hf-hub:somebody/model"},
        {"architecture": "../x"},
        {"num_classes": 10**9},
        {"label_names": ["one"]},
        {"pretrained_cfg": {}},
    ],
)
def test_a_timm_folder_that_asks_for_something_else_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = folder_of(tmp_path / "m", {**TIMM, **change}, {"x": torch.ones(1)})
    assert refused(lambda: timm_folder(path)) == "source_config"


def test_a_folder_of_transformers_is_none_of_them(folder: Path) -> None:
    assert timm_folder(folder) is None


def test_pickles_and_nothing_at_all_are_refused(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"PK")
    assert refused(lambda: read(f"timm:resnet18:{tmp_path / 'w.pth'}")) == "source_pickle"
    assert refused(lambda: read(f"torchvision:resnet18:{tmp_path / 'w.safetensors'}")) == "source_not_found"
    assert read("./resnet18") is None


def test_timm_with_local_weights_is_exported_as_it_is(gated: Gated, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", exc_type=ImportError)
    model = timm.create_model("mobilenetv3_small_050", num_classes=5)
    press(gated, taken_in(folder_of(tmp_path / "m", TIMM, model.state_dict())))
    model = timm.create_model("resnet10t")
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    press(gated, taken_in(f"timm:resnet10t:{tmp_path / 'w.safetensors'}"))


def test_torchvision_with_local_weights_is_exported_as_it_is(gated: Gated, tmp_path: Path) -> None:
    models = pytest.importorskip("torchvision", exc_type=ImportError).models
    save_file(models.get_model("squeezenet1_1", weights=None).state_dict(), tmp_path / "w.safetensors")
    source = taken_in(f"torchvision:squeezenet1_1:{tmp_path / 'w.safetensors'}")
    assert len(source.labels) == 1000
    press(gated, source)
    other = f"torchvision:mobilenet_v3_small:{tmp_path / 'w.safetensors'}"
    assert refused(lambda: taken_in(other).load()) == "source_weights"
    assert refused(lambda: taken_in(f"torchvision:none_such:{tmp_path / 'w.safetensors'}")) == "source_unsupported"


def press(gated: Gated, source: Any) -> None:
    data = Data(calibrate=NONE, evaluate=source.examples(3))
    gated(source.digest, lambda grant: Press(source, grant, "policy", data, lambda _: None))
