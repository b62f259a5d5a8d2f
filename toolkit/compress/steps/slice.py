"""The residual stream of a transformer made narrower: turned into the axes along which it reaches farthest, and cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from msgspec import Meta, Struct
from msgspec.structs import replace

from toolkit.compress.calibration import Calibration
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, Form, StepReport
from toolkit.extras import needs

if TYPE_CHECKING:
    from toolkit.compress.layers import Graph
    from toolkit.compress.stream import Stream

__all__ = ["Slice"]


class Slice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="slice"):
    """The share `keep` of the channels that all networks of a transformer read and write stays, a multiple of
    `multiple`; tables and every matrix on the stream lose rows or columns. Heads and neurons stay as many as they are.
    With all channels kept, the model is turned and says the same.

    What normalisations make of the narrower stream is brought back by least squares over the calibration data, in the
    matrices that read it. A model that normalises after each network (BERT) needs a square matrix on each shortcut, for
    scales lie on it: two for each layer, which is more than slicing saves above 0.87 of the channels, where networks
    have four neurons for a channel. One that normalises before needs none: all its sums are turned alike.

    It takes LayerNormalization; a stream that anything else reads or writes is refused.

    Ashkboos et al., "SliceGPT: Compress Large Language Models by Deleting Rows and Columns", 2024.
    """

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT})
    gives: ClassVar[Form | None] = None
    calibrates: ClassVar[bool] = True

    keep: Annotated[float, Meta(gt=0, le=1)] = 0.8
    multiple: Annotated[int, Meta(ge=1, le=1024)] = 16

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """See Step. Raises CompressionError where the graph has no such stream, or nothing would be left of it."""
        with quiet(), needs("compress"):
            from toolkit.compress.layers import Graph
            from toolkit.compress.narrowing import narrow
            from toolkit.compress.stream import streams
        graph = Graph(model, "slice")
        found = streams(graph)
        counts = [self._count(graph, stream) for stream in found]
        shapes = narrow(graph, found, counts, data)
        after, report = graph.finished()
        left = {node.name for node in graph.model.graph.node}
        known = {name: shape for name, shape in shapes.items() if name in left}
        return after, replace(report, shapes={**report.shapes, **known})

    def _count(self, graph: Graph, stream: Stream) -> int:
        scale = graph.constant(stream.norms[0].node.input[1])
        channels = len(np.asarray(scale))
        count = channels if self.keep == 1 else int(self.keep * channels) // self.multiple * self.multiple
        if count < 2:
            raise graph.failed(f"{count} of {channels} channels would stay")
        return count
