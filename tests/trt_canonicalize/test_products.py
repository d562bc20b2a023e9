"""Products of flattened tensors, as Keras writes dense layers of more than two dimensions, become products over the last axis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import tensorflow as tf
from trt_layers.harness import emitted

import tfgraphopt as tgo
from tfgraphopt.ir import DType, Graph, Shape, TensorType, Value
from tfgraphopt_trt.builder import LayerBuilder
from tfgraphopt_trt.layers import layer_table
from trt_canonicalize.test_canonicalize import check_same

Dims = Sequence[int | None]


class Dense:
    """``reshape(reshape(x, [product of the leading sizes, inner]) @ weights, [leading sizes, *rest])``, computed at run time."""

    def __init__(self, dims: Dims, made: int, turned: bool = False, dtype: DType = DType.FLOAT) -> None:
        self.graph = Graph("dense", layer_table(), dialect="trt")
        self.b = LayerBuilder(self.graph, name="dense")
        self.random = np.random.default_rng(3)
        self.x = self.graph.add_input("x", TensorType(dtype, Shape(dims)))
        self.feed = self.random.normal(size=[3 if d is None else d for d in dims]).astype(dtype.np)
        inner = dims[-1] or 3
        shape = (made, inner) if turned else (inner, made)
        self.weights = self.b.constant(self.random.normal(size=shape).astype(dtype.np))
        self.turned = turned

    def sizes(self) -> Value:
        """The leading sizes as int32, as Shape and GatherV2 give them."""
        lead = len(self.x.shape) - 1
        shape = self.b.cast(self.b.shape(self.x), DType.INT32)
        return self.b.gather(shape, self.b.constant(np.arange(lead, dtype=np.int32)))

    def vector(self, *numbers: int) -> Value:
        return self.b.constant(np.array(numbers, np.int32))

    def product(self) -> Value:
        """The matrix product."""
        count = self.b.reduce(self.sizes(), "prod", (0,), keep_dims=True)
        flat = self.b.reshape_to(self.x, self.b.concatenation([count, self.vector(self.x.shape[-1] or 3)], 0))
        return self.b.matrix_multiply(flat, self.weights, transpose_b=self.turned)

    def finished(self, *rest: int) -> Value:
        """The product in its final shape."""
        shape = self.b.concatenation([self.sizes(), self.vector(*rest)], 0)
        return self.b.reshape_to(self.product(), shape)

    def check(self, result: Value, tolerance: float = 2e-5) -> Counter[str]:
        """Numbers stay; the layers that are left."""
        self.graph.set_outputs([result])
        left = check_same(self.graph, [self.feed], tolerance=tolerance)
        assert emitted(self.graph).network.num_layers > 0
        return left


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("dims", [(None, 5, 4), (None, None, 4), (2, 3, 4, 5), (None, 3, None, 4)])
@pytest.mark.parametrize("dtype", [DType.FLOAT, DType.HALF])
def test_nothing_is_flattened(dims: Dims, turned: bool, dtype: DType) -> None:
    net = Dense(dims, 6, turned, dtype)
    left = net.check(net.finished(6), 5e-3 if dtype is DType.HALF else 2e-5)
    assert left == {"matrix_multiply": 1}


def test_the_last_axis_may_be_taken_apart() -> None:
    """Projections of an attention go on to heads."""
    net = Dense((None, None, 8), 12)
    assert net.check(net.finished(3, 4)) == {"matrix_multiply": 1, "reshape": 1}


def test_several_products_of_one_flattened_tensor() -> None:
    net = Dense((None, 5, 4), 6)
    count = net.b.reduce(net.sizes(), "prod", (0,), keep_dims=True)
    flat = net.b.reshape_to(net.x, net.b.concatenation([count, net.vector(4)], 0))
    shape = net.b.concatenation([net.sizes(), net.vector(6)], 0)
    ends = [net.b.reshape_to(net.b.matrix_multiply(flat, net.weights), shape) for _ in range(2)]
    left = net.check(net.b.elementwise(ends[0], ends[1], "sub"))
    assert left["reshape"] == 0


@pytest.mark.parametrize("rest", [(2, 6), (12,)])
def test_other_shapes_are_left_alone(rest: tuple[int, ...]) -> None:
    """The result puts rows together, or is not what was flattened."""
    net = Dense((2, 6, 4), 6)
    left = net.check(net.b.reshape(net.product(), (-1, *rest) if len(rest) > 1 else (6, 12)))
    assert left["reshape"] >= 1


def test_a_keras_like_dense_layer_of_a_model() -> None:
    """Through the whole pipeline: one product and a sum, no arithmetic with shapes."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, None, 8], name="x")
        w = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
        tf.nn.relu(tf.tensordot(x, w, 1) + np.ones(6, np.float32), name="y")
    ranges = {"x": tgo.ShapeRange((1, 1, 8), (2, 5, 8), (4, 9, 8))}
    config = tgo.Config(engine="none", minimum_segment_size=1, input_shapes=ranges)
    result = tgo.optimize_graph_def(graph.as_graph_def(), ["y"], config)
    (body,) = result.module.lowered.values()
    layers = Counter(n.op for n in body if n.op != "trt.constant")
    assert layers == {"trt.matrix_multiply": 1, "trt.elementwise": 1, "trt.activation": 1}
