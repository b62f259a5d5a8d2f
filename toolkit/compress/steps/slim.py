"""What a graph does not need: constants folded, nodes without effect taken out, the same things done once."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from toolkit.compress.calibration import Calibration
from toolkit.compress.errors import CompressionError
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, Form, StepReport
from toolkit.extras import needs

__all__ = ["Slim"]


class Slim(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="slim"):
    """onnxslim's simplifications (constant folding, dead nodes, common subexpressions), which compute the same. Exports
    of torch's newer exporter are lean already; files from elsewhere gain more.

    https://github.com/inisis/OnnxSlim
    """

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT})
    gives: ClassVar[Form | None] = None
    calibrates: ClassVar[bool] = False

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """See Step. `data` is not needed."""
        with quiet(), needs("compress"):
            import onnxslim

            from toolkit.compress.weights import finished, opened
        given = opened(model, "slim")
        nodes = len(given.graph.node)
        with quiet():
            try:
                slim = onnxslim.slim(given)
            except Exception as error:  # noqa: BLE001 - it raises whatever its parts raise
                raise CompressionError("step_failed", f"slim: {type(error).__name__}") from None
        return finished("slim", model, slim, (f"{nodes - len(slim.graph.node)} of {nodes} nodes went",))
