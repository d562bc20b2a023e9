"""What the shape rules refuse: with the reason, and exactly where TensorRT refuses too."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from tfgraphopt.errors import EngineBuildFailed
from tfgraphopt.ir import DType, Graph, Shape, Tensor, TensorType, Value
from tfgraphopt_trt.builder import LayerBuilder, Pads
from tfgraphopt_trt.layerdef import LayerError
from tfgraphopt_trt.layers import layer_table
from trt_layers.harness import plan_size, run
from trt_layers.spatial_cases import convolved

F32, I32 = DType.FLOAT, DType.INT32
Inputs = list[tuple[DType, tuple[int | None, ...]]]


def add(inputs: Inputs, op: str, types: list[TensorType] | None = None, **attrs: Any) -> Graph:
    """A graph of one layer; ``types`` bypasses the shape rule."""
    graph = Graph("g", layer_table(), dialect="trt")
    values = [graph.add_input(f"x{i}", TensorType(d, Shape(s))) for i, (d, s) in enumerate(inputs)]
    graph.set_outputs(graph.add(op, values, attrs, name="layer", types=types).outputs)
    return graph


CONV = {"stride": (1, 1), "dilation": (1, 1)}
POOL = {"type": "max", "window": (3, 3), "stride": (1, 1)}
SLICE = {"start": (0, 0), "size": (2, 2), "stride": (1, 1)}
MISUSES: list[tuple[str, Inputs, str, dict[str, Any]]] = [
    ("differ in element type", [(F32, (2,)), (DType.HALF, (2,))], "trt.elementwise", {"operation": "sum"}),
    ("differ in rank", [(F32, (2, 2)), (F32, (2,))], "trt.elementwise", {"operation": "sum"}),
    ("do not broadcast", [(F32, (2, 3)), (F32, (2, 4))], "trt.elementwise", {"operation": "sum"}),
    ("not one of", [(F32, (2,))], "trt.unary", {"operation": "cbrt"}),
    ("does not take", [(I32, (2,))], "trt.unary", {"operation": "exp"}),
    ("does not take", [(I32, (2, 2)), (I32, (2, 2))], "trt.matrix_multiply", {}),
    ("columns meet", [(F32, (2, 3)), (F32, (4, 2))], "trt.matrix_multiply", {}),
    ("at least 2 dimensions", [(F32, (3,)), (F32, (3,))], "trt.matrix_multiply", {}),
    ("convolves 4 channels", [(F32, (1, 4, 8, 8)), (F32, (2, 3, 3, 3))], "trt.convolution", CONV),
    ("number of channels", [(F32, (1, None, 8, 8)), (F32, (2, 3, 3, 3))], "trt.convolution", CONV),
    ("4 or 5 dimensions", [(F32, (1, 3, 8)), (F32, (2, 3, 3))], "trt.convolution", {"stride": (1,), "dilation": (1,)}),
    ("more than the padded", [(F32, (1, 3, 2, 2)), (F32, (2, 3, 3, 3))], "trt.convolution", CONV),
    ("not a vector of 2", [(F32, (1, 3, 8, 8)), (F32, (2, 3, 3, 3)), (F32, (3,))], "trt.convolution", CONV),
    (
        "stride and a dilation",
        [(F32, (1, 3, 8, 8)), (F32, (3, 2, 3, 3))],
        "trt.deconvolution",
        {"stride": (2, 2), "dilation": (2, 2)},
    ),
    ("not smaller than the window", [(F32, (1, 3, 8, 8))], "trt.pooling", {**POOL, "pre": (3, 0), "post": (0, 0)}),
    ("does not take", [(I32, (1, 3, 8, 8))], "trt.pooling", POOL),
    ("count from 0", [(F32, (2, 3))], "trt.softmax", {"axis": -1}),
    ("over no axes", [(F32, (2, 3))], "trt.reduce", {"operation": "sum", "axes": ()}),
    ("axes of reduce sum repeat", [(F32, (2, 3))], "trt.reduce", {"operation": "sum", "axes": (1, 1)}),
    ("does not permute", [(F32, (2, 3))], "trt.transpose", {"perm": (0, 0)}),
    ("reshape of 6 elements", [(F32, (2, 3))], "trt.reshape", {"dims": (4, 2)}),
    ("more than one unknown", [(F32, (2, 3))], "trt.reshape", {"dims": (-1, -1)}),
    ("not of size one", [(F32, (2, 3))], "trt.squeeze", {"axes": (0,)}),
    ("contradict each other", [(F32, (2, 3)), (F32, (3, 3))], "trt.concatenation", {"axis": 1}),
    ("reads 0 to 4 of 4", [(F32, (4, 4))], "trt.slice", {**SLICE, "size": (5, 2)}),
    ("contradict each other", [(F32, (4, 4)), (I32, (3, 2))], "trt.gather", {"axis": 1, "batch_dims": 1}),
    ("does not take", [(F32, (4, 4)), (F32, (3,))], "trt.gather", {}),
    ("topk of 5 out of 4", [(F32, (4, 4))], "trt.topk", {"operation": "max", "k": 5, "axis": 1}),
    ("two dimensions or more", [(F32, (4,))], "trt.topk", {"operation": "max", "k": 1, "axis": 0}),
    ("1 to 3840", [(F32, (4, 5000))], "trt.topk", {"operation": "max", "k": 4000, "axis": 1}),
    ("at most 8", [(F32, (1,) * 8)], "trt.unsqueeze", {"axes": (0,)}),
    ("no '->'", [(F32, (2, 2))], "trt.einsum", {"equation": "ij"}),
    ("distinct lower-case", [(F32, (2, 2))], "trt.einsum", {"equation": "ii->i"}),
    (
        "last 3 axes",
        [(F32, (1, 4, 4, 4))],
        "trt.resize",
        {"size": (2, 4, 4, 4), "mode": "linear", "coordinates": "half_pixel"},
    ),
    ("takes 2 to 2 operands", [(F32, (2,))], "trt.elementwise", {"operation": "sum"}),
    ("scale of quantize along 3", [(F32, (2, 3)), (F32, (2,))], "trt.quantize", {"axis": 1}),
]


@pytest.mark.parametrize(("reason", "inputs", "op", "attrs"), MISUSES, ids=[f"{m[2]}-{m[0]}" for m in MISUSES])
def test_misuse_is_refused_with_the_reason(reason: str, inputs: Inputs, op: str, attrs: dict[str, Any]) -> None:
    with pytest.raises(LayerError, match=reason):
        add(inputs, op, **attrs)


DTYPES = (F32, DType.HALF, DType.BFLOAT16, DType.INT8, I32, DType.INT64, DType.BOOL)
MATRIX: dict[str, tuple[str, int, tuple[int, ...], dict[str, Any]]] = {
    "exp": ("trt.unary", 1, (2, 3), {"operation": "exp"}),
    "abs": ("trt.unary", 1, (2, 3), {"operation": "abs"}),
    "not": ("trt.unary", 1, (2, 3), {"operation": "not"}),
    "sum": ("trt.elementwise", 2, (2, 3), {"operation": "sum"}),
    "pow": ("trt.elementwise", 2, (2, 3), {"operation": "pow"}),
    "and": ("trt.elementwise", 2, (2, 3), {"operation": "and"}),
    "equal": ("trt.elementwise", 2, (2, 3), {"operation": "equal"}),
    "relu": ("trt.activation", 1, (2, 3), {"type": "relu"}),
    "tanh": ("trt.activation", 1, (2, 3), {"type": "tanh"}),
    "reduce": ("trt.reduce", 1, (2, 3), {"operation": "sum", "axes": (1,)}),
    "avg": ("trt.reduce", 1, (2, 3), {"operation": "avg", "axes": (1,)}),
    "matmul": ("trt.matrix_multiply", 2, (3, 3), {}),
    "softmax": ("trt.softmax", 1, (2, 3), {"axis": 1}),
    "transpose": ("trt.transpose", 1, (2, 3), {"perm": (1, 0)}),
    "concatenation": ("trt.concatenation", 2, (2, 3), {"axis": 0}),
    "topk": ("trt.topk", 1, (2, 3), {"operation": "max", "k": 1, "axis": 1}),
    "cumulative": ("trt.cumulative", 1, (2, 3), {"axis": 1}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MATRIX)
def test_the_element_types_are_those_that_tensorrt_takes(name: str) -> None:
    op, count, dims, attrs = MATRIX[name]
    for dtype in DTYPES:
        inputs: Inputs = [(dtype, dims)] * count
        assert _ours(inputs, op, attrs) == _theirs(inputs, op, attrs), dtype


def _ours(inputs: Inputs, op: str, attrs: dict[str, Any]) -> bool:
    try:
        add(inputs, op, **attrs)
    except LayerError:
        return False
    return True


def _theirs(inputs: Inputs, op: str, attrs: dict[str, Any]) -> bool:
    """Whether TensorRT builds the layer; the result types are the rule's for floats, in the other element type."""
    floats = add([(DType.BOOL if attrs.get("operation") in ("not", "and") else F32, s) for _, s in inputs], op, **attrs)
    types = [TensorType(_result(v, inputs[0][0]), v.shape) for v in floats.outputs]
    try:
        return plan_size(add(inputs, op, types, **attrs)) > 0
    except EngineBuildFailed:
        return False


def _result(value: Value, dtype: DType) -> DType:
    """Comparisons and indices keep their type, everything else has the operand's."""
    keeps = value.dtype in (I32, DType.BOOL)
    return value.dtype if keeps else dtype


@pytest.mark.parametrize(("dtype", "values"), [(DType.BFLOAT16, [1.5, -2.0]), (DType.INT64, [3]), (DType.BOOL, [True])])
def test_constants_of_every_type_are_built(dtype: DType, values: list[Any]) -> None:
    graph = Graph("g", layer_table(), dialect="trt")
    constant = graph.add("trt.constant", [], {"value": Tensor.of(np.array(values), dtype)}).output
    graph.set_outputs([graph.add("trt.concatenation", [constant, constant], {"axis": 0}).output])
    assert plan_size(graph) > 0


def test_int8_weights_are_dequantized_into_a_convolution() -> None:
    graph = Graph("g", layer_table(), dialect="trt")
    b, x = LayerBuilder(graph), graph.add_input("x", TensorType(F32, Shape((1, 4, 8, 8))))
    step = b.constant(np.array(0.1, np.float32))
    quantised = b.dequantize(b.quantize(x, step), step)
    codes = b.constant(np.random.default_rng(0).integers(-127, 127, (8, 4, 3, 3)).astype(np.int8))
    weights = b.dequantize(codes, b.constant(np.full(8, 0.01, np.float32)), axis=0)
    y = b.convolution(quantised, weights, stride=(1, 1), pads=Pads("same_upper"), dilation=(1, 1))
    graph.set_outputs([y])
    assert plan_size(graph) > 0
    (found,) = run(graph, [np.ones((1, 4, 8, 8), np.float32)])
    attributes = {"stride": (1, 1), "dilation": (1, 1), "padding": "same_upper"}
    kernel = codes.producer.attrs["value"].numpy().astype(np.float32) * 0.01  # type: ignore[union-attr]
    np.testing.assert_allclose(found, convolved(np.ones((1, 4, 8, 8)), kernel, None, attributes), rtol=1e-4, atol=1e-4)


def test_constants_of_types_that_tensorrt_does_not_have_are_refused() -> None:
    graph = Graph("g", layer_table(), dialect="trt")
    for value, name in itertools.product([np.float64(1), np.uint16(1)], ["c"]):
        with pytest.raises(LayerError, match="TensorRT has no"):
            graph.add("trt.constant", [], {"value": Tensor.of(value)}, name=name)
