"""Graphs trained with quantisation: their ops against TensorFlow's own, and the networks that the builder makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfgraphopt as tgo
from int8.running import in_session, meaning_of, quantised
from tfgraphopt_int8.qat import symmetric
from tfgraphopt_trt.builder import Unsupported

RNG = np.random.default_rng(13)


def values(shape: tuple[int, ...] = (4, 40), reach: float = 3.0) -> Any:
    return RNG.uniform(-reach, reach, size=shape).astype(np.float32)


def graph_of(quantise: Any, shape: tuple[int | None, ...] = (None, 40)) -> Any:
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, shape, name="x")
        tf.exp(tf.nn.relu(quantise(x) * 2.0 - 1.0) * 0.1, name="y")
    return graph.as_graph_def()


def compare(quantise: Any, x: Any, step: float = 0.0) -> tgo.Result:
    """The meaning of the lowered body against TensorFlow; results next to a tie may be one ``step`` apart."""
    graph_def = graph_of(quantise, (None, *x.shape[1:]))
    result = quantised(graph_def, ["y"], None)
    (expected,) = in_session(graph_def, ["y"], {"x": x})
    (made,) = meaning_of(result, [x])
    different = np.abs(made - expected) > 1e-5 * expected
    assert different.mean() < 0.01
    np.testing.assert_allclose(made, expected, rtol=0.3 * step + 1e-5)
    return result


@pytest.mark.parametrize("narrow", [True, False])
@pytest.mark.parametrize("amax", [0.7, 2.0, 6.0])
def test_symmetric_fake_quant_is_exact(narrow: bool, amax: float) -> None:
    x = np.clip(values(), -amax * 0.99, amax * 0.99)  # at the ends, TensorRT's integers have one number more or less
    arguments = {"min": -amax, "max": amax, "narrow_range": narrow}
    compare(lambda v: tf.quantization.fake_quant_with_min_max_args(v, **arguments), x, amax / 127)
    compare(lambda v: tf.quantization.fake_quant_with_min_max_vars(v, -amax, amax, narrow_range=narrow), x, amax / 127)


def test_per_channel_fake_quant_is_exact() -> None:
    amax = RNG.uniform(0.5, 2.5, size=40).astype(np.float32)
    x = np.clip(values(), -amax, amax)
    compare(
        lambda v: tf.quantization.fake_quant_with_min_max_vars_per_channel(v, -amax, amax, narrow_range=True),
        x,
        2.5 / 127,
    )


@pytest.mark.parametrize("op", ["QuantizeAndDequantizeV2", "QuantizeAndDequantizeV3", "QuantizeAndDequantizeV4"])
@pytest.mark.parametrize("ends", [(-2.0, 2.0), (-1.0, 2.0), (-2.5, 0.5)])
@pytest.mark.parametrize("narrow", [True, False])
def test_quantize_and_dequantize_is_exact(op: str, ends: tuple[float, float], narrow: bool) -> None:
    def quantise(v: Any) -> Any:
        arguments = {"signed_input": True, "range_given": True, "narrow_range": narrow}
        bits = {"num_bits": 8}
        if op == "QuantizeAndDequantizeV2":
            return tf.raw_ops.QuantizeAndDequantizeV2(
                input=v, input_min=ends[0], input_max=ends[1], round_mode="HALF_TO_EVEN", **arguments, **bits
            )
        extra = {"round_mode": "HALF_TO_EVEN"} if op.endswith("4") else {}
        return getattr(tf.raw_ops, op)(input=v, input_min=ends[0], input_max=ends[1], **arguments, **bits, **extra)

    reach = max(-ends[0], ends[1])
    compare(quantise, np.clip(values(), -reach, reach), reach / 127)


@pytest.mark.parametrize("op", ["QuantizeAndDequantizeV2", "QuantizeAndDequantizeV3", "QuantizeAndDequantizeV4"])
def test_quantize_and_dequantize_along_an_axis_is_exact(op: str) -> None:
    """Given ranges along an axis run in V3 only (TensorFlow 2.21's kernel of V2 and V4 wants scalars), so V3 is the oracle of all."""
    amax = RNG.uniform(0.5, 2.5, size=40).astype(np.float32)
    given = {"signed_input": True, "range_given": True, "narrow_range": True, "num_bits": 8, "axis": 1}

    def graph_with(name: str) -> Any:
        return graph_of(lambda v: getattr(tf.raw_ops, name)(input=v, input_min=-amax, input_max=amax, **given))

    x = values()
    (expected,) = in_session(graph_with("QuantizeAndDequantizeV3"), ["y"], {"x": x})
    result = quantised(graph_with(op), ["y"], None)
    np.testing.assert_allclose(meaning_of(result, [x])[0], expected, rtol=0.3 * 2.5 / 127 + 1e-5)
    assert any(n.op == "trt.dequantize" for body in result.module.lowered.values() for n in body)


def test_widened_ranges_are_said_with_their_cost() -> None:
    """A ReLU6's range has 255 steps over [0, 6]; symmetric integers have 127."""
    x = np.abs(values(reach=6))
    graph_def = graph_of(lambda v: tf.quantization.fake_quant_with_min_max_args(v, 0.0, 6.0, name="act"))
    result = quantised(graph_def, ["y"], None)
    (message,) = [m for m in result.report.messages if "widened" in m]
    assert "act: its range [0, 6] is widened to [-6, 6]" in message
    assert "2.01 times" in message
    (expected,) = in_session(graph_def, ["y"], {"x": x})
    (made,) = meaning_of(result, [x])
    np.testing.assert_allclose(made, expected, rtol=0.2 * 6 / 127)


@pytest.mark.parametrize(
    ("quantise", "reason"),
    [
        (lambda v: tf.quantization.fake_quant_with_min_max_args(v, -1, 1, num_bits=4), "to 4 bits"),
        (
            lambda v: tf.quantization.quantize_and_dequantize_v2(v, 0.0, 1.0, signed_input=False, range_given=True),
            "no sign",
        ),
        (lambda v: tf.quantization.quantize_and_dequantize_v2(v, 0.0, 0.0), "range is that of the data"),
        (lambda v: tf.quantization.fake_quant_with_min_max_vars(v, tf.reduce_min(v), 1.0), "'min' must be a constant"),
    ],
)
def test_refusals(quantise: Any, reason: str) -> None:
    result = quantised(graph_of(quantise), ["y"], None)
    assert any(reason in v.reason for v in result.report.verdicts.values() if v.status == "refused")


def test_ranges_without_zero_are_refused() -> None:
    for low, high in ((0.5, 1.0), (-2.0, -1.0), (0.0, 0.0)):
        with pytest.raises(Unsupported):
            symmetric(low, high, narrow=False)


def trained_graph() -> Any:
    """As quantisation-aware training leaves it: weights per channel, activations per tensor, channels last."""
    kernels = [(RNG.normal(size=(3, 3, 16, 16)) / 12).astype(np.float32) for _ in range(2)]
    dense = (RNG.normal(size=(256, 32)) / 16).astype(np.float32)

    def weights(array: Any) -> Any:
        amax = np.abs(array).max(axis=tuple(range(array.ndim - 1)))
        return tf.quantization.fake_quant_with_min_max_vars_per_channel(
            tf.constant(array), -amax, amax, narrow_range=True
        )

    def activation(x: Any, amax: float) -> Any:
        return tf.quantization.fake_quant_with_min_max_vars(x, -amax, amax, narrow_range=True)

    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4, 4, 16], name="x")
        y = activation(x, 3.0)
        for index, kernel in enumerate(kernels):
            bias = RNG.normal(size=16).astype(np.float32)
            y = activation(
                tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(y, weights(kernel), 1, "SAME"), bias, name=f"conv{index}")), 4.0
            )
        tf.matmul(tf.reshape(y, [-1, 256]), weights(dense), name="y")
    return graph.as_graph_def()


@pytest.mark.parametrize("rest", ["fp32", "fp16"])
def test_a_trained_graph_needs_no_data_and_gets_integer_kernels(rest: str) -> None:
    graph_def = trained_graph()
    x = np.clip(values((4, 4, 4, 16)), -3, 3)
    (expected,) = in_session(graph_def, ["y"], {"x": x})
    (made,) = meaning_of(quantised(graph_def, ["y"], None), [x])
    np.testing.assert_allclose(made, expected, atol=0.02 * np.abs(expected).max())
    result = quantised(graph_def, ["y"], None, rest=rest, engine="tensorrt")
    (segment,) = result.report.segments.values()
    audit = segment.details["int8"]["audit"]
    assert len(audit["integer"]) == 3
    assert not audit["not_integer"]


def test_the_first_call_gives_the_int8_graph_at_once() -> None:
    made = tgo.create_inference_graph(trained_graph(), ["y"], max_batch_size=8, precision_mode="INT8")
    assert [n.attr["precision_mode"].s for n in made.node if n.op == "TRTEngineOp"] == [b"INT8"]
