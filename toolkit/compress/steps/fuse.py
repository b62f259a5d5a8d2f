"""Groups of nodes that become one operator of the runtime."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, Literal

from msgspec import Struct

from toolkit.compress.calibration import Calibration
from toolkit.compress.errors import CompressionError
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, FUSED, Form, StepReport
from toolkit.extras import needs

__all__ = ["Fuse"]


class Fuse(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="fuse"):
    """ONNX Runtime's own fusions for transformers of a family (onnxruntime.transformers.optimizer), attention in the
    form of MultiHeadAttention.

    The fusion of the embeddings is left out, for it hides the tables from the steps that follow, and that of a sum with
    its normalisation, whose kernel was slower than the two alone.
    """

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT})
    gives: ClassVar[Form | None] = FUSED
    calibrates: ClassVar[bool] = False

    family: Literal["bert", "bart", "t5", "vit"] = "bert"

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """See Step. `data` is not needed."""
        with quiet(), needs("compress"):
            import onnx
            from onnxruntime.transformers.fusion_options import FusionOptions
            from onnxruntime.transformers.optimizer import optimize_model

            from toolkit.compress.weights import finished, opened
        given = opened(model, "fuse")
        options = FusionOptions(self.family)
        options.enable_embed_layer_norm = options.enable_skip_layer_norm = options.enable_bias_skip_layer_norm = False
        options.enable_gelu_approximation = False  # it would change what the model says
        options.use_multi_head_attention = True
        with quiet(), TemporaryDirectory(prefix="sealpress-") as folder:
            path = Path(folder, "before.onnx")
            onnx.save(given, path)
            try:
                # 0 heads: it finds them out; level 0: what the runtime fuses when it loads is its own business
                optimiser = optimize_model(str(path), self.family, 0, 0, options, opt_level=0)
            except Exception as error:  # noqa: BLE001 - it raises whatever its parts raise
                raise CompressionError("step_failed", f"fuse: {type(error).__name__}") from None
        fused = optimiser.model
        own = sum(node.domain not in ("", "ai.onnx") for node in fused.graph.node)
        return finished("fuse", model, fused, (f"{own} operators of the runtime came in",))
