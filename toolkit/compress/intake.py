"""Take in a model, whatever it came as. Nothing is loaded, and nothing that could run code is taken."""

from __future__ import annotations

import os
from pathlib import Path

from toolkit.compress.errors import SourceMissing
from toolkit.compress.source import Source
from toolkit.compress.sources import huggingface, onnx_file

__all__ = ["taken_in"]


def taken_in(source: str | os.PathLike[str]) -> Source:
    """The source at a path: a Hugging Face directory or an ONNX file.

    Raises SourceMissing, SourceError, MissingExtra.
    """
    path = Path(source)
    if not path.exists():
        raise SourceMissing("source_not_found", f"there is nothing at {path}")
    return huggingface.read(path) if path.is_dir() else onnx_file.read(path)
