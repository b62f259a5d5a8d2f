"""A tiny decoder with random weights, by the kernels that it runs on, and rows of it."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from policies.facts import Tensor
from toolkit.compress.calibration import Calibration
from toolkit.compress.quiet import quiet
from toolkit.compress.steps.dynamic_int8 import DynamicInt8
from toolkit.compress.steps.table_bits import TableBits
from toolkit.compress.steps.weight_bits import WeightBits
from toolkit.runtime.batching import Batching
from toolkit.runtime.session import Session
from toolkit.runtime.slots import Slots

with quiet():
    from toolkit.compress.sources.decoder_graph import Block, Decoder, Linear, graph_of

__all__ = ["KINDS", "VOCABULARY", "batching", "slots"]

VOCABULARY, HIDDEN, HEADS, KEY_HEADS, WIDTH, INNER, LAYERS, CONTEXT = 96, 64, 4, 2, 16, 96, 2, 256
# weights and table, and what activations are: MatMulNBits of both sizes at both of its levels, with sums of blocks
# ("offset"), floats, dynamic int8
KINDS = ("float", "w8-t8", "w4-t8", "w4-t8-offset", "w8-t8-float", "w4-t4-float", "int8")


@cache
def graph(kind: str) -> bytes:
    rng = np.random.default_rng(0)

    def linear(outputs: int, inputs: int) -> Linear:
        return Linear(rng.normal(0, 0.2, (outputs, inputs)).astype(np.float32))

    def norm() -> Any:
        return rng.normal(1, 0.1, HIDDEN).astype(np.float32)

    angles = np.outer(np.arange(CONTEXT), 10_000.0 ** (-np.arange(WIDTH // 2) / (WIDTH // 2)))
    model = graph_of(
        Decoder(
            heads=HEADS,
            key_heads=KEY_HEADS,
            width=WIDTH,
            epsilon=1e-5,
            activation="silu",
            table=rng.normal(0, 0.3, (VOCABULARY, HIDDEN)).astype(np.float32),
            blocks=tuple(
                Block(
                    before=norm(),
                    qkv=linear((HEADS + 2 * KEY_HEADS) * WIDTH, HIDDEN),
                    out=linear(HIDDEN, HEADS * WIDTH),
                    between=norm(),
                    gated=linear(2 * INNER, HIDDEN),
                    down=linear(HIDDEN, INNER),
                )
                for _ in range(LAYERS)
            ),
            norm=norm(),
            output=None,
            cosines=np.cos(angles).astype(np.float32),
            sines=np.sin(angles).astype(np.float32),
        )
    )
    nothing: Any = Calibration(None, "", [])  # type: ignore[arg-type]  # these steps learn from nothing
    if kind == "int8":
        return DynamicInt8().apply(model, nothing)[0]
    if kind != "float":
        weights, table, *more = kind.split("-")
        how: Any = {"compute": "float32" if more == ["float"] else "int8"}
        scales: Any = "offset" if more == ["offset"] else "mse"
        pressed = WeightBits(bits=int(weights[1:]), scales=scales, **how).apply(model, nothing)[0]  # type: ignore[arg-type]  # 4 or 8
        return TableBits(bits=int(table[1:]), least=1, **how).apply(pressed, nothing)[0]  # type: ignore[arg-type]  # 4 or 8
    return model


@cache
def session(kind: str) -> tuple[Any, tuple[Tensor, ...]]:
    made = Session(graph(kind), "0" * 64)
    return made._session, made.inputs


def slots(kind: str, rows: int, room: int) -> Slots:
    runtime, inputs = session(kind)
    return Slots(runtime, inputs, VOCABULARY, rows, room)


def batching(kind: str, *, rows: int = 4, least: int = 2, most: int = 1 << 30) -> Batching:
    runtime, inputs = session(kind)
    return Batching(runtime, inputs, VOCABULARY, rows=rows, least=least, most=most)
