"""Composite ops: many ops of TensorFlow that become one layer, with the numbers of the many."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from framework.test_plugins import plugin
from hypothesis import given, settings
from hypothesis import strategies as st
from main_job.jobs import lowered_errors

import tfgraphopt as tgo
from converters.tensors import few
from tfgraphopt import plugins
from tfgraphopt_trt.hookspecs import LayerRule

TOLERANCE = {tf.float32: 2e-6, tf.float16: 4e-3}


@functools.cache
def tables() -> plugins.Tables:
    return plugins.load(strict=True)


def optimised(graph_def: Any, engine: str = "none", loaded: plugins.Tables | None = None, **options: Any) -> tgo.Result:
    config = tgo.Config(engine=engine, max_batch_size=2, minimum_segment_size=1, **options)
    return tgo.optimize_graph_def(graph_def, ["y"], config, tables=loaded or tables())


def graph_of(function: Callable[..., Any], *shapes: list[int | None], dtype: Any = tf.float32) -> Any:
    with tf.Graph().as_default() as graph:
        inputs = [tf.compat.v1.placeholder(dtype, s, name=f"x{i}") for i, s in enumerate(shapes)]
        tf.identity(function(*inputs), name="y")
    return graph.as_graph_def()


def layers_of(
    function: Callable[..., Any], *shapes: list[int | None], dtype: Any = tf.float32, engine: str = "none"
) -> Counter[str]:
    """The layers that ``function`` becomes, once their meaning was compared with TensorFlow."""
    graph_def = graph_of(function, *shapes, dtype=dtype)
    result = optimised(graph_def, engine)
    (segment,) = result.report.segments.values()
    assert segment.status == ("segmented" if engine == "none" else "built"), segment.reason
    rng = np.random.default_rng(0)
    feeds = {f"x{i}": rng.normal(size=[d or 2 for d in s]).astype(dtype.as_numpy_dtype) for i, s in enumerate(shapes)}
    assert max(lowered_errors(result, graph_def, feeds).values()) <= TOLERANCE[dtype]
    body = result.module.lowered[segment.name]
    return Counter(n.op.removeprefix("trt.") for n in body if n.op != "trt.constant")


# -- activations ---------------------------------------------------------------------------------------------------------


def gelu(kind: str, x: Any, scaled: bool, halved: str, swapped: bool) -> Any:
    """0.5 * x * gate in the ways in which people write it."""

    def times(a: Any, b: Any) -> Any:
        return b * a if swapped else a * b

    root = np.sqrt(2.0).astype(x.dtype.as_numpy_dtype)
    moved = times(x, 1 / root) if scaled else x / root
    if kind == "erfc":
        gate = tf.math.erfc(-moved)
    elif kind == "erf":
        gate = 1 + tf.math.erf(moved)
    else:
        cube = tf.pow(x, 3) if scaled else x * tf.square(x)
        gate = 1 + tf.math.tanh(times(np.sqrt(2 / np.pi).astype(root.dtype), x + times(0.044715, cube)))
    return times(x * 0.5, gate) if halved == "operand" else times(x, 0.5 * gate)


@few
@given(
    st.sampled_from(["erfc", "erf", "tanh"]), st.booleans(), st.sampled_from(["operand", "gate"]), st.booleans(),
    st.sampled_from([tf.float32, tf.float16]),
)  # fmt: skip
def test_gelu(kind: str, scaled: bool, halved: str, swapped: bool, dtype: Any) -> None:
    assert layers_of(lambda x: gelu(kind, x, scaled, halved, swapped), [None, 3], dtype=dtype) == {"activation": 1}


@pytest.mark.parametrize("approximate", [True, False])
def test_tensorflows_own_gelu_is_built(approximate: bool) -> None:
    made = layers_of(lambda x: tf.nn.gelu(x, approximate=approximate), [None, 3], engine="tensorrt")
    assert made == {"activation": 1}


def test_what_only_looks_like_gelu() -> None:
    assert layers_of(lambda x: x * (1 + tf.math.erf(x / np.float32(np.sqrt(2)))), [None, 3])["unary"] == 1
    assert layers_of(lambda x: 0.25 * x * (0.5 * (1 + tf.math.erf(x))), [None, 3])["unary"] == 1
    wide = np.full((2, 3), 0.5, np.float32)
    assert "unary" in layers_of(lambda x: (x * wide) * (1 + tf.math.erf(x / np.float32(np.sqrt(2)))), [None, 3])


HARD_SWISHES: dict[str, Callable[[Any], Any]] = {
    "gate": lambda x: x * (tf.nn.relu6(x + 3.0) / 6.0),
    "gate times": lambda x: x * (tf.nn.relu6(x + 3.0) * np.float32(1 / 6)),
    "from the left": lambda x: x * tf.nn.relu6(x + 3.0) / 6.0,
    "from the left times": lambda x: x * tf.nn.relu6(x + 3.0) * np.float32(1 / 6),
    "divided first": lambda x: x / 6.0 * tf.nn.relu6(x + 3.0),
    "clipped": lambda x: x * tf.clip_by_value(x + 3.0, 0.0, 6.0) / 6.0,
    "Keras": keras.activations.hard_silu,
}


@pytest.mark.parametrize("form", HARD_SWISHES)
def test_hard_swish(form: str) -> None:
    assert layers_of(HARD_SWISHES[form], [None, 3]) == {"activation": 1, "elementwise": 1}


SWISHES: dict[str, tuple[Callable[[Any], Any], int]] = {
    "product": (lambda x: x * tf.sigmoid(x), 1),
    "tf.nn.silu": (tf.nn.silu, 1),
    "beta": (lambda x: tf.nn.silu(x, beta=1.702), 2),
    "Keras": (keras.activations.silu, 1),
    "written out": (lambda x: x / (1.0 + tf.exp(-x)), 1),
    "of something else": (lambda x: x * tf.sigmoid(-x), 1),
}


@pytest.mark.parametrize("form", SWISHES)
def test_swish(form: str) -> None:
    function, products = SWISHES[form]
    other = {"unary": 1} if form == "of something else" else {}
    assert layers_of(function, [None, 3]) == {"activation": 1, "elementwise": products, **other}


def test_swish_and_hard_swish_are_built() -> None:
    made = layers_of(lambda x: tf.nn.silu(x) + HARD_SWISHES["from the left"](x), [None, 3], engine="tensorrt")
    assert made == {"activation": 2, "elementwise": 3}


# -- layer normalisation -------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(7)


def layer_norm(x: Any, form: str, axes: list[int], scale: Any, offset: Any) -> Any:
    """Layer normalisation as Keras, tf.nn.batch_normalization and BERT-like models write it."""
    mean = tf.reduce_mean(x, axes, keepdims=True)
    centred = x - mean
    squares = {"keras": tf.math.squared_difference(x, mean), "nn": tf.math.squared_difference(x, mean)}.get(form)
    variance = tf.reduce_mean(tf.square(centred) if squares is None else squares, axes, keepdims=True)
    if form in ("keras", "nn"):
        factor = tf.math.rsqrt(variance + 1e-3)
        factor = factor if scale is None else factor * scale
        if form == "nn":
            return x * factor + ((0.0 if offset is None else offset) - mean * factor)
        return x * factor + (-mean * factor if offset is None else -mean * factor + offset)
    normal = centred * tf.math.rsqrt(variance + 1e-3) if form == "product" else centred / tf.sqrt(variance + 1e-3)
    normal = normal if scale is None else normal * scale
    return normal if offset is None else normal + offset


@few
@given(st.sampled_from(["keras", "nn", "product", "quotient"]), st.integers(1, 2), st.booleans(), st.booleans())
def test_layer_norm(form: str, count: int, scaled: bool, shifted: bool) -> None:
    dims = [5, 6][2 - count :]
    scale, offset = (RNG.normal(size=dims).astype(np.float32) if wanted else None for wanted in (scaled, shifted))
    axes = list(range(-count, 0))
    shifted_form = offset if form != "nn" or shifted else np.zeros(dims, np.float32)
    made = layers_of(lambda x: layer_norm(x, form, axes, scale, shifted_form), [None, 4, 5, 6])
    assert made == {"normalization": 1}


def test_layer_norm_is_built() -> None:
    scale, offset = (RNG.normal(size=6).astype(np.float32) for _ in range(2))
    made = layers_of(lambda x: layer_norm(x, "keras", [-1], scale, offset), [None, 4, 6], engine="tensorrt")
    assert made == {"normalization": 1}


def test_normalisations_that_are_none_of_a_layer() -> None:
    per_row = RNG.normal(size=(4, 1)).astype(np.float32)
    made = layers_of(lambda x: layer_norm(x, "keras", [-1], per_row, None), [None, 4, 6])
    assert "normalization" not in made
    assert "normalization" not in layers_of(lambda x: layer_norm(x, "keras", [1], None, None), [None, 4, 6])
    made = layers_of(lambda x: layer_norm(x, "product", [-1], per_row, None), [None, 4, 6])
    assert made["normalization"] == 1, "the scale stays behind it"
    assert made["elementwise"] == 1


def test_a_moment_that_others_read_stays() -> None:
    def function(x: Any) -> Any:
        mean = tf.reduce_mean(x, -1, keepdims=True)
        variance = tf.reduce_mean(tf.math.squared_difference(x, mean), -1, keepdims=True)
        return (x - mean) * tf.math.rsqrt(variance + 1e-3) + tf.sqrt(variance)

    assert "normalization" not in layers_of(function, [None, 4, 6])


# -- attention -----------------------------------------------------------------------------------------------------------


@settings(few, max_examples=8)
@given(st.permutations("bhqd"), st.permutations("bhkd"), st.permutations("bhkv"), st.permutations("bhqv"),
       st.sampled_from(["product", "quotient", "none"]))  # fmt: skip
def test_attention_in_any_order_of_axes(query: Any, keys: Any, values: Any, result: Any, scale: str) -> None:
    names = ["".join(t) for t in (query, keys, values, result)]
    sizes = {"b": 2, "h": 2, "q": 3, "k": 5, "d": 4, "v": 4}

    def function(q: Any, k: Any, v: Any) -> Any:
        scores = tf.einsum(f"{names[0]},{names[1]}->bhqk", q, k)
        scores = {"product": scores * 0.5, "quotient": scores / 2.0, "none": scores}[scale]
        return tf.einsum(f"bhqk,{names[2]}->{names[3]}", tf.nn.softmax(scores), v)

    made = layers_of(function, *([sizes[c] for c in name] for name in names[:3]))
    assert made["attention"] == 1
    assert set(made) <= {"attention", "transpose", "elementwise"}


def attention(q: Any, k: Any, v: Any, mask: Any = None, *, keys_last: bool = False) -> Any:
    scores = tf.matmul(q, k, transpose_b=not keys_last) / 2.0
    return tf.matmul(tf.nn.softmax(scores if mask is None else scores + mask), v)


@pytest.mark.parametrize("keys_last", [False, True])
def test_attention_of_matrix_products_is_built(keys_last: bool) -> None:
    keys: list[int | None] = [None, 2, 4, 5] if keys_last else [None, 2, 5, 4]
    made = layers_of(
        lambda q, k, v: attention(q, k, v, keys_last=keys_last),
        [None, 2, 3, 4],
        keys,
        [None, 2, 5, 4],
        engine="tensorrt",
    )
    assert made["attention"] == 1
    assert "softmax" not in made


def test_masked_attention_keeps_its_softmax() -> None:
    mask = np.triu(np.full((3, 5), -1e9, np.float32), 1)
    made = layers_of(lambda q, k, v: attention(q, k, v, mask), [None, 2, 3, 4], [None, 2, 5, 4], [None, 2, 5, 4])
    assert "attention" not in made
    assert made["softmax"] == 1


@pytest.mark.parametrize("keys_and_values", [([1, 1, 5, 4], [1, 1, 5, 4]), ([None, 2, 5, 4], [None, 2, 5, 6])])
def test_shapes_that_the_layer_does_not_take(keys_and_values: Any) -> None:
    assert "attention" not in layers_of(attention, [None, 2, 3, 4], *keys_and_values)


# -- the pass ------------------------------------------------------------------------------------------------------------


def test_what_an_engine_refuses_is_lowered_op_by_op() -> None:
    rule = LayerRule("no-norms", lambda node, config, tables: "no" if node.op == "trt.normalization" else None)
    loaded = plugins.load(extra=[("acme", plugin(trt_layer_rules=lambda: [rule]))], strict=True)
    graph_def = graph_of(lambda x: layer_norm(x, "keras", [-1], None, None), [None, 4, 6])
    result = optimised(graph_def, loaded=loaded)
    (body,) = result.module.lowered.values()
    assert "trt.normalization" not in {n.op for n in body}
    assert any("op by op" in m and "TgoLayerNorm" in m for m in result.report.messages)


def test_rules_can_be_left_out_and_never_touch_the_fallback() -> None:
    graph_def = graph_of(lambda x: tf.nn.gelu(x), [None, 3])
    result = optimised(graph_def)
    assert not any(n.op.startswith("Tgo") for f in result.graph_def.library.function for n in f.node_def)
    assert any(n.op == "Erfc" for f in result.graph_def.library.function for n in f.node_def)
    pipeline = "infer-types,segment,lower{skip=[gelu-from-erfc]}"
    (body,) = optimised(graph_def, pipeline=pipeline).module.lowered.values()
    assert all(n.attrs.get("type") != "gelu_erf" for n in body)


def test_a_rule_explains_itself() -> None:
    from tfgraphopt.explaining import explain_rule_in

    graph_def = graph_of(lambda x: layer_norm(x, "keras", [1], None, None), [None, 4, 6])
    report = explain_rule_in(
        graph_def, ["y"], "layer-norm-from-factor", tgo.Config(engine="none", minimum_segment_size=1), tables()
    )
    reasons = [p.reason for places in report.places.values() for p in places]
    assert any("last axes" in r for r in reasons)
