"""What is known of shape tensors, against TensorFlow computing them and against TensorRT's own shape inference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfgraphopt.ir import DType, Graph, Shape, TensorType, Value
from tfgraphopt_trt.builder import LayerBuilder
from tfgraphopt_trt.layers import layer_table
from tfgraphopt_trt.shape_values import known_values
from trt_layers.harness import emitted, run


def image() -> tuple[Graph, LayerBuilder, Value]:
    """A graph whose input has an unknown batch size."""
    graph = Graph("g", layer_table(), dialect="trt")
    x = graph.add_input("x", TensorType(DType.FLOAT, Shape((None, 3, 8, 4))))
    return graph, LayerBuilder(graph), x


def test_the_shape_of_a_tensor_is_known_as_far_as_its_dimensions() -> None:
    _, b, x = image()
    assert known_values(b.shape(x)) == (None, 3, 8, 4)


def test_arithmetic_keeps_what_is_unknown_apart() -> None:
    _, b, x = image()
    doubled = b.elementwise(b.cast(b.shape(x), DType.INT32), b.constant(np.array([2], np.int32)), "prod")
    assert known_values(doubled) == (None, 6, 16, 8)
    assert known_values(b.reduce(b.slice(doubled, (1,), (3,)), "prod", (0,), False)) == (6 * 16 * 8,)
    assert known_values(b.reduce(doubled, "sum", (0,), False)) == (None,)


def test_integers_divide_as_in_tensorrt() -> None:
    _, b, _ = image()
    seven, two = b.constant(np.array([-7], np.int64)), b.constant(np.array([2], np.int64))
    assert known_values(b.elementwise(seven, two, "div")) == (-3,)
    assert known_values(b.elementwise(seven, two, "floor_div")) == (-4,)


def test_a_number_that_does_not_fit_a_narrower_type_is_not_known() -> None:
    _, b, _ = image()
    large = b.constant(np.array([2**40, 5], np.int64))
    assert known_values(b.cast(large, DType.INT32)) == (None, 5)


def test_nothing_is_claimed_of_floats_of_inputs_and_of_matrices() -> None:
    graph, b, x = image()
    assert known_values(x) is None
    assert known_values(b.constant(np.array([1.0], np.float32))) is None
    lengths = graph.add_input("n", TensorType(DType.INT32, Shape((2,))))
    assert known_values(lengths) == (None, None)
    assert known_values(graph.add_input("m", TensorType(DType.INT32, Shape((None,))))) is None


def test_a_reshape_by_the_own_shape_has_the_dimensions_that_tensorrt_infers() -> None:
    graph, b, x = image()
    batch = b.slice(b.shape(x), (0,), (1,))
    wanted = b.concatenation([batch, b.constant(np.array([-1, 4], np.int64))], 0)
    y = b.reshape_to(x, wanted)
    assert y.shape.dims == (None, None, 4)
    z = b.reshape_to(x, b.concatenation([batch, b.constant(np.array([24, 4], np.int64))], 0))
    assert z.shape.dims == (None, 24, 4)
    doubled = b.elementwise(b.shape(x), b.constant(np.array([1, 1, 2, 2])), "prod")
    r = b.resize(x, b.gather(doubled, b.constant(np.arange(4, dtype=np.int32))), "nearest", "asymmetric")
    assert r.shape.dims == (None, 3, 16, 8)
    graph.set_outputs([y, z, r])
    emitted(graph)
    feeds = np.ones((2, 3, 8, 4), np.float32)
    assert [a.shape for a in run(graph, [feeds])] == [(2, 24, 4), (2, 24, 4), (2, 3, 16, 8)]


OPERATIONS = ("sum", "sub", "prod", "max", "min", "div", "floor_div")


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(-5, 5)), max_size=5),
    st.integers(0, 3),
    st.integers(1, 4),
)
def test_known_numbers_are_the_ones_that_the_layers_compute(
    steps: list[tuple[str, int]], first: int, count: int
) -> None:
    graph, b, x = image()
    value = b.shape(x)
    for operation, number in steps:
        if number or "div" not in operation:
            value = b.elementwise(value, b.constant(np.array([number], np.int64)), operation)
    value = b.slice(value, (first,), (min(count, 4 - first),))
    graph.set_outputs([value])
    (computed,) = run(graph, [np.zeros((5, 3, 8, 4), np.float32)])
    known = known_values(value)
    assert known is not None
    assert len(known) == len(computed)
    assert all(k is None or k == c for k, c in zip(known, computed, strict=True))
    assert None not in known or (known[0] is None and first == 0) or not any(k is None for k in known[1:])


@pytest.mark.parametrize("dims", [(4, 0, -1), (-1, 0, 4), (0, 0, 0, 0), (0, -1)])
def test_a_reshape_that_copies_dimensions_agrees_with_tensorrt(dims: tuple[int, ...]) -> None:
    graph = Graph("g", layer_table(), dialect="trt")
    b, x = LayerBuilder(graph), graph.add_input("x", TensorType(DType.FLOAT, Shape((4, None, 8, 4))))
    graph.set_outputs([b.reshape(x, dims)])
    emitted(graph)
    (found,) = run(graph, [np.zeros((4, 6, 8, 4), np.float32)])
    assert Shape(found.shape).compatible(graph.outputs[0].shape)
