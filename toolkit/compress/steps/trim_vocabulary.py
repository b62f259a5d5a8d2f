"""Tokens taken out of a model of texts: out of its tokenizer and its tables of embeddings at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from msgspec import Meta, Struct
from msgspec.structs import replace

from toolkit.compress.calibration import Calibration, Texts
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, FUSED, Form, StepReport
from toolkit.compress.vocabulary import Trimmed, fixed, trimmed
from toolkit.extras import needs

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import NodeProto

    from toolkit.compress.nodes import Nodes

__all__ = ["TrimVocabulary"]

IDS, LOGITS = "input_ids", "logits"

Script = Literal[
    "arabic",
    "armenian",
    "bengali",
    "cjk",
    "cyrillic",
    "devanagari",
    "georgian",
    "greek",
    "hangul",
    "hebrew",
    "hiragana",
    "katakana",
    "latin",
    "tamil",
    "thai",
]


class TrimVocabulary(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="trim-vocabulary"
):
    """The tokenizer keeps the tokens that the calibration texts are split into; or, where `scripts` are named, those
    written in one of them and those without letters. The tables keep the rows of these tokens.

    No input is lost: what goes falls into smaller tokens, down to single characters, all of which stay. So for every
    text that is not cut, no character is part of an unknown token that was not part of one before. Other texts than
    those learned from become more tokens, which takes longer, and are cut at `max_tokens` earlier. A model that
    generates can still write every text, and what it gives no longer has rows for the tokens that went. A tokenizer for
    which this could not be held, and a model that answers token by token or whose graph does more with the numbers of
    tokens than look rows up, are refused.

    Abdaoui et al., "Load What You Need: Smaller Versions of Multilingual BERT", 2020; Williams et al., "Vocabulary
    Trimming: An Easy and Effective Method for SLM Acceleration", 2023, with the fall to characters instead of loss.
    """

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT, FUSED})
    gives: ClassVar[Form | None] = None
    calibrates: ClassVar[bool] = False  # a script needs no data; without one, texts are asked for

    scripts: Annotated[tuple[Script, ...], Meta(max_length=15)] = ()

    def retokenised(self, texts: Texts | None) -> Texts:
        """See Retokenises."""
        return self._trimmed(texts).texts

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """See Step. Raises CompressionError: vocabulary_fixed, calibration_missing."""
        with quiet(), needs("compress"):
            from toolkit.compress.nodes import Nodes
        graph = Nodes(model, "trim-vocabulary")
        rows = np.array(self._trimmed(data.texts).rows, np.int64)
        shapes: dict[str, tuple[int, int]] = {}
        generates = data.texts is not None and data.texts.generation is not None
        for name, users in _tables(graph, rows, tied=generates).items():
            table = graph.rows(name)
            kept = graph.add(f"{name}.trimmed", np.ascontiguousarray(table[rows]))
            for node in users:
                looks_up = node.op_type == "Gather"
                node.input[0 if looks_up else 1] = kept
                shapes[node.name] = (table.shape[1], len(rows)) if looks_up else (len(rows), table.shape[1])
        if generates:
            shapes |= _answering(graph, rows)
        after, report = graph.finished()
        return after, replace(report, shapes=shapes)

    def _trimmed(self, texts: Texts | None) -> Trimmed:
        if texts is None:
            raise fixed("the model takes no texts, or answers token by token")
        return trimmed(texts, self.scripts)


def _answering(graph: Nodes, rows: NDArray[np.int64]) -> dict[str, tuple[int, int]]:
    """Let a model that generates give logits of the tokens that stay. Returns the shape, (outputs, inputs), of a matrix
    of its own that it gives them by; nothing where it is a table."""
    (logits,) = [value for value in graph.model.graph.output if value.name == LOGITS]
    logits.type.tensor_type.shape.dim[-1].dim_value = len(rows)
    node = graph.maker(LOGITS)
    if node is None or node.op_type != "MatMul":
        return {}
    weight = graph.constant(node.input[1])
    if weight is None or weight.ndim != 2 or rows.max() >= weight.shape[1]:
        raise fixed("what gives the logits is no matrix with a column for each token")
    graph.put(node, 1, np.ascontiguousarray(weight[:, rows]))
    return {node.name: (len(rows), len(weight))}


def _tables(graph: Nodes, rows: NDArray[np.int64], *, tied: bool) -> dict[str, list[NodeProto]]:
    """The tables in which tokens are looked up, with the nodes that do. What else compares the numbers of tokens with
    one gets the one that it has now.

    Raises CompressionError "vocabulary_fixed" where there is no such table, or the numbers are used otherwise.
    """
    found = {
        name: nodes
        for name, nodes in graph.tables(tied=tied).items()
        if nodes and all(node.input[1] == IDS for node in nodes if node.op_type == "Gather")
    }
    if not found or any(rows.max() >= len(graph.rows(name)) for name in found):
        raise fixed("the graph has no table in which tokens are looked up and that nothing else uses")
    looking = {node.output[0] for nodes in found.values() for node in nodes if node.op_type == "Gather"}
    users = graph.users(IDS)
    if users is None:
        raise fixed(f"{IDS} leaves the graph, or is used inside of a branch")
    for node in users:
        if node.output[0] in looking or node.op_type in ("Shape", "Size"):
            continue
        at = 1 - list(node.input).index(IDS)
        compared = graph.constant(node.input[at]) if node.op_type == "Equal" else None
        if compared is None or compared.size != 1 or not (rows == compared.reshape(())).any():
            raise fixed(f"{node.name} uses the numbers of tokens")
        graph.put(node, at, np.full_like(compared, np.flatnonzero(rows == compared.reshape(()))[0]))
    return found
