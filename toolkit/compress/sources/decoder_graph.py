"""A decoder written as an ONNX graph: one operator for attention with its cache and its rotary positions.

The graph is written, not traced: a traced attention is a dozen nodes that copy the cache at each token. What stands
here is ONNX Runtime's GroupQueryAttention, which turns queries and keys by their position (Su et al., "RoFormer",
2021), lets heads share keys and values (Ainslie et al., "GQA", 2023), and adds to a cache in place where the caller
binds one buffer as past and present. A table that is tied to the output is stored once. Where positions are learned, as
in GPT-2, nothing is turned: they are looked up, and the graph finds out which by the mask.

Inputs: input_ids (batch, tokens), attention_mask (batch, past + tokens) of ones, num_logits_to_keep (1,): how many of
the last tokens have logits, 0 for all; past_key_values.N.key and .value (batch, heads, past, width). Outputs: logits
(batch, kept, vocabulary), present.N.key and .value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import onnx
from msgspec import Struct
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from toolkit.compress.nodes import RUNTIME
from toolkit.compress.serialise import serialise

__all__ = ["Activation", "Block", "Decoder", "Linear", "graph_of"]

Numbers = NDArray[np.float32]
Activation = Literal["silu", "gelu_tanh"]
OPSET = 20
IR = 10
ALL = np.iinfo(np.int64).max


class Linear(Struct, frozen=True):
    """`weight` (outputs, inputs), `bias` (outputs,) or None."""

    weight: Numbers
    bias: Numbers | None = None


class Block(Struct, frozen=True, kw_only=True):
    """A layer: norms (hidden,), projections, and where queries and keys are normalised by head, those norms (width,).
    `qkv` gives queries, keys and values, `gated` gate and up, one behind the other, or up alone, which nothing gates.
    A norm with a bias (hidden,) is one about the mean."""

    before: Numbers
    before_bias: Numbers | None = None
    qkv: Linear
    query_norm: Numbers | None = None
    key_norm: Numbers | None = None
    out: Linear
    between: Numbers
    between_bias: Numbers | None = None
    gated: Linear
    down: Linear


class Decoder(Struct, frozen=True, kw_only=True):
    """A decoder as numbers. `cosines` and `sines` (positions, width / 2) by position, or in their stead `positions`
    (positions, hidden), which are added to the tokens; `output` (vocabulary, hidden) is None where the table is tied to
    it; `window` how many tokens back attention sees, None for all."""

    heads: int
    key_heads: int
    width: int
    epsilon: float
    activation: Activation
    table: Numbers
    table_factor: float = 1.0
    blocks: tuple[Block, ...]
    norm: Numbers
    norm_bias: Numbers | None = None
    output: Numbers | None
    cosines: Numbers | None = None
    sines: Numbers | None = None
    positions: Numbers | None = None
    window: int | None = None


def graph_of(decoder: Decoder) -> bytes:
    """The ONNX file."""
    return _Writer(decoder).written()


class _Writer:
    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, Numbers | NDArray[np.int64]] = {}

    def written(self) -> bytes:
        one = self._decoder
        self._lengths()
        hidden = self._node("Gather", [self._constant("embed_tokens.weight", one.table), "input_ids"], "embed_tokens")
        if one.table_factor != 1:
            factor = self._constant("embed_tokens.factor", np.array(one.table_factor, np.float32))
            hidden = self._node("Mul", [hidden, factor], "embed_tokens.scaled")
        if one.positions is not None:
            hidden = self._node("Add", [hidden, self._positions(one.positions)], "embedded")
        added = ""  # what a layer gives, before it is added to what came into the layer
        for number, block in enumerate(one.blocks):
            at = f"layers.{number}"
            hidden, normal = self._added(hidden, added, block.before, block.before_bias, f"{at}.before")
            attended = self._attention(at, number, block, normal)
            hidden, normal = self._added(hidden, attended, block.between, block.between_bias, f"{at}.between")
            added = self._feed_forward(at, block, normal)
        hidden = self._node("Add", [hidden, added], "hidden")
        self._logits(hidden)
        return self._file()

    def _lengths(self) -> None:
        """The length of each row, less one, and that of the longest, as the operator wants them."""
        one = self._constant("one", np.array([1], np.int64))
        kept = self._node("ReduceSum", ["attention_mask", one], "mask.sum", keepdims=0)
        less = self._node("Sub", [kept, one], "mask.less")
        self._node("Cast", [less], "seqlens_k", to=TensorProto.INT32)
        shape = self._node("Shape", ["attention_mask"], "mask.shape", start=1, end=2)
        total = self._node("Cast", [shape], "mask.total", to=TensorProto.INT32)
        self._node("Squeeze", [total], "total_length")

    def _positions(self, table: Numbers) -> str:
        """Learned positions (batch, tokens, hidden) of the tokens of each row, which has others before or has not.

        A row that is shorter than its tokens is a prompt beside longer ones, and begins at zero as they do. One behind
        the context is that of a row that is run for others' sake: nobody reads what comes of it.
        """
        none, one = self._constant("none", np.array(0, np.int64)), self._constant("one", np.array([1], np.int64))
        tokens = self._node("Squeeze", [self._node("Shape", ["input_ids"], "ids.shape", start=1, end=2)], "tokens")
        before = self._node("Max", [self._node("Sub", ["mask.sum", tokens], "before.all"), none], "before")
        along = self._node("Range", [none, tokens, self._constant("step", np.array(1, np.int64))], "along")
        places = self._node("Add", [self._node("Unsqueeze", [before, one], "before.rows"), along], "places.all")
        places = self._node("Min", [places, self._constant("last", np.array(len(table) - 1, np.int64))], "places")
        return self._node("Gather", [self._constant("embed_positions.weight", table), places], "embed_positions")

    def _attention(self, at: str, number: int, block: Block, hidden: str) -> str:
        one = self._decoder
        turned = []
        if one.cosines is not None and one.sines is not None:
            turned = [self._constant("cosines", one.cosines), self._constant("sines", one.sines)]
        packed = self._linear(hidden, block.qkv, f"{at}.qkv")
        taken = [packed, "", ""]
        if block.query_norm is not None and block.key_norm is not None:
            taken = self._normalised(at, packed, block.query_norm, block.key_norm)
        past = [f"past_key_values.{number}.{kind}" for kind in ("key", "value")]
        present = [f"present.{number}.{kind}" for kind in ("key", "value")]
        made = helper.make_node(
            "GroupQueryAttention",
            [*taken, *past, "seqlens_k", "total_length", *turned],
            [f"{at}.attention", *present],
            name=f"{at}.attention",
            domain=RUNTIME,
            num_heads=one.heads,
            kv_num_heads=one.key_heads,
            do_rotary=int(bool(turned)),
            local_window_size=-1 if one.window is None else one.window,  # its default
        )
        self._nodes.append(made)
        return self._linear(made.output[0], block.out, f"{at}.out")

    def _normalised(self, at: str, packed: str, query: Numbers, key: Numbers) -> list[str]:
        """Queries and keys, each head of which is brought to one length (Henry et al., 2020), and values."""
        one = self._decoder
        sizes = np.array([one.heads, one.key_heads, one.key_heads], np.int64) * one.width
        names = [f"{at}.{kind}" for kind in ("queries", "keys", "values")]
        split = self._constant(f"{at}.sizes", sizes)
        self._nodes.append(helper.make_node("Split", [packed, split], names, name=f"{at}.split", axis=-1))
        for place, norm in ((0, query), (1, key)):
            heads = self._constant(f"{names[place]}.heads", np.array([0, 0, -1, one.width], np.int64))
            apart = self._node("Reshape", [names[place], heads], f"{names[place]}.apart")
            brought = self._norm(apart, norm, f"{names[place]}.norm")
            whole = self._constant(f"{names[place]}.whole", np.array([0, 0, int(sizes[place])], np.int64))
            names[place] = self._node("Reshape", [brought, whole], f"{names[place]}.normal")
        return names

    def _feed_forward(self, at: str, block: Block, hidden: str) -> str:
        half = block.down.weight.shape[1]
        if len(block.gated.weight) == half:
            up = self._linear(hidden, block.gated, f"{at}.up")
            return self._linear(self._active(at, up), block.down, f"{at}.down")
        both = self._linear(hidden, block.gated, f"{at}.gated")
        gate, up = f"{at}.gate", f"{at}.up"
        sizes = self._constant("gated.sizes", np.array([half, half], np.int64))
        self._nodes.append(helper.make_node("Split", [both, sizes], [gate, up], name=f"{at}.halves", axis=-1))
        product = self._node("Mul", [self._active(at, gate), up], f"{at}.product")
        return self._linear(product, block.down, f"{at}.down")

    def _active(self, at: str, gate: str) -> str:
        if self._decoder.activation == "silu":
            return self._node("Mul", [gate, self._node("Sigmoid", [gate], f"{at}.sigmoid")], f"{at}.silu")
        return self._node("Gelu", [gate], f"{at}.gelu", approximate="tanh")

    def _logits(self, hidden: str) -> None:
        """Of the last tokens that are asked for; what is not asked for is not multiplied by the large table."""
        one = self._decoder
        first = self._node("Neg", ["num_logits_to_keep"], "kept.first")
        end, axis = self._constant("kept.end", np.array([ALL])), self._constant("one", np.array([1], np.int64))
        kept = self._node("Slice", [hidden, first, end, axis], "kept")
        last = self._norm(kept, one.norm, "norm", one.norm_bias)
        if one.output is None:
            self._node("FusedMatMul", [last, "embed_tokens.weight"], "logits", domain=RUNTIME, transB=1)
        else:
            weight = self._constant("lm_head.weight", np.ascontiguousarray(one.output.T))
            self._node("MatMul", [last, weight], "logits", name="lm_head")

    def _added(self, hidden: str, added: str, weight: Numbers, bias: Numbers | None, name: str) -> tuple[str, str]:
        """The sum, and the same normalised, by one operator."""
        if not added:
            return hidden, self._norm(hidden, weight, name, bias)
        total = f"{name}.sum"
        made = helper.make_node(
            "SkipSimplifiedLayerNormalization" if bias is None else "SkipLayerNormalization",
            [hidden, added, self._constant(f"{name}.weight", weight), *self._bias(name, bias)],
            [name, "", "", total],
            name=name,
            domain=RUNTIME,
            epsilon=self._decoder.epsilon,
        )
        self._nodes.append(made)
        return total, name

    def _norm(self, hidden: str, weight: Numbers, name: str, bias: Numbers | None = None) -> str:
        """Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019; with a bias Ba et al., "Layer
        Normalization", 2016."""
        taken = [hidden, self._constant(f"{name}.weight", weight), *self._bias(name, bias)]
        operator = "SimplifiedLayerNormalization" if bias is None else "LayerNormalization"
        return self._node(operator, taken, name, axis=-1, epsilon=self._decoder.epsilon, stash_type=1)

    def _bias(self, name: str, bias: Numbers | None) -> list[str]:
        return [] if bias is None else [self._constant(f"{name}.bias", bias)]

    def _linear(self, hidden: str, linear: Linear, name: str) -> str:
        weight = self._constant(f"{name}.weight", np.ascontiguousarray(linear.weight.T))
        if linear.bias is None:
            return self._node("MatMul", [hidden, weight], name)
        product = self._node("MatMul", [hidden, weight], f"{name}.product", name=name)
        return self._node("Add", [product, self._constant(f"{name}.bias", linear.bias)], name, name=f"{name}.added")

    def _node(
        self, operator: str, inputs: list[str], output: str, *, domain: str = "", name: str = "", **attributes: Any
    ) -> str:
        made = helper.make_node(operator, inputs, [output], name=name or output, domain=domain, **attributes)
        self._nodes.append(made)
        return output

    def _constant(self, name: str, value: Numbers | NDArray[np.int64]) -> str:
        self._constants[name] = value
        return name

    def _file(self) -> bytes:
        one = self._decoder
        cache = ("batch", one.key_heads, "past", one.width)
        grown = ("batch", one.key_heads, "total", one.width)
        integers, floats = TensorProto.INT64, TensorProto.FLOAT
        given: Mapping[str, tuple[Any, ...]] = {
            "input_ids": ("batch", "tokens"),
            "attention_mask": ("batch", "total"),
            "num_logits_to_keep": (1,),
        }
        names = [f"{number}.{kind}" for number in range(len(one.blocks)) for kind in ("key", "value")]
        inputs = [helper.make_tensor_value_info(name, integers, shape) for name, shape in given.items()]
        inputs += [helper.make_tensor_value_info(f"past_key_values.{name}", floats, cache) for name in names]
        outputs = [helper.make_tensor_value_info("logits", floats, ("batch", "kept", len(one.table)))]
        outputs += [helper.make_tensor_value_info(f"present.{name}", floats, grown) for name in names]
        constants = [numpy_helper.from_array(value, name) for name, value in self._constants.items()]
        graph = helper.make_graph(self._nodes, "decoder", inputs, outputs, constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(RUNTIME, 1)]
        return serialise(helper.make_model(graph, opset_imports=opsets, ir_version=IR))
