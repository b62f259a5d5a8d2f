"""Weights to int8, activations to int8 as they come: the strong and fast baseline for encoders."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

from msgspec import Struct

from toolkit.compress.calibration import Calibration
from toolkit.compress.errors import CompressionError
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, FUSED, QUANTISED, Form, StepReport
from toolkit.extras import needs

__all__ = ["DynamicInt8"]


class DynamicInt8(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="dynamic-int8"):
    """Dynamic quantisation: weights as signed 8-bit integers with one scale per output channel or per tensor, tables
    of embeddings too, and the scale of the activations found anew in each run, so that no calibration is needed.

    `seven_bits` halves the range of the weights. Processors without VNNI add two products in 16 bits, where two large
    ones saturate: with it the answers are right there too, and the same as on those with VNNI. `exclude` names nodes
    that stay as they are.

    The kernels are ONNX Runtime's (DynamicQuantizeLinear, MatMulInteger). The scheme is that of Jacob et al.,
    "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018.
    """

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT, FUSED})
    gives: ClassVar[Form | None] = QUANTISED
    calibrates: ClassVar[bool] = False

    per_channel: bool = True
    seven_bits: bool = False
    exclude: tuple[str, ...] = ()

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """See Step. `data` is not needed."""
        with quiet(), needs("compress"):
            import onnx
            from onnxruntime.quantization import QuantType, quantize_dynamic

            from toolkit.compress.weights import finished, floats_left, opened, stored
        kind = "dynamic-int8"
        given = opened(model, kind)
        if unknown := set(self.exclude) - {node.name for node in given.graph.node}:
            raise CompressionError("step_failed", f"{kind}: no node is called {', '.join(sorted(unknown))}")
        integers = stored(given).get("int8", 0)
        with quiet(), TemporaryDirectory(prefix="sealpress-") as folder:
            before, after = Path(folder, "before.onnx"), Path(folder, "after.onnx")
            onnx.save(given, before)
            del given  # the quantiser has its own, and its memory counts
            try:
                quantize_dynamic(
                    before,
                    after,
                    per_channel=self.per_channel,
                    reduce_range=self.seven_bits,
                    weight_type=QuantType.QInt8,
                    nodes_to_exclude=list(self.exclude),
                    # behind the runtime's own operators no type is inferred
                    extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
                )
                result = onnx.load(after)
            except Exception as error:  # noqa: BLE001 - the quantiser raises whatever its parts raise
                raise CompressionError("step_failed", f"{kind}: {type(error).__name__}") from None
        # the quantiser skips in silence what it cannot do: look at what came out, not at what it says
        if stored(result).get("int8", 0) <= integers:
            raise CompressionError("step_failed", f"{kind}: no weight became an integer")
        return finished(kind, model, result, floats_left(result))
