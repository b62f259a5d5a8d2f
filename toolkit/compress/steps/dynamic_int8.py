"""Weights to int8, activations to int8 as they come: the strong and fast baseline for encoders."""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

from msgspec import Struct

from toolkit.compress.errors import CompressionError
from toolkit.compress.quiet import quiet
from toolkit.compress.step import Batches, Form, StepReport
from toolkit.extras import needs

__all__ = ["DynamicInt8"]


class DynamicInt8(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="dynamic-int8"):
    """Dynamic quantisation: weights as signed 8-bit integers with one scale per output channel or per tensor, tables
    of embeddings too, and the scale of the activations found anew in each run, so that no calibration is needed.

    The kernels are ONNX Runtime's (DynamicQuantizeLinear, MatMulInteger). The scheme is that of Jacob et al.,
    "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018.
    """

    takes: ClassVar[Form] = "onnx-fp32"
    gives: ClassVar[Form] = "onnx-int8"

    per_channel: bool = True

    def apply(self, model: bytes, data: Batches) -> tuple[bytes, StepReport]:
        """See Step. `data` is not needed."""
        with quiet(), needs("compress"):
            import onnx
            from onnxruntime.quantization import QuantType, quantize_dynamic

            from toolkit.compress.serialise import serialise
        with quiet(), TemporaryDirectory(prefix="sealpress-") as folder:
            before, after = Path(folder, "before.onnx"), Path(folder, "after.onnx")
            before.write_bytes(model)
            try:
                quantize_dynamic(before, after, per_channel=self.per_channel, weight_type=QuantType.QInt8)
                result = onnx.load(after)
            except Exception as error:  # noqa: BLE001 - the quantiser raises whatever its parts raise
                raise CompressionError("step_failed", f"dynamic-int8: {type(error).__name__}") from None
        pressed = serialise(result)
        tensors = result.graph.initializer
        eight = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
        report = StepReport(
            kind="dynamic-int8",
            bytes_before=len(model),
            bytes_after=len(pressed),
            int8_bytes=sum(math.prod(tensor.dims) for tensor in tensors if tensor.data_type in eight),
            float_bytes=sum(
                4 * math.prod(tensor.dims) for tensor in tensors if tensor.data_type == onnx.TensorProto.FLOAT
            ),
        )
        # the quantiser skips in silence what it cannot do: look at what came out, not at what it says
        if report.int8_bytes < report.float_bytes:
            raise CompressionError("step_failed", f"dynamic-int8 left {report.float_bytes} bytes of weights as floats")
        return pressed, report
