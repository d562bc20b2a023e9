"""The profiles of segments: derived from the model's ranges, right at min, opt, max and between, by running and by building."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from main_job.jobs import in_session

import tfgraphopt as tgo
import tfgraphopt.runtime
from tfgraphopt.errors import ConfigError
from tfgraphopt_trt.layers import layer_map
from tfgraphopt_trt.meaning import evaluate

IMAGES = tgo.ShapeRange((1, 8, 8, 3), (2, 16, 16, 3), (4, 32, 24, 3))


def placeholder(dims: list[int | None], name: str = "x", dtype: Any = tf.float32) -> Any:
    return tf.compat.v1.placeholder(dtype, dims, name=name)


def padded() -> tf.compat.v1.GraphDef:
    """Images of any size, padded in TensorFlow to a multiple of 7, then a segment: its inner sizes do not rise evenly."""
    with tf.Graph().as_default() as graph:
        x = placeholder([None, None, None, 3])
        size = tf.shape(x)
        h = tf.pad(x, [[0, 0], [0, -size[1] % 7], [0, -size[2] % 7], [0, 0]])
        h = tf.ensure_shape(h, [None, None, None, 3], name="padded")
        h = tf.nn.relu(tf.nn.tanh(tf.nn.conv2d(h, np.full((3, 3, 3, 4), 0.1, np.float32), 2, "SAME")))
        tf.reduce_mean(h, [1, 2], name="y")
    return graph.as_graph_def()


def resized() -> tf.compat.v1.GraphDef:
    """A resize to a size that the caller gives."""
    with tf.Graph().as_default() as graph:
        x, size = placeholder([None, 8, 8, 3]), placeholder([2], "size", tf.int32)
        h = tf.compat.v1.image.resize_bilinear(tf.nn.relu(tf.nn.tanh(x)), size, half_pixel_centers=True)
        tf.nn.sigmoid(h, name="y")
    return graph.as_graph_def()


SIZES = tgo.ShapeRange((2,), (2,), (2,), ((4, 4), (8, 16), (16, 32)))


def ranges_of(result: tgo.Result) -> dict[str, list[list[dict[str, Any]]]]:
    return {name: s.details["profiles"] for name, s in result.report.segments.items()}


@pytest.fixture(scope="module")
def optimised() -> tgo.Result:
    config = tgo.Config(input_shapes={"x": IMAGES}, engine="none", denied_ops=["Pad", "EnsureShape"])
    return tgo.optimize_graph_def(padded(), ["y"], config)


def test_inner_profiles_hold_what_lies_between_the_points(optimised: tgo.Result) -> None:
    ((profile,),) = ranges_of(optimised).values()
    assert [r["min"][0] for r in profile] == [1]
    assert profile[0]["opt"] == (2, 21, 21, 3)
    assert profile[0]["max"] == (4, 35, 28, 3)


@settings(max_examples=12, deadline=None)
@given(st.tuples(st.integers(1, 4), st.integers(8, 32), st.integers(8, 24)))
def test_the_body_and_the_layers_agree_anywhere_in_the_range(optimised: tgo.Result, dims: tuple[int, int, int]) -> None:
    x = np.random.default_rng(sum(dims)).normal(size=(*dims, 3)).astype(np.float32)
    (inner,) = in_session(padded(), ["padded"], {"x": x})
    ((profile,),) = ranges_of(optimised).values()
    assert all(lo <= d <= hi for lo, d, hi in zip(profile[0]["min"], inner.shape, profile[0]["max"], strict=True))
    (wanted,) = in_session(padded(), ["y"], {"x": x})
    (got,) = in_session(optimised.graph_def, ["y"], {"x": x})
    np.testing.assert_array_equal(got, wanted)
    layers = layer_map(optimised.tables.items("tfgraphopt_trt_layers"))
    (body,) = optimised.module.lowered.values()
    np.testing.assert_allclose(evaluate(body, layers, [inner])[0], wanted, rtol=1e-4, atol=1e-5)


def test_every_profile_of_every_segment_builds() -> None:
    several = [IMAGES, tgo.ShapeRange((1, 64, 64, 3), (1, 64, 64, 3), (1, 64, 64, 3))]
    config = tgo.Config(input_shapes={"x": several}, denied_ops=["Pad", "EnsureShape"], strict=True)
    result = tgo.optimize_graph_def(padded(), ["y"], config)
    ((first, second),) = ranges_of(result).values()
    assert second[0] == {"min": (1, 70, 70, 3), "opt": (1, 70, 70, 3), "max": (1, 70, 70, 3), "values": None}
    assert first[0]["max"] == (4, 35, 28, 3)
    assert [s.status for s in result.report.segments.values()] == ["built"]


def test_independent_dimensions_are_looked_at_in_every_corner() -> None:
    """The difference of two lengths is largest where one is long and the other short."""
    with tf.Graph().as_default() as graph:
        a, b = placeholder([None, 4], "a"), placeholder([None, 4], "b")
        rest = tf.maximum(tf.shape(a)[0] - tf.shape(b)[0], 0)
        h = tf.slice(a, [0, 0], tf.stack([rest, 4]), name="cut")
        tf.nn.relu(tf.nn.tanh(tf.nn.sigmoid(h)), name="y")
    shapes = {"a": tgo.ShapeRange((8, 4), (9, 4), (20, 4)), "b": tgo.ShapeRange((2, 4), (3, 4), (7, 4))}
    config = tgo.Config(engine="none", input_shapes=shapes, denied_ops=["Slice"], minimum_segment_size=2)
    ((profile,),) = ranges_of(tgo.optimize_graph_def(graph.as_graph_def(), ["y"], config)).values()
    assert profile[0]["min"][0] == 8 - 7
    assert profile[0]["max"][0] == 20 - 2


def test_shapes_that_the_model_does_not_take_are_passed_over() -> None:
    """Two inputs of one batch: the corners with two batch sizes are no shapes of this model."""
    with tf.Graph().as_default() as graph:
        a, b = placeholder([None, 4], "a"), placeholder([None, 5], "b")
        tf.nn.relu(tf.nn.tanh(tf.nn.sigmoid(tf.concat([a, b], 1))), name="y")
    shapes = {"a": tgo.ShapeRange((2, 4), (3, 4), (9, 4)), "b": tgo.ShapeRange((2, 5), (4, 5), (9, 5))}
    with pytest.raises(tgo.TfGraphOptError, match="TensorFlow refuses"):  # at the optimum: 3 rows and 4 rows
        tgo.optimize_graph_def(graph.as_graph_def(), ["y"], tgo.Config(engine="none", input_shapes=shapes))
    shapes["b"] = tgo.ShapeRange((2, 5), (3, 5), (9, 5))
    result = tgo.optimize_graph_def(graph.as_graph_def(), ["y"], tgo.Config(engine="none", input_shapes=shapes))
    assert len(ranges_of(result)) == 1


def test_values_that_shapes_are_computed_from_reach_the_builder() -> None:
    shapes = {"x": tgo.ShapeRange((1, 8, 8, 3), (2, 8, 8, 3), (4, 8, 8, 3)), "size": SIZES}
    result = tgo.optimize_graph_def(resized(), ["y"], tgo.Config(input_shapes=shapes))
    ((profile,),) = ranges_of(result).values()
    assert [r["values"] for r in profile] == [None, {"min": (4, 4), "opt": (8, 16), "max": (16, 32)}]
    (segment,) = result.report.segments.values()
    assert segment.status == "built"
    assert segment.details["shape_inputs"] == [1]
    feeds = {
        "x": np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32),
        "size": np.array([5, 9], np.int32),
    }
    (got,), (wanted,) = in_session(result.graph_def, ["y"], feeds), in_session(resized(), ["y"], feeds)
    np.testing.assert_array_equal(got, wanted)


def test_values_follow_what_is_computed_of_them_outside_the_segment() -> None:
    with tf.Graph().as_default() as graph:
        x, size = placeholder([1, 8, 8, 3]), placeholder([2], "size", tf.int32)
        doubled = tf.identity(tf.raw_ops.BitwiseXor(x=size * 2, y=[1, 0]), name="doubled")
        h = tf.compat.v1.image.resize_bilinear(tf.nn.relu(tf.nn.tanh(x)), doubled, half_pixel_centers=True)
        tf.nn.sigmoid(h, name="y")
    config = tgo.Config(engine="none", input_shapes={"size": SIZES}, denied_ops=["Mul", "BitwiseXor"])
    ((profile,),) = ranges_of(tgo.optimize_graph_def(graph.as_graph_def(), ["y"], config)).values()
    assert profile[1]["values"] == {"min": (9, 8), "opt": (17, 32), "max": (33, 64)}


def test_a_shape_tensor_without_values_is_told_how_to_give_them() -> None:
    config = tgo.Config(max_batch_size=2, strict=True)
    with pytest.raises(ConfigError, match=r"leaves inputs out[\s\S]*values="):
        tgo.optimize_graph_def(resized(), ["y"], config)


@pytest.mark.parametrize("known", [True, False])
def test_a_lookup_has_the_shape_of_its_keys(known: bool) -> None:
    """``tf.lookup`` says so while a graph is made; in a GraphDef it is only said where shapes have been written beside the ops."""
    with tf.Graph().as_default() as graph:
        words = placeholder([None, 5], "words", tf.string)
        text = tf.lookup.KeyValueTensorInitializer(["cat", "dog"], np.array([1, 2], np.int64))
        h = tf.gather(np.ones((3, 8), np.float32), tf.lookup.StaticHashTable(text, 0).lookup(words))
        tf.nn.sigmoid(tf.nn.relu(tf.nn.tanh(tf.reduce_mean(h, 1))), name="y")
    config = tgo.Config(input_shapes={"words": tgo.ShapeRange((1, 5), (2, 5), (4, 5))}, engine="none")
    result = tgo.optimize_graph_def(graph.as_graph_def(add_shapes=known), ["y"], config)
    ((only,),) = ranges_of(result).values()
    assert [(r["min"], r["max"]) for r in only] == [((1, 5), (4, 5))]


def test_a_lookup_of_vectors_has_not() -> None:
    """Keys of two elements, values of three: such a table's own op says so, and TensorFlow infers it."""
    with tf.Graph().as_default() as graph:
        keys = placeholder([None, 2], "keys", tf.int64)
        table = tf.raw_ops.MutableDenseHashTableV2(
            empty_key=np.array([-1, -1], np.int64), deleted_key=np.array([-2, -2], np.int64), value_dtype=tf.float32, value_shape=[3]
        )  # fmt: skip
        found = tf.raw_ops.LookupTableFindV2(table_handle=table, keys=keys, default_value=np.zeros(3, np.float32))
        tf.nn.sigmoid(tf.nn.relu(tf.nn.tanh(found)), name="y")
    result = tgo.optimize_graph_def(graph.as_graph_def(), ["y"], tgo.Config(max_batch_size=4, engine="none"))
    ((only,),) = ranges_of(result).values()
    assert [(r["min"], r["max"]) for r in only] == [((1, 3), (4, 3))]
