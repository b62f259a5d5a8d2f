"""What the routes of the Open Inference Protocol and of its repository answer with."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from serve.openapi.answers import Attribution, Notice
from serve.protocols.oip.metadata import Described

__all__ = [
    "InferAnswer",
    "ModelMetadata",
    "ModelReady",
    "OIPLive",
    "OIPReady",
    "RepositoryModel",
    "ServerMetadata",
]


class OIPLive(Struct):
    """The process answers."""

    live: Literal[True]


class OIPReady(Struct):
    """Whether calls can be answered; /readyz says what is missing."""

    ready: bool


class ServerMetadata(Struct):
    """The server, its version and the extensions of the protocol that it has."""

    name: Literal["sealpress"]
    version: str
    extensions: list[str]


class ModelParameters(Struct):
    """What a bundle says of its model."""

    digest: str
    licence: str
    task: str


class ModelMetadata(Struct):
    """What a model takes and gives; -1 stands for a size that is open."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[Described]
    outputs: list[Described]
    parameters: ModelParameters


class ModelReady(Struct):
    """The model can be asked."""

    name: str
    ready: Literal[True]


class OutputParameters(Struct):
    """How many bytes behind the JSON are those of this output."""

    binary_data_size: int


class OutputTensor(Struct):
    """An output: its elements in `data`, or behind the JSON as bytes."""

    name: str
    datatype: str
    shape: list[int]
    parameters: OutputParameters | UnsetType = UNSET
    data: list[float | str | bool | None] | UnsetType = UNSET


class Carried(Struct):
    """What the answer is obliged to say."""

    attribution: Attribution | UnsetType = UNSET
    ai_notice: Notice | UnsetType = UNSET


class InferAnswer(Struct):
    """What a model gave."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str | UnsetType = UNSET
    parameters: Carried | UnsetType = UNSET


class RepositoryModel(Struct):
    """A bundle, also one that is refused; then the reason is the code."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str
