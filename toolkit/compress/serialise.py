"""An ONNX model as bytes that depend on nothing but the model."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from google.protobuf.message import Message  # type: ignore[import-untyped]  # its types are a package of their own

__all__ = ["serialise"]

_NOISE = ("metadata_props", "doc_string")


def serialise(model: onnx.ModelProto) -> bytes:
    """The model without notes of the tools that made it: they carry stack traces with local paths, and they make the
    bytes differ between folders and releases. `model` itself loses them too: a copy would cost its memory once more."""
    _strip(model)
    model.producer_name = "sealpress"
    model.ClearField("producer_version")
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _strip(message: Message) -> None:
    for field, value in message.ListFields():
        if field.name in _NOISE:
            message.ClearField(field.name)
        elif field.message_type is not None:
            for part in value if isinstance(value, Iterable) else (value,):
                _strip(part)
