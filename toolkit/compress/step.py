"""What a step of a recipe is: one model in, one model out, and a report of what it did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from msgspec import Struct
from numpy.typing import NDArray

__all__ = ["Batches", "Form", "Step", "StepReport"]

Form = Literal["onnx-fp32", "onnx-int8"]

# calibration batches: name of an input to int64 (batch, tokens); never those that the result is measured on
Batches = Sequence[Mapping[str, NDArray[Any]]]


class StepReport(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a step did. `int8_bytes` and `float_bytes` are those of the weights afterwards."""

    kind: str
    bytes_before: int
    bytes_after: int
    int8_bytes: int
    float_bytes: int


class Step(Protocol):
    """A frozen Struct whose fields are its configuration, tagged with its `kind`."""

    @property
    def takes(self) -> Form: ...
    @property
    def gives(self) -> Form: ...

    def apply(self, model: bytes, data: Batches) -> tuple[bytes, StepReport]:
        """The new model as an ONNX file, and the report. Pure: the same bytes for the same argument.

        Raises CompressionError "step_failed".
        """
        ...
