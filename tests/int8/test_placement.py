"""Where quantize and dequantize layers go, that statistics find their tensors, and what the real builder makes of it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs
import numpy as np
import pytest
import tensorflow as tf

import tfgraphopt as tgo
from int8.running import in_session, meaning_of, quantised, small_graph
from tfgraphopt import Config, plugins
from tfgraphopt.errors import ConfigError
from tfgraphopt.hookspecs import hookimpl
from tfgraphopt.ir import Graph, constant_of
from tfgraphopt.optimization import optimize_graph_def
from tfgraphopt_int8 import Calibrator, QuantRule, read_cache, write_cache
from tfgraphopt_int8.calibrating import calibration_graph, recorded
from tfgraphopt_int8.int8 import CALIBRATORS_HOOK
from tfgraphopt_int8.weights import scales_of
from tfgraphopt_precision.observing import observe
from tfgraphopt_trt.layers import layer_map

RNG = np.random.default_rng(7)


def images(channels: int = 16, size: int = 4) -> Any:
    return RNG.normal(size=(size, 8, 8, channels)).astype(np.float32)


def body_of(result: tgo.Result) -> Graph:
    (body,) = result.module.lowered.values()
    return body


def plan_of(result: tgo.Result) -> dict[str, Any]:
    (segment,) = result.report.segments.values()
    plan: dict[str, Any] = segment.details["int8"]["plan"]
    return plan


def readers(body: Graph) -> dict[str, list[str]]:
    """Per quantize layer, the ops that read it through its dequantize layer."""
    found = {}
    for node in body:
        if node.op == "trt.quantize":
            (dequantize,) = node.users
            found[node.name] = sorted(u.op for u in dequantize.users)
    return found


def test_sites_of_a_residual_block() -> None:
    """Both convolutions behind the ReLU and the sum's other operand share one pair; the output has none."""
    result = quantised(small_graph(), ["y"], [images()])
    body = body_of(result)
    found = sorted(readers(body).values())
    assert found == [["trt.convolution"], ["trt.convolution"], ["trt.convolution", "trt.elementwise"]]
    assert all(v.producer is None or v.producer.op != "trt.dequantize" for v in body.outputs)
    assert sum(layer["quantised"] for layer in plan_of(result)["layers"].values()) == 3


def test_weights_are_integers_with_a_scale_per_output_channel() -> None:
    body = body_of(quantised(small_graph(), ["y"], [images()]))
    for node in body:
        if node.op == "trt.convolution":
            dequantize = node.inputs[1].producer
            assert dequantize is not None
            assert dequantize.attrs["axis"] == 0
            whole = constant_of(dequantize.inputs[0])
            assert whole is not None
            assert (np.abs(whole.numpy().astype(int)).reshape(16, -1).max(axis=1) == 127).all()


@pytest.mark.parametrize("rest", ["fp32", "fp16", "bf16"])
def test_scales_are_held_exactly_by_the_rest_of_the_network(rest: str) -> None:
    from tfgraphopt_int8.weights import _TYPES

    amax = np.float32(10.0) ** RNG.uniform(-7, 4, size=1000)
    scales = scales_of(amax, rest)
    np.testing.assert_array_equal(scales, scales.astype(_TYPES[rest]).astype(np.float32))
    wanted = amax.astype(np.float64) / 127
    assert (scales >= wanted).all()
    tight = scales > 1e-4
    assert (scales[tight] <= wanted[tight] * (1 + {"fp32": 2**-22, "fp16": 2**-9, "bf16": 2**-6}[rest])).all()
    assert float(scales_of(0.0, rest)) == 1.0


def test_quantised_meaning_is_near_the_original() -> None:
    data = [images() for _ in range(4)]
    result = quantised(small_graph(), ["y"], data, calibrator="minmax")
    (expected,) = in_session(small_graph(), ["y"], {"x": data[0]})
    (made,) = meaning_of(result, [data[0]])
    assert 0 < np.abs(made - expected).max() < 0.05 * np.abs(expected).max()


def branches() -> Any:
    """Two convolutions, concatenated and pooled, read by two more; one convolution of few channels; one sum of both kinds."""

    def kernel(k: int, i: int, o: int) -> Any:
        return (RNG.normal(size=(k, k, i, o)) / 10).astype(np.float32)

    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 8, 8, 16], name="x")
        left = tf.nn.relu(tf.nn.conv2d(x, kernel(3, 16, 16), 1, "SAME"), name="left")
        right = tf.nn.relu(tf.nn.conv2d(x, kernel(1, 16, 32), 1, "SAME"), name="right") * 4.0
        both = tf.concat([left, right], -1, name="both")
        pooled = tf.nn.max_pool2d(both, 2, 2, "VALID", name="pooled")
        after = tf.nn.conv2d(pooled, kernel(1, 48, 16), 1, "SAME", name="after")
        direct = tf.nn.conv2d(both, kernel(1, 48, 3), 2, "SAME", name="few")
        flat = tf.reshape(tf.nn.relu(after, name="rectified"), [-1, 4 * 4 * 16], name="flat")
        dense = tf.matmul(flat, kernel(1, 256, 32)[0, 0], name="dense")
        tf.nn.softmax(tf.concat([dense, tf.reshape(direct, [-1, 48])], -1), name="y")
    return graph.as_graph_def()


def upscaling() -> Any:
    """A depthwise convolution, a transposed one, a product with transposed weights, layer normalisation, softmax."""
    depthwise = (RNG.normal(size=(3, 3, 16, 1)) / 3).astype(np.float32)
    transposed = (RNG.normal(size=(2, 2, 32, 16)) / 8).astype(np.float32)
    dense = (RNG.normal(size=(48, 32)) / 6).astype(np.float32)
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 8, 8, 16], name="x")
        h = tf.nn.relu(tf.nn.depthwise_conv2d(x, depthwise, [1, 1, 1, 1], "SAME"), name="relu")
        batch = tf.shape(h)[0]
        up = tf.nn.conv2d_transpose(h, transposed, tf.stack([batch, 16, 16, 32]), 2, "SAME", name="up")
        mean, variance = tf.nn.moments(up, [-1], keepdims=True)
        normal = tf.multiply(up - mean, tf.math.rsqrt(variance + 1e-5), name="normal")
        tokens = tf.reshape(normal, [-1, 256, 32])
        y = tf.matmul(tf.reshape(tokens, [-1, 32]), dense, transpose_b=True, name="dense")
        tf.nn.softmax(y, name="y")
    return graph.as_graph_def()


def test_depthwise_transposed_and_dense_layers_have_a_scale_per_output_channel() -> None:
    result = quantised(upscaling(), ["y"], [images()], force=["op=trt.deconvolution"])
    body, found = body_of(result), {}
    for node in body:
        if node.op in ("trt.convolution", "trt.deconvolution", "trt.matrix_multiply"):
            dequantize = node.inputs[1].producer
            assert dequantize is not None
            assert dequantize.op == "trt.dequantize"
            axis: Any = dequantize.attrs["axis"]
            found[node.op] = (axis, dequantize.inputs[1].shape.static())
    assert found["trt.convolution"] == (0, (16,))
    assert found["trt.deconvolution"] == (1, (32,))
    assert found["trt.matrix_multiply"][1] == (48,)
    weighted = {"trt.convolution", "trt.deconvolution", "trt.matrix_multiply"}
    assert {op for ops in readers(body).values() for op in ops} <= {*weighted, "trt.reshape"}, (
        "normalisation and softmax stay"
    )


def test_deconvolutions_are_left_where_no_integer_kernels_are_made_of_them() -> None:
    (left,) = [p for n, p in plan_of(quantised(upscaling(), ["y"], [images()]))["layers"].items() if "up" in n]
    assert (left["quantised"], left["origin"]) == (False, "rule:deconvolution-kernels")
    made = quantised(upscaling(), ["y"], [images()], engine="openvino")
    assert all(p["quantised"] for p in plan_of(made)["layers"].values())


def test_one_scale_over_concatenation_and_pooling() -> None:
    graph_def = branches()
    result = quantised(graph_def, ["y"], [images()], force=["few*"])
    scales = {n: t["scale"] for n, t in plan_of(result)["tensors"].items()}
    assert len({s for n, s in scales.items() if "both" in n or "pooled" in n}) == 1
    assert len(set(scales.values())) > 1


def test_small_and_denied_layers_are_left_with_their_reasons() -> None:
    plan = plan_of(quantised(branches(), ["y"], [images()], skip=["op=trt.matrix_multiply"]))
    left = {n: (layer["origin"], layer["reason"]) for n, layer in plan["layers"].items() if not layer["quantised"]}
    by_origin = dict(left.values())
    assert by_origin.keys() == {"rule:small-convolution", "user"}
    assert "3 by 48 channels" in by_origin["rule:small-convolution"]


def test_a_third_partys_rule_and_calibrator() -> None:
    class Plugin:
        @hookimpl
        def tfgraphopt_int8_rules(self) -> Any:
            return [QuantRule("never", lambda node, weights: "we do not want it", ("trt.convolution",))]

        @hookimpl
        def tfgraphopt_int8_calibrators(self) -> Any:
            return [Calibrator("half", lambda seen, options: seen.amax / 2)]

    tables = plugins.load(strict=True, extra=[("ours", Plugin())])
    assert "half" in tables.table(CALIBRATORS_HOOK)
    config = Config(precision="int8", engine="none", max_batch_size=8, options={"int8": {"calibrator": "half"}})
    result = optimize_graph_def(branches(), ["y"], config, tables=tables, calibration_data=[images()])
    plan = plan_of(result)
    assert [n for n, layer in plan["layers"].items() if layer["quantised"]] == [
        n for n in plan["layers"] if "dense" in n
    ]
    (tensor,) = [t for t in plan["tensors"].values() if t["scale"]]
    assert tensor["clipped"] > 0


def test_ranges_from_a_tensorrt_cache(tmp_path: Any) -> None:
    """No data at all: the ranges of the caller's tensors come from a file of TensorRT's."""
    amax = {"x": 4.0, "relu": 2.5, "relu_sum": 5.0}
    write_cache(tmp_path / "cache", amax)
    plan = plan_of(quantised(small_graph(), ["y"], None, amax=read_cache(tmp_path / "cache")))
    assert {t["tensor"]: round(t["amax"], 4) for t in plan["tensors"].values()} == amax


def test_without_ranges_int8_is_one_clear_error() -> None:
    with pytest.raises(ConfigError, match="needs to know the ranges of tensors"):
        quantised(small_graph(), ["y"], None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"calibrator": "median"}, "there is no calibrator 'median'"), ({"colour": 1}, "int8 has no option colour"),
        ({"calibrator": {"name": "minmax", "bins": 1}}, "has no option bins"), ({"amax": {"x": -1.0}}, "not negative"),
        ({"rest": "fp8"}, "an option of int8 is wrong"), ({"statistics": "nowhere.json"}, "cannot be read"),
    ],
)  # fmt: skip
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        quantised(small_graph(), ["y"], [images()], **options)


# -- statistics and their tensors ----------------------------------------------------------------------------------------


def check_sources(graph_def: Any, outputs: list[str], feeds: dict[str, Any]) -> int:
    """Every statistic is that of the tensor of the lowered body which it is used for; how many there are."""
    from tfgraphopt_int8 import int8

    tables, checked = plugins.load(strict=True), Counter[str]()
    layers = layer_map(tables.items("tfgraphopt_trt_layers"))
    config = Config(precision="int8", engine="none", max_batch_size=8, options={"int8": {"rest": "fp32"}})
    graph = calibration_graph(graph_def, outputs, config, tables)
    in_session(graph.graph_def(), outputs, feeds)
    statistics = recorded(graph)
    inner = int8.quantise

    def compared(body: Graph, sites: Any, ranges: Any, form: Any) -> Any:
        wanted = {v: ranges.sources.tensor_of(v) for v in sites.values}
        call = ranges.sources.call
        operands = in_session(graph_def, [_source(v) for v in call.inputs], feeds)
        for value, tensor in observe(body, layers, operands):
            seen = statistics.tensors.get(wanted.get(value) or "")
            if seen is not None:
                array = tensor.numpy()
                assert seen.count == array.size, value.name
                assert (seen.min, seen.max) == pytest.approx((array.min(), array.max()), abs=2e-3 * seen.amax), (
                    value.name
                )
                checked[body.name] += 1
        return inner(body, sites, ranges, form)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8, "quantise", compared)
        known = attrs.evolve(config, options={"int8": {"rest": "fp32", "statistics": statistics}})
        optimize_graph_def(graph_def, outputs, known, tables=tables)
    return checked.total()


def _source(value: Any) -> str:
    return f"{value.producer.name}:{value.index}"


def test_statistics_are_those_of_the_tensors_they_are_used_for() -> None:
    assert check_sources(branches(), ["y"], {"x": images()}) == 3
    assert check_sources(small_graph(), ["y"], {"x": images()}) == 3


def test_activations_that_tensorflow_moves_are_followed() -> None:
    """Grappler computes relu(max_pool(x)) and relu(concat(x, y)) and keeps the names (arithmetic optimizer)."""
    kernel = (RNG.normal(size=(1, 1, 16, 32)) / 4).astype(np.float32)
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 8, 8, 16], name="x")
        pooled = tf.nn.max_pool2d(tf.nn.relu(x - 0.5), 2, 2, "VALID", name="pooled")
        one = tf.nn.conv2d(pooled, kernel, 1, "SAME", name="one")
        parts = [tf.nn.relu(one + i, name=f"part{i}") for i in range(4)]
        joined = tf.concat(parts, -1, name="joined")
        tf.nn.conv2d(joined, np.concatenate([kernel] * 8, 2)[:, :, :128], 1, "SAME", name="y")
    assert check_sources(graph.as_graph_def(), ["y"], {"x": images()}) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MobileNetV2", "InceptionV3", "EfficientNetB0"])
def test_on_architectures(name: str) -> None:
    """Bits of the calibration graph, and the tensors behind every statistic."""
    from zoo import keras_models

    model = keras_models.build(name)
    feeds = model.feeds(2, 0)
    assert check_sources(model.graph_def, list(model.outputs), feeds) >= 50
    config = Config(precision="int8", engine="none", max_batch_size=8)
    graph = calibration_graph(model.graph_def, model.outputs, config, plugins.load())
    for made, expected in zip(
        in_session(graph.graph_def(), model.outputs, feeds),
        in_session(model.graph_def, model.outputs, feeds),
        strict=True,
    ):
        np.testing.assert_array_equal(made, expected)


# -- the real builder ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rest", ["fp16", "fp32", "bf16"])
@pytest.mark.parametrize("graph", [small_graph, branches, upscaling])
def test_the_builder_makes_integer_kernels_of_every_planned_layer(graph: Any, rest: str) -> None:
    result = quantised(graph(), ["y"], [images()], rest=rest, engine="tensorrt")
    (segment,) = result.report.segments.values()
    audit = segment.details["int8"]["audit"]
    assert segment.status == "built", segment.reason
    assert set(audit["integer"]) == {n for n, p in plan_of(result)["layers"].items() if p["quantised"]}
    assert not audit["not_integer"]
    assert not audit["not_named"]
