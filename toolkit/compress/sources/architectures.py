"""Take in an architecture of timm or torchvision with local weights: the code is the library's, the weights come from a
safetensors file, and nothing is fetched."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from toolkit.compress.data import Items
from toolkit.compress.errors import SourceError, SourceMissing
from toolkit.compress.quiet import quiet
from toolkit.compress.source import Measure, Original
from toolkit.compress.sources.folder import File, Folder
from toolkit.compress.sources.huggingface import weight_files
from toolkit.compress.sources.pictures import made_up_pictures
from toolkit.extras import needs
from toolkit.runtime.inputs import ImageInput

__all__ = ["Architecture", "read", "timm_folder", "weights_of"]

T = TypeVar("T")
Library = Literal["timm", "torchvision"]
_REFERENCE = re.compile(r"(timm|torchvision):([a-z0-9_]+):(.+)", re.S)


class Architecture(Struct, frozen=True, kw_only=True):
    """A Source (toolkit.compress.source): an image model named by its library, and its weights."""

    name: str
    digest: str
    task: str = "image-classification"
    licences: tuple[str, ...]
    licence_text: str | None
    notice: str | None
    text: None = None
    image: ImageInput
    tokenizer: None = None
    labels: tuple[str, ...]
    languages: tuple[str, ...] = ()
    measure: Measure = "agreement"
    library: Library
    architecture: str
    weights: File
    parameters: int
    convolves: bool = True

    def examples(self, count: int, seed: int = 0) -> Items:
        """Pictures that are made up."""
        return made_up_pictures(self.image, count, seed)

    def load(self) -> Original:
        """See toolkit.compress.source. Raises SourceError: source_changed, source_config, source_weights."""
        with quiet(), needs("compress"):
            from toolkit.compress.sources.export import (
                Positional,
                TorchModel,
                Traced,
                batch_trials,
                brief,
                picture,
                tensors,
            )
            from toolkit.compress.sources.state import state_of
        with quiet():
            model = _built(self.library, self.architecture, len(self.labels))
            try:
                model.load_state_dict(state_of([self.weights]), strict=True)
            except RuntimeError as error:
                raise SourceError("source_weights", f"the weights do not fit {self.name}: {brief(error)}") from None
            model = model.float().eval().requires_grad_(requires_grad=False)
            traced = Traced(example={"x": picture(self.image)}, dims=("batch",), outputs={"logits": ("batch",)})
            return TorchModel(Positional(model, ("x",), tensors), self.digest, traced, batch_trials)


class _Pretrained(Struct, kw_only=True):
    """`pretrained_cfg` of timm: how its weights want their images."""

    input_size: tuple[Literal[3], Annotated[int, Meta(ge=1, le=8192)], Annotated[int, Meta(ge=1, le=8192)]]
    interpolation: Literal["bilinear", "bicubic", "nearest", "lanczos"] = "bilinear"
    crop_pct: Annotated[float, Meta(gt=0, le=1)] = 0.875
    crop_mode: Literal["center", "squash"] = "center"
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def image(self) -> ImageInput:
        """As timm's transforms for evaluation: the shorter side is the size divided by crop_pct, rounded down."""
        _, height, width = self.input_size
        return ImageInput(
            height=height,
            width=width,
            shorter_side=None if self.crop_mode == "squash" else int(min(height, width) / self.crop_pct),
            resample=self.interpolation,
            mean=self.mean,
            std=self.std,
        )


class _TimmConfig(Struct):
    """config.json of a timm model."""

    architecture: Annotated[str, Meta(pattern="^[a-z0-9_]{1,100}$")]
    num_classes: Annotated[int, Meta(ge=2, le=100_000)]
    pretrained_cfg: _Pretrained
    label_names: tuple[Annotated[str, Meta(max_length=1000)], ...] | None = None


def read(reference: str) -> Architecture | None:
    """The model of "timm:NAME:FILE" or "torchvision:NAME:FILE"; None for a text that is no such reference.

    Raises SourceError, SourceMissing, MissingExtra.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        return None
    library: Library = "timm" if match[1] == "timm" else "torchvision"
    architecture, path = match[2], Path(match[3]).absolute()
    if not path.is_file():
        raise SourceMissing("source_not_found", f"there is no file at {path}")
    if path.suffix != ".safetensors":
        raise SourceError("source_pickle", f"{path} is no .safetensors file")
    image, labels = _timm(architecture) if library == "timm" else _torchvision(architecture)
    return _read(Folder(path.parent), path.name, library, architecture, image, labels)


def weights_of(reference: str) -> Path | None:
    """The file that such a reference names; None for a text that is none."""
    match = _REFERENCE.fullmatch(reference)
    return None if match is None else Path(match[3]).absolute()


def timm_folder(path: Path) -> Architecture | None:
    """The model of a folder as timm saves it; None for a folder that is none of those. Raises SourceError."""
    folder = Folder(path)
    if not folder.has("config.json"):
        return None
    content = folder.json("config.json", dict[str, Any])
    if "architecture" not in content or "model_type" in content:
        return None
    config = _converted(content, _TimmConfig, "config.json")
    labels = config.label_names or _numbered(config.num_classes)
    if len(labels) != config.num_classes:
        raise SourceError("source_config", f"config.json has {len(labels)} labels for {config.num_classes} classes")
    if not folder.has("model.safetensors"):
        raise SourceError("source_weights", "model.safetensors is missing")
    return _read(folder, "model.safetensors", "timm", config.architecture, config.pretrained_cfg.image(), labels)


def _timm(architecture: str) -> tuple[ImageInput, tuple[str, ...]]:
    with quiet(), needs("vision"):
        import timm
    if not timm.is_model(architecture):
        raise SourceError("source_unsupported", f"timm has no architecture {architecture!r}")
    known = timm.get_pretrained_cfg(architecture)
    described = {} if known is None else known.to_dict()
    image = _converted(described, _Pretrained, architecture).image()
    return image, _numbered(described["num_classes"])


def _torchvision(architecture: str) -> tuple[ImageInput, tuple[str, ...]]:
    """What the weights that torchvision calls the default ones want; they themselves are not fetched."""
    with quiet(), needs("vision"):
        from torchvision import models
    try:
        known = models.get_model_weights(architecture).DEFAULT
    except ValueError:
        raise SourceError("source_unsupported", f"torchvision has no architecture {architecture!r}") from None
    prepare, labels = known.transforms(), known.meta.get("categories")
    if not labels or not hasattr(prepare, "crop_size"):
        raise SourceError("source_unsupported", f"{architecture!r} of torchvision is no classifier of images")
    (side,), (shorter,) = prepare.crop_size, prepare.resize_size
    image = ImageInput(
        height=side,
        width=side,
        shorter_side=shorter,
        resample=prepare.interpolation.value,
        mean=tuple(prepare.mean),
        std=tuple(prepare.std),
    )
    return image, tuple(labels)


def _read(
    folder: Folder, file: str, library: Library, architecture: str, image: ImageInput, labels: tuple[str, ...]
) -> Architecture:
    with needs("compress"):
        from toolkit.compress.sources.papers import read_papers
    (weights,), parameters = weight_files(folder, [file])
    identity = (library, architecture, image, labels, weights.sha256)
    papers = read_papers(folder)
    return Architecture(
        name=architecture,
        digest=hashlib.sha256(msgspec.json.encode(identity)).hexdigest(),
        licences=papers.statements,
        licence_text=papers.licence,
        notice=papers.notice,
        image=image,
        labels=labels,
        library=library,
        architecture=architecture,
        weights=weights,
        parameters=parameters,
    )


def _built(library: Library, architecture: str, classes: int) -> Any:
    """The architecture with weights that are to be replaced. Raises SourceError "source_config", MissingExtra."""
    with needs("vision"):
        import timm
        from torchvision import models
    try:
        if library == "timm":
            return timm.create_model(architecture, pretrained=False, num_classes=classes)
        return models.get_model(architecture, weights=None, num_classes=classes)
    except (RuntimeError, TypeError, ValueError) as error:
        raise SourceError("source_config", f"{library} makes no {architecture}: {str(error)[:200]}") from None


def _converted(value: object, kind: type[T], name: str) -> T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise SourceError("source_config", f"{name}: {error}") from None


def _numbered(classes: int) -> tuple[str, ...]:
    return tuple(f"LABEL_{number}" for number in range(classes))
