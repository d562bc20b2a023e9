"""Loops and conditionals, against the same in numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfgraphopt.ir import Body, DType, Graph, Shape, Tensor, TensorType, Value
from tfgraphopt_trt.layers import layer_table
from trt_layers.cases import data
from trt_layers.harness import Array, Case, Const, Varying

Write = Callable[[Graph, Sequence[Value]], Sequence[Value]]


def body(write: Write, *operands: tuple[DType, tuple[int, ...]]) -> Varying:
    """A body for operands of these types, whose dimensions it knows as far as the case does."""

    def make(unknown: bool) -> Body:
        graph = Graph("body", layer_table(), dialect="trt")
        types = [TensorType(dtype, Shape(None if unknown else d for d in dims)) for dtype, dims in operands]
        graph.set_outputs(write(graph, [graph.add_input(f"x{i}", t) for i, t in enumerate(types)]))
        return Body(graph)

    return Varying(make)


def layer(graph: Graph, op: str, *inputs: Value, **attributes: Any) -> Value:
    return graph.add(f"trt.{op}", inputs, attributes).output


def constant(graph: Graph, value: Any) -> Value:
    return layer(graph, "constant", value=Tensor.of(np.asarray(value)))


def _relu(graph: Graph, values: Sequence[Value]) -> Sequence[Value]:
    return [layer(graph, "activation", values[0], type="relu", alpha=0.0, beta=0.0)]


def _negative(graph: Graph, values: Sequence[Value]) -> Sequence[Value]:
    return [layer(graph, "unary", values[0], operation="neg")]


def _step(graph: Graph, values: Sequence[Value]) -> Sequence[Value]:
    """Half the state plus the slice and what was captured, which is stacked too."""
    state, captured, part = values
    half = layer(graph, "elementwise", state, constant(graph, np.full((1, 1), 0.5, np.float32)), operation="prod")
    moved = layer(graph, "elementwise", half, part, operation="sum")
    following = layer(graph, "elementwise", moved, captured, operation="sum")
    return [following, following]


def _steps(state: Array, captured: Array, parts: Array) -> tuple[Array, Array]:
    rows = []
    for part in parts:
        state = state * np.float32(0.5) + part + captured
        rows.append(state)
    return state, np.stack(rows)


def _doubled(graph: Graph, values: Sequence[Value]) -> Sequence[Value]:
    return [layer(graph, "elementwise", values[0], values[0], operation="sum")]


def _small(graph: Graph, values: Sequence[Value]) -> Sequence[Value]:
    axes = tuple(range(len(values[0].shape)))
    total = layer(graph, "reduce", values[0], operation="sum", axes=axes, keep_dims=False)
    return [layer(graph, "elementwise", total, constant(graph, np.float32(100)), operation="less")]


def _doubled_while_small(x: Array) -> Array:
    while x.sum() < 100:
        x = x + x
    return x


def _loops() -> list[Case]:
    f = DType.FLOAT
    x, captured, parts = data(2, 3), data(2, 3, seed=1), data(4, 2, 3, seed=2)
    step = body(_step, (f, (2, 3)), (f, (2, 3)), (f, (2, 3)))
    counted = {"counted": True, "states": 1, "iterated": 1, "body": step}
    positive = np.abs(x) + np.float32(1)
    doubled = {"states": 1, "body": body(_doubled, (f, (2, 3))), "condition": body(_small, (f, (2, 3)))}
    return [
        Case(
            "loop-count", "trt.loop", (Const(np.array(4, np.int64)), x, captured, parts), counted,
            lambda _, *arrays: _steps(*arrays),
        ),
        Case("loop-while", "trt.loop", (positive,), doubled, _doubled_while_small),
        Case("loop-not-once", "trt.loop", (positive * np.float32(100),), doubled, lambda x: x),
    ]  # fmt: skip


def _conditionals() -> list[Case]:
    types = ((DType.FLOAT, (2, 3)),)
    branches = {"then": body(_relu, *types), "otherwise": body(_negative, *types)}
    x = data(2, 3)
    return [
        Case("conditional-true", "trt.conditional", (np.array(True), x), branches, lambda c, x: np.maximum(x, 0)),
        Case("conditional-false", "trt.conditional", (np.array(False), x), branches, lambda c, x: -x),
    ]


CONTROL = [*_loops(), *_conditionals()]
