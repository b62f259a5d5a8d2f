"""Take in a model, whatever it came as. Nothing is loaded, and nothing that could run code is taken."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.compress.errors import SourceError, SourceMissing
from toolkit.compress.quiet import quiet
from toolkit.compress.source import Source
from toolkit.compress.sources import architectures, causal, gguf_file, huggingface, keras_file, onnx_file, saved_model
from toolkit.extras import needs
from toolkit.runtime.inputs import ImageInput
from toolkit.sealed import must_be_plain

if TYPE_CHECKING:
    import torch

__all__ = ["module_inputs", "module_taken_in", "taken_in"]


def taken_in(source: str | os.PathLike[str], memory: int | None = None) -> Source:
    """The source at a path: a Hugging Face or timm directory, a SavedModel, an ONNX, Keras or GGUF file; or the
    architecture and the weights that "timm:NAME:FILE" or "torchvision:NAME:FILE" names. No file larger than `memory`
    bytes is read.

    Raises SourceMissing, SourceError, SealedError, MissingExtra.
    """
    if isinstance(source, str) and (named := architectures.read(source)) is not None:
        return named
    path = Path(source)
    if not path.exists():
        raise SourceMissing("source_not_found", f"there is nothing at {path}")
    must_be_plain(path, "pressed")
    limit = min(onnx_file.MAX_MODEL, memory or onnx_file.MAX_MODEL)
    if not path.is_dir():
        if path.suffix.lower() == gguf_file.SUFFIX:
            return gguf_file.read(path, limit=limit)
        keras = path.suffix.lower() in keras_file.SUFFIXES
        return keras_file.read(path, limit=limit) if keras else onnx_file.read(path, limit=limit)
    if (path / saved_model.PROGRAM).is_file():
        return saved_model.read(path, limit=limit)
    return architectures.timm_folder(path) or causal.read(path) or huggingface.read(path)


def module_taken_in(
    module: torch.nn.Module, example: object, image: ImageInput | None, labels: Sequence[str]
) -> Source:
    """A module of this process. See toolkit.compress.sources.torch_module.read. Raises SourceError, MissingExtra."""
    with quiet(), needs("compress"):
        from toolkit.compress.sources import torch_module
    if example is None:
        raise SourceError("source_examples", "a module comes with an example of its inputs: give example=")
    return torch_module.read(module, example, image=image, labels=labels)


def module_inputs(module: torch.nn.Module, item: object) -> dict[str, Any]:
    """An item for a module by the names of its inputs. Raises SourceError."""
    from toolkit.compress.sources import torch_module

    return torch_module.named(module, item)
