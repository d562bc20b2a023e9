"""A handful of layers and graphs to build engines of; independent of the shipped layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfgraphopt.ir import Attrs, DType, Graph, OpTable, Shape, Tensor, TensorType, Value
from tfgraphopt_trt.layerdef import LayerDef


def _no_meaning(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    raise NotImplementedError("these layers are only built")


def _constant(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    return [attrs["value"].type]


def _same(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    return [inputs[0].type]


def _declared(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    return [TensorType(attrs["dtype"], attrs["shape"])]


def _transposed(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    return [TensorType(inputs[0].dtype, Shape(inputs[0].shape[p] for p in attrs["perm"]))]


def _emit_relu(e: Any, node: Any) -> list[Any]:
    return [e.add(e.network.add_activation(e.tensor(node.inputs[0]), e.trt.ActivationType.RELU)).get_output(0)]


def _emit_sum(e: Any, node: Any) -> list[Any]:
    a, b = (e.tensor(v) for v in node.inputs)
    return [e.add(e.network.add_elementwise(a, b, e.trt.ElementWiseOperation.SUM)).get_output(0)]


def _emit_matmul(e: Any, node: Any) -> list[Any]:
    a, b = (e.tensor(v) for v in node.inputs)
    plain = e.trt.MatrixOperation.NONE
    return [e.add(e.network.add_matrix_multiply(a, plain, b, plain)).get_output(0)]


def _emit_transpose(e: Any, node: Any) -> list[Any]:
    layer = e.network.add_shuffle(e.tensor(node.inputs[0]))
    layer.first_transpose = e.trt.Permutation(list(node.attrs["perm"]))
    return [e.add(layer).get_output(0)]


def _emit_reshape(e: Any, node: Any) -> list[Any]:
    layer = e.network.add_shuffle(e.tensor(node.inputs[0]))
    layer.set_input(1, e.tensor(node.inputs[1]))
    return [e.add(layer).get_output(0)]


def _emit_conv(e: Any, node: Any) -> list[Any]:
    kernel, bias = (e.weights(v) for v in node.inputs[1:])
    layer = e.network.add_convolution_nd(
        e.tensor(node.inputs[0]), kernel.shape[0], e.dims(kernel.shape[2:]), e.as_weights(kernel), e.as_weights(bias)
    )
    return [e.add(layer).get_output(0)]


def _emit_non_zero(e: Any, node: Any) -> list[Any]:
    return [e.add(e.network.add_non_zero(e.tensor(node.inputs[0]))).get_output(0)]


def _emit_passing(e: Any, node: Any) -> list[Any]:
    return [e.tensor(node.inputs[0])]


def _emit_forgotten(e: Any, node: Any) -> list[Any]:
    return [e.add(e.network.add_activation(e.tensor(node.inputs[0]), 17)).get_output(0)]


def _emit_abort(e: Any, node: Any) -> list[Any]:
    import os

    os.abort()


def _emit_hang(e: Any, node: Any) -> list[Any]:
    import time

    time.sleep(600)
    return []


def _emit_greedy(e: Any, node: Any) -> list[Any]:
    import time

    hoard = np.ones(2**27)  # 1 GiB
    time.sleep(60)
    return [hoard]


def _emit_talkative(e: Any, node: Any) -> list[Any]:
    import sys

    print("printed by a library")
    assert "tensorflow" not in sys.modules
    return _emit_relu(e, node)


LAYERS = {
    layer.op: layer
    for layer in (
        LayerDef("trt.constant", _constant, _no_meaning, _emit_passing),
        LayerDef("t.relu", _same, _no_meaning, _emit_relu),
        LayerDef("t.sum", _same, _no_meaning, _emit_sum),
        LayerDef("t.matmul", _declared, _no_meaning, _emit_matmul),
        LayerDef("t.transpose", _transposed, _no_meaning, _emit_transpose),
        LayerDef("t.reshape", _declared, _no_meaning, _emit_reshape),
        LayerDef("t.conv", _declared, _no_meaning, _emit_conv),
        LayerDef("t.non_zero", _declared, _no_meaning, _emit_non_zero),
        LayerDef("t.passing", _same, _no_meaning, _emit_passing),
        LayerDef("t.claim", _declared, _no_meaning, _emit_relu),
        LayerDef("t.forgotten", _same, _no_meaning, _emit_forgotten),
        LayerDef("t.abort", _same, _no_meaning, _emit_abort),
        LayerDef("t.hang", _same, _no_meaning, _emit_hang),
        LayerDef("t.greedy", _same, _no_meaning, _emit_greedy),
        LayerDef("t.talkative", _same, _no_meaning, _emit_talkative),
    )
}

F32 = DType.FLOAT


def graph(name: str = "TRTEngineOp_000_000") -> Graph:
    """An empty lowered body."""
    return Graph(name, OpTable(layer.op_def() for layer in LAYERS.values()), "trt")


def typed(dtype: DType, *dims: int | None) -> TensorType:
    """A tensor type."""
    return TensorType(dtype, Shape(dims))


def declare(result: TensorType) -> dict[str, Any]:
    """Attributes of a layer whose shape rule says what it is told."""
    return {"dtype": result.dtype, "shape": result.shape}


def constant(g: Graph, array: Any, name: str = "weights") -> Value:
    """A constant node."""
    return g.add("trt.constant", [], {"value": Tensor.of(array)}, name=name).output


def one(op: str, batch: int | None = None, name: str = "block/relu") -> Graph:
    """``op`` applied to an input [batch, 4]."""
    g = graph()
    x = g.add_input("x", typed(F32, batch, 4))
    g.set_outputs([g.add(op, [x], name=name, origin=["user/" + name]).output])
    return g


def dense(units: int = 8, seed: int = 0) -> Graph:
    """relu(x @ w + b) with an unknown batch size."""
    rng = np.random.default_rng(seed)
    g = graph()
    x = g.add_input("x", typed(F32, None, 4))
    w = constant(g, rng.standard_normal((4, units)).astype(np.float32), "dense/kernel")
    b = constant(g, rng.standard_normal((1, units)).astype(np.float32), "dense/bias")
    types = declare(typed(F32, None, units))
    product = g.add("t.matmul", [x, w], types, name="dense/MatMul", origin=["dense/MatMul"]).output
    biased = g.add("t.sum", [product, b], name="dense/BiasAdd", origin=["dense/BiasAdd"]).output
    g.set_outputs([g.add("t.relu", [biased], name="dense/Relu", origin=["dense/Relu"]).output], ["y"])
    return g


def conv() -> Graph:
    """NHWC in and out around an NCHW convolution, batch unknown: two transposes."""
    rng = np.random.default_rng(1)
    g = graph()
    x = g.add_input("image", typed(F32, None, 8, 8, 3))
    kernel = constant(g, rng.standard_normal((5, 3, 3, 3)).astype(np.float32), "conv/kernel")
    bias = constant(g, np.zeros(5, np.float32), "conv/bias")
    channels_first = g.add("t.transpose", [x], {"perm": (0, 3, 1, 2)}, name="conv/in").output
    types = declare(typed(F32, None, 5, 6, 6))
    y = g.add("t.conv", [channels_first, kernel, bias], types, name="conv/Conv2D").output
    back = g.add("t.transpose", [y], {"perm": (0, 2, 3, 1)}, name="conv/out").output
    g.set_outputs([back])
    return g
