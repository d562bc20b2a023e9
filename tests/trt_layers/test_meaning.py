"""Graphs of several layers run in TensorFlow, and shape rules under random parameters."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tfgraphopt.ir import DType, Graph, OpTable, Shape, TensorType
from tfgraphopt_trt.builder import LayerBuilder, Pads
from tfgraphopt_trt.layerdef import LayerError
from tfgraphopt_trt.layers import layer_table
from tfgraphopt_trt.layers.layout import LAYERS as LAYOUT
from tfgraphopt_trt.meaning import as_function, evaluate
from trt_layers.harness import LAYERS, Array, emitted, run
from trt_layers.spatial_cases import convolved, pooled


def block() -> tuple[Graph, dict[str, Array]]:
    """Convolution, ReLU, a residual sum, global average and a dense layer, for any batch size."""
    graph = Graph("block", layer_table(), dialect="trt")
    random = np.random.default_rng(0)
    weights = {
        n: random.normal(size=s).astype(np.float32) for n, s in {"k": (3, 3, 3, 3), "b": (3,), "w": (3, 5)}.items()
    }
    b, x = (
        LayerBuilder(graph, name="block/layer"),
        graph.add_input("x", TensorType(DType.FLOAT, Shape((None, 3, 8, 8)))),
    )
    kernel, bias = b.constant(weights["k"]), b.constant(weights["b"])
    y = b.convolution(x, kernel, bias, stride=(1, 1), pads=Pads("same_upper"), dilation=(1, 1))
    y = b.elementwise(b.activation(y, "relu"), x, "sum")
    y = b.reduce(y, "avg", (2, 3), False)
    graph.set_outputs([b.softmax(b.matrix_multiply(y, b.constant(weights["w"])), 1), y])
    return graph, weights


def expected(x: Array, weights: dict[str, Array]) -> tuple[Array, Array]:
    attributes = {"stride": (1, 1), "dilation": (1, 1), "padding": "same_upper"}
    y = (np.maximum(convolved(x, weights["k"], weights["b"], attributes), 0) + x).mean((2, 3))
    powers = np.exp(y @ weights["w"])
    return powers / powers.sum(1, keepdims=True), y


def test_a_graph_computes_what_its_layers_say() -> None:
    graph, weights = block()
    x = np.random.default_rng(1).normal(size=(2, 3, 8, 8)).astype(np.float32)
    for found, wanted in zip(evaluate(graph, LAYERS, [x]), expected(x, weights), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_traced_graph_has_the_static_shapes_of_the_ir() -> None:
    graph, weights = block()
    function = tf.function(as_function(graph, LAYERS), input_signature=[tf.TensorSpec((None, 3, 8, 8), tf.float32)])
    assert [s.shape.as_list() for s in function.get_concrete_function().structured_outputs] == [[None, 5], [None, 3]]
    x = np.ones((3, 3, 8, 8), np.float32)
    np.testing.assert_allclose(function(tf.constant(x))[1], expected(x, weights)[1], rtol=1e-4)


def test_wrong_feeds_and_unknown_layers_are_refused() -> None:
    graph, _ = block()
    with pytest.raises(LayerError, match="input %x takes"):
        evaluate(graph, LAYERS, [np.ones((2, 4, 8, 8), np.float32)])
    with pytest.raises(ValueError, match="zip"):
        evaluate(graph, LAYERS, [])
    with pytest.raises(LayerError, match=r"trt\.convolution"):
        as_function(graph, {layer.op: layer for layer in LAYOUT})


def test_the_table_knows_exactly_the_layers_that_it_was_given() -> None:
    table = layer_table(LAYOUT)
    assert isinstance(table, OpTable)
    assert "trt.reshape" in table
    assert "trt.convolution" not in table


# -- laws ------------------------------------------------------------------------------------------------------------

small = st.integers(1, 4)


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_any_convolution_has_the_announced_shape(data: st.DataObject) -> None:
    size, stride, dilation = (tuple(data.draw(st.integers(1, 3)) for _ in range(2)) for _ in range(3))
    same, groups = data.draw(st.booleans()), data.draw(st.integers(1, 3))
    pre, post = ((0, 0), (0, 0)) if same else (tuple(data.draw(st.integers(0, 2)) for _ in range(2)) for _ in range(2))
    dims = tuple(data.draw(st.integers(7, 10)) for _ in range(2))
    graph = Graph("g", layer_table(), dialect="trt")
    b, x = LayerBuilder(graph), graph.add_input("x", TensorType(DType.FLOAT, Shape((None, 2 * groups, *dims))))
    kernel = np.random.default_rng(0).normal(size=(groups * data.draw(small), 2, *size)).astype(np.float32)
    pads = Pads("same_upper") if same else Pads("explicit", pre, post)
    y = b.convolution(x, b.constant(kernel), stride=stride, pads=pads, dilation=dilation, groups=groups)
    graph.set_outputs([y])
    feed = np.random.default_rng(1).normal(size=(2, 2 * groups, *dims)).astype(np.float32)
    (found,) = run(graph, [feed])
    attributes = {
        "stride": stride,
        "dilation": dilation,
        "groups": groups,
        "padding": pads.mode,
        "pre": pre,
        "post": post,
    }
    np.testing.assert_allclose(found, convolved(feed, kernel, None, attributes), rtol=1e-3, atol=1e-4)
    assert y.shape.dims == (None, *found.shape[1:])
    emitted(graph)


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_any_pooling_has_the_announced_shape(data: st.DataObject) -> None:
    window, stride = (tuple(data.draw(small) for _ in range(2)) for _ in range(2))
    pre, post = (tuple(data.draw(st.integers(0, w - 1)) for w in window) for _ in range(2))
    kind, counted, same = (
        data.draw(st.sampled_from(("max", "average"))),
        data.draw(st.booleans()),
        data.draw(st.booleans()),
    )
    graph = Graph("g", layer_table(), dialect="trt")
    b, x = LayerBuilder(graph), graph.add_input("x", TensorType(DType.FLOAT, Shape((2, 3, 6, 7))))
    pads = Pads("same_upper") if same else Pads("explicit", pre, post)
    y = b.pooling(x, kind, window=window, stride=stride, pads=pads, count_padding=counted)
    graph.set_outputs([y])
    feed = np.random.default_rng(1).normal(size=(2, 3, 6, 7)).astype(np.float32)
    (found,) = run(graph, [feed])
    attributes = {
        "type": kind,
        "window": window,
        "stride": stride,
        "padding": pads.mode,
        "pre": pre,
        "post": post,
        "count_padding": counted,
    }
    np.testing.assert_allclose(found, pooled(feed, attributes), rtol=1e-4, atol=1e-5)
    assert y.shape.dims == found.shape
    emitted(graph)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_slice_is_what_numpy_indexing_gives(data: st.DataObject) -> None:
    dims = tuple(data.draw(small) for _ in range(2))
    start = tuple(data.draw(st.integers(0, d - 1)) for d in dims)
    stride = tuple(data.draw(st.sampled_from((-2, -1, 1, 2))) for _ in dims)
    room = [(d - 1 - s) // t if t > 0 else s // -t for d, s, t in zip(dims, start, stride, strict=True)]
    size = tuple(data.draw(st.integers(0, r + 1)) for r in room)
    graph = Graph("g", layer_table(), dialect="trt")
    b, x = LayerBuilder(graph), graph.add_input("x", TensorType(DType.INT32, Shape(dims)))
    as_tensors = data.draw(st.booleans())
    numbers = [b.constant(np.array(n, np.int64)) if as_tensors else n for n in (start, size, stride)]
    y = b.slice(x, *numbers)
    graph.set_outputs([y])
    feed = np.arange(dims[0] * dims[1], dtype=np.int32).reshape(dims)
    places = [s + np.arange(n) * t for s, n, t in zip(start, size, stride, strict=True)]
    np.testing.assert_array_equal(run(graph, [feed])[0], feed[np.ix_(*places)])
    assert y.shape.dims == size


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.data())
def test_any_reshape_has_the_announced_shape(dims: list[int], data: st.DataObject) -> None:
    unknown = [data.draw(st.booleans()) for _ in dims]
    target = data.draw(st.permutations(dims))
    written = [0 if i < len(dims) and dims[i] == t and data.draw(st.booleans()) else t for i, t in enumerate(target)]
    if data.draw(st.booleans()):
        written[data.draw(st.integers(0, len(written) - 1))] = -1
    assume(written.count(-1) <= 1)
    graph = Graph("g", layer_table(), dialect="trt")
    known = Shape(None if u else d for d, u in zip(dims, unknown, strict=True))
    b, x = LayerBuilder(graph), graph.add_input("x", TensorType(DType.FLOAT, known))
    y = b.reshape(x, written)
    graph.set_outputs([y])
    (found,) = run(graph, [np.zeros(dims, np.float32)])
    assert found.shape == tuple(target)
    assert y.shape.compatible(Shape(found.shape))
    emitted(graph)


class _WithoutSqueeze:
    """A network as TensorRT 10.0 has it: the real one, but squeeze and unsqueeze are missing."""

    def __init__(self, network: object) -> None:
        self._network = network

    def __getattr__(self, name: str) -> object:
        if name in ("add_squeeze", "add_unsqueeze"):
            raise AttributeError(name)
        return getattr(self._network, name)


@pytest.mark.parametrize(
    ("op", "dims", "axes"),
    [("squeeze", (None, 1, 5, 1), (1, 3)), ("unsqueeze", (None, 5), (0, 3)), ("squeeze", (1,), (0,))],
)
def test_squeezing_is_a_reshape_where_tensorrt_has_no_such_layer(
    op: str, dims: tuple[int | None, ...], axes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tfgraphopt_trt import emit

    graph = Graph("g", layer_table(), dialect="trt")
    x = graph.add_input("x", TensorType(DType.FLOAT, Shape(dims)))
    graph.set_outputs([getattr(LayerBuilder(graph), op)(x, axes)])
    plain = emit.Emitter.__init__

    def without(self: emit.Emitter, tensorrt: object, network: object, *rest: object) -> None:
        plain(self, tensorrt, _WithoutSqueeze(network), *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(emit.Emitter, "__init__", without)
    network = emitted(graph).network
    kinds = {str(network.get_layer(i).type) for i in range(network.num_layers)}
    assert any("SHUFFLE" in k for k in kinds)
    assert not any("SQUEEZE" in k for k in kinds)
