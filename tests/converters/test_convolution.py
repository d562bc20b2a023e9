"""Convolutions and bias additions against TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from converters.building import build_layers
from converters.harness import Const, case, check, refused, run_layers
from converters.tensors import few, moderate, normal, seeds

FORMATS = {2: ("NHWC", "NCHW"), 3: ("NDHWC", "NCDHW")}


def arranged(spatial: list[int], batch: int, channels: int, data_format: str) -> list[int]:
    """Sizes in the order of ``data_format``."""
    return [batch, *spatial, channels] if data_format.endswith("C") else [batch, channels, *spatial]


@st.composite
def convolutions(draw: st.DrawFn, rank: int, groups: bool = True, dilated: bool = True) -> dict[str, Any]:
    """A convolution that TensorFlow's CPU kernels compute (channels last), and what is known of it."""
    sizes = draw(st.lists(st.integers(5, 9), min_size=rank, max_size=rank))
    window = draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    step = draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    dilation = draw(st.lists(st.integers(1, 2), min_size=rank, max_size=rank)) if dilated else [1] * rank
    padding = draw(st.sampled_from(["SAME", "VALID", "EXPLICIT"] if rank == 2 else ["SAME", "VALID"]))
    group = draw(st.sampled_from([1, 2, 3])) if groups and dilation == [1] * rank else 1
    pairs = [draw(st.integers(0, 2)) for _ in range(2 * rank)] if padding == "EXPLICIT" else []
    return {
        "sizes": sizes, "window": window, "step": step, "dilation": dilation, "padding": padding, "group": group,
        "explicit": [0, 0, *pairs, 0, 0] if pairs else [], "known": draw(st.booleans()),
        "constant": draw(st.booleans()), "inputs": draw(st.sampled_from([1, 2])),
        "outputs": draw(st.sampled_from([1, 2])),
    }  # fmt: skip


def operands(c: dict[str, Any], dtype: str, seed: int) -> dict[str, Any]:
    """Input and filter."""
    x = normal([2, *c["sizes"], c["inputs"] * c["group"]], dtype, seed)
    kernel = normal([*c["window"], c["inputs"], c["outputs"] * c["group"]], dtype, seed + 1)
    return {"input": x, "filter": Const(kernel) if c["constant"] else kernel}


def attributes(c: dict[str, Any]) -> dict[str, Any]:
    """The attributes of the op, channels last."""
    found = {"strides": [1, *c["step"], 1], "padding": c["padding"], "dilations": [1, *c["dilation"], 1]}
    return found | ({"explicit_paddings": c["explicit"]} if c["explicit"] else {})


def unknown(c: dict[str, Any]) -> dict[str, list[int]]:
    """The batch is never known, the spatial sizes only sometimes."""
    return {"input": [0] if c["known"] else list(range(len(c["sizes"]) + 1))}


def refusable(c: dict[str, Any]) -> bool:
    """SAME over unknown sizes with a step beyond the window; three axes: over known sizes too."""
    if c["padding"] != "SAME":
        return False
    if len(c["sizes"]) == 3 and any(s > w + 1 for w, s in zip(c["window"], c["step"], strict=True)):
        return True
    reach = [(w - 1) * d + 1 for w, d in zip(c["window"], c["dilation"], strict=True)]
    beyond = any(s > w for w, s in zip(reach, c["step"], strict=True)) and any(w > 1 for w in reach)
    return not c["known"] and beyond


@moderate
@given(convolutions(2), st.sampled_from(["float32", "float16"]), seeds)
def test_conv_2d(c: dict[str, Any], dtype: str, seed: int) -> None:
    """Padding, strides, dilations, groups, run-time filters, unknown sizes."""
    assume(not refusable(c))
    check(
        "Conv2D", operands(c, dtype, seed), attributes(c), unknown=unknown(c), atol=2e-2 if dtype == "float16" else 1e-4
    )


@moderate
@given(convolutions(3, groups=False, dilated=False), seeds)
def test_conv_3d(c: dict[str, Any], seed: int) -> None:
    """Three spatial axes."""
    assume(not refusable(c))
    check("Conv3D", operands(c, "float32", seed), attributes(c), unknown=unknown(c), atol=1e-4)


@moderate
@given(convolutions(2, groups=False, dilated=False), st.integers(1, 3), seeds)
def test_depthwise(c: dict[str, Any], channels: int, seed: int) -> None:
    """One group a channel, with a multiplier; TensorFlow's CPU kernel wants equal strides."""
    c = c | {"step": [c["step"][0]] * 2}
    assume(not refusable(c))
    kernel = normal([*c["window"], channels, c["outputs"]], "float32", seed)
    found = {
        "input": normal([2, *c["sizes"], channels], "float32", seed + 1),
        "filter": Const(kernel) if c["constant"] else kernel,
    }
    check("DepthwiseConv2dNative", found, attributes(c), unknown=unknown(c), atol=1e-4)


@moderate
@given(convolutions(2, dilated=False, groups=False), seeds, st.booleans())
def test_generic_conv(c: dict[str, Any], seed: int, three: bool) -> None:
    """The Conv op."""
    assume(not refusable(c) and c["padding"] != "EXPLICIT")
    check("Conv", operands(c, "float32", seed), attributes(c), unknown=unknown(c), atol=1e-4)


def transposed_case(c: dict[str, Any], seed: int, runtime_sizes: bool) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """Operands of a transposed convolution whose forward convolution is ``c``."""
    import tensorflow as tf

    x = normal([2, *c["sizes"], c["inputs"]], "float32", seed)
    kernel = normal([*c["window"], c["inputs"], c["outputs"]], "float32", seed + 1)
    conv = tf.raw_ops.Conv3D if len(c["sizes"]) == 3 else tf.raw_ops.Conv2D
    y = conv(input=x, filter=kernel, **attributes(c)).numpy()
    sizes = np.asarray(x.shape, np.int32)
    given = {
        "input_sizes": sizes if runtime_sizes else Const(sizes),
        "filter": Const(kernel) if c["constant"] else kernel,
        "out_backprop": y,
    }
    return given, {"out_backprop": [0] if c["known"] else list(range(y.ndim - 1))}


@moderate
@given(convolutions(2, groups=False, dilated=False), seeds, st.booleans())
def test_transposed_2d(c: dict[str, Any], seed: int, runtime_sizes: bool) -> None:
    """Every size of the result that the forward convolution could have had."""
    given_, free = transposed_case(c, seed, runtime_sizes)
    assume(min(given_["out_backprop"].shape) > 0)
    check("Conv2DBackpropInput", given_, attributes(c), unknown=free, atol=1e-4)


@pytest.mark.parametrize("free", [[0], [0, 1, 2]])
def test_transposed_with_strides_and_dilations(free: list[int]) -> None:
    """TensorRT has one of the two: the zeros of the dilation go into the kernel. TensorFlow's CPU kernel has one, too."""
    y, kernel = normal([2, 4, 5, 4]), normal([3, 2, 3, 4])
    spread = np.zeros([5, 4, 3, 4], np.float32)
    spread[::2, ::3] = kernel
    told = {"strides": [1, 2, 3, 1], "padding": "VALID"}
    sizes = np.array([2, 11, 16, 3], np.int32)
    given_ = {"input_sizes": sizes if len(free) > 1 else Const(sizes), "filter": Const(spread), "out_backprop": y}
    (want,) = case("Conv2DBackpropInput", given_, told).expected()
    dilated = given_ | {"filter": Const(kernel)}
    one = case("Conv2DBackpropInput", dilated, told | {"dilations": [1, 2, 3, 1]}, unknown={"out_backprop": free})
    fragment = one.convert()
    (got,) = run_layers(fragment, one.operand_arrays(fragment))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    build_layers(fragment, one.operand_arrays(fragment))


@pytest.mark.parametrize("groups", [2, 3])
def test_transposed_groups(groups: int) -> None:
    """TensorFlow has groups on a GPU only; each group on its own is the oracle."""
    told = {"strides": [1, 2, 2, 1], "padding": "SAME"}
    y, kernel = normal([2, 4, 4, 2 * groups]), normal([3, 3, 5, 2 * groups])
    wanted = []
    for g in range(groups):
        part = slice(2 * g, 2 * g + 2)
        given_ = {"input_sizes": Const([2, 7, 8, 5]), "filter": Const(kernel[..., part]), "out_backprop": y[..., part]}
        wanted += case("Conv2DBackpropInput", given_, told).expected()
    whole = {"input_sizes": Const([2, 7, 8, 5 * groups]), "filter": Const(kernel), "out_backprop": y}
    one = case("Conv2DBackpropInput", whole, told, unknown={"out_backprop": [0]})
    fragment = one.convert()
    (got,) = run_layers(fragment, one.operand_arrays(fragment))
    np.testing.assert_allclose(got, np.concatenate(wanted, -1), rtol=1e-4, atol=1e-4)
    build_layers(fragment, one.operand_arrays(fragment))


@few
@given(convolutions(3, groups=False, dilated=False), seeds, st.booleans())
def test_transposed_3d(c: dict[str, Any], seed: int, runtime_sizes: bool) -> None:
    """Three spatial axes."""
    given_, free = transposed_case(c, seed, runtime_sizes)
    check("Conv3DBackpropInputV2", given_, attributes(c), unknown=free, atol=1e-4)


def test_transposed_depthwise() -> None:
    """One group a channel."""
    given_ = {
        "input_sizes": Const([2, 7, 8, 3]),
        "filter": Const(normal([3, 3, 3, 2])),
        "out_backprop": normal([2, 4, 4, 6]),
    }
    check(
        "DepthwiseConv2dNativeBackpropInput",
        given_,
        {"strides": [1, 2, 2, 1], "padding": "SAME"},
        atol=1e-4,
        build=True,
    )


@pytest.mark.parametrize("op", ["Conv2D", "DepthwiseConv2dNative"])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_channels_first_equals_channels_last(op: str, padding: str) -> None:
    """TensorFlow's CPU kernels know channels-last only, so its result in that layout is the oracle."""
    x, kernel = normal([2, 7, 8, 4]), normal([3, 3, 4, 2])
    last = case(op, {"input": x, "filter": Const(kernel)}, {"strides": [1, 2, 2, 1], "padding": padding})
    (want,) = last.expected()
    first = case(
        op, {"input": x.transpose(0, 3, 1, 2), "filter": Const(kernel)},
        {"strides": [1, 1, 2, 2], "padding": padding, "data_format": "NCHW"}, unknown={"input": [0, 2, 3]},
    )  # fmt: skip
    fragment = first.convert()
    assert not any(n.op == "trt.transpose" for n in fragment.graph if n.output in fragment.graph.outputs)
    (got,) = run_layers(fragment, first.operand_arrays(fragment))
    np.testing.assert_allclose(got.transpose(0, 2, 3, 1), want, rtol=1e-4, atol=1e-4)


FUSIONS: list[tuple[list[str], int]] = [
    (["BiasAdd"], 1), (["BiasAdd", "Relu"], 1), (["BiasAdd", "Relu6"], 1), (["BiasAdd", "Elu"], 1),
    (["BiasAdd", "LeakyRelu"], 1),
    (["FusedBatchNorm"], 4), (["FusedBatchNorm", "Relu"], 4),
]  # fmt: skip


@pytest.mark.parametrize(("fused", "count"), FUSIONS)
def test_fused_conv(fused: list[str], count: int) -> None:
    """What grappler leaves behind a convolution."""
    vectors = [Const(np.abs(normal([4], seed=i)) + 0.1) for i in range(count)]
    if "Add" in fused:
        vectors[1] = normal([2, 4, 4, 4], seed=9)
    given_ = {"input": normal([2, 8, 8, 3]), "filter": Const(normal([3, 3, 3, 4])), "args": vectors, "host_args": []}
    told = {"strides": [1, 2, 2, 1], "padding": "SAME", "fused_ops": fused, "epsilon": 1e-3, "num_args": count}
    check("_FusedConv2D", given_, told, atol=1e-4)


PLAIN_OF = {
    "_FusedDepthwiseConv2dNative": ("DepthwiseConv2dNative", normal([2, 8, 8, 4]), normal([3, 3, 4, 1])),
    "_FusedConv3D": ("Conv3D", normal([2, 4, 5, 4, 3]), normal([2, 2, 2, 3, 4])),
}


@pytest.mark.parametrize("op", sorted(PLAIN_OF))
def test_other_fused_convolutions(op: str) -> None:
    """TensorFlow has kernels of these with oneDNN only, so here the parts are the oracle."""
    plain, x, kernel = PLAIN_OF[op]
    told = {"strides": [1, *[2] * (x.ndim - 2), 1], "padding": "SAME"}
    bias = normal([4], seed=1)
    (want,) = case(plain, [x, Const(kernel)], told).expected()
    given_ = {"input": x, "filter": Const(kernel), "args": [Const(bias)]}
    fused = case(op, given_, told | {"fused_ops": ["BiasAdd", "Relu"]}, unknown={"input": [0]})
    fragment = fused.convert()
    (got,) = run_layers(fragment, fused.operand_arrays(fragment))
    np.testing.assert_allclose(got, np.maximum(want + bias, 0), rtol=1e-4, atol=1e-4)
    build_layers(fragment, fused.operand_arrays(fragment))


def test_fused_summand() -> None:
    """TensorFlow adds a tensor inside the op on a GPU only, so here the parts are the oracle."""
    x, kernel, bias, side = (
        normal([2, 8, 8, 3]),
        normal([3, 3, 3, 4]),
        normal([4], seed=1),
        normal([2, 4, 4, 4], seed=2),
    )
    told = {"strides": [1, 2, 2, 1], "padding": "SAME"}
    (plain,) = case("Conv2D", [x, Const(kernel)], told).expected()
    given_ = {"input": x, "filter": Const(kernel), "args": [Const(bias), side], "host_args": []}
    fused = case("_FusedConv2D", given_, told | {"fused_ops": ["BiasAdd", "Add", "Relu"], "num_args": 2})
    fragment = fused.convert()
    (got,) = run_layers(fragment, fused.operand_arrays(fragment))
    np.testing.assert_allclose(got, np.maximum(plain + bias + side, 0), rtol=1e-4, atol=1e-4)


@moderate
@given(
    st.integers(2, 5),
    st.sampled_from(["float32", "float16", "bfloat16", "int32", "int64"]),
    st.booleans(),
    st.booleans(),
    seeds,
)
def test_bias_add(rank: int, dtype: str, first: bool, constant: bool, seed: int) -> None:
    """Channels first and last."""
    first = first and rank > 2
    x = normal([2, 3, 4, 2, 3][:rank], dtype, seed)
    bias = normal([x.shape[1 if first else -1]], dtype, seed + 1)
    given_ = {"value": x, "bias": Const(bias) if constant else bias}
    check("BiasAdd", given_, {"data_format": "NCHW" if first else "NHWC"}, unknown="all")
    check("BiasAddV1", {"value": x, "bias": normal([x.shape[-1]], dtype, seed)}, unknown="all")


@pytest.mark.parametrize("free", [[0], [0, 1, 2]])
@pytest.mark.parametrize("constant", [True, False])
def test_builds(free: list[int], constant: bool) -> None:
    """The real builder takes them."""
    x, kernel = normal([2, 8, 9, 4]), normal([3, 3, 4, 4])
    strides = {"strides": [1, 2, 2, 1], "padding": "SAME"}
    check("Conv2D", [x, Const(kernel) if constant else kernel], strides, unknown={"input": free}, atol=1e-4, build=True)
    half = {"input": x.astype(np.float16), "filter": Const(kernel.astype(np.float16))}
    check("Conv2D", half, strides, unknown={"input": free}, atol=2e-2, build=True)
    check("DepthwiseConv2dNative", [x, Const(kernel)], strides, unknown={"input": free}, atol=1e-4, build=True)
    sizes = np.array([2, 16, 17, 4], np.int32)
    turned = {
        "input_sizes": sizes if len(free) > 1 else Const(sizes),
        "filter": Const(kernel),
        "out_backprop": normal([2, 8, 9, 4]),
    }
    check("Conv2DBackpropInput", turned, strides, unknown={"out_backprop": free}, atol=1e-4, build=True)


def test_refusals() -> None:
    """Each with its reason."""
    x, kernel = normal([2, 8, 9, 4]), Const(normal([3, 3, 4, 4]))
    wide = {"strides": [1, 5, 5, 1], "padding": "SAME"}
    assert "beyond the window" in refused("Conv2D", [x, kernel], wide, unknown={"input": [1]})
    plain = {"strides": [1, 1, 1, 1], "padding": "SAME"}
    assert "channels is unknown" in refused("Conv2D", [x, kernel], plain, unknown={"input": [3]})
    assert "not in int32" in refused("Conv2D", [x.astype(np.int32), Const(kernel.array.astype(np.int32))], plain)
    assert "not fully known" in refused("Conv2D", [x, normal([3, 3, 4, 4])], plain, unknown={"filter": [0]})
    turned = {"input_sizes": Const([2, 8, 9, 8]), "filter": kernel, "out_backprop": normal([2, 8, 9, 4])}
    odd = turned | {"input_sizes": Const([2, 8, 9, 7])}
    assert "no multiple" in refused("Conv2DBackpropInput", odd, plain)
    both = plain | {"strides": [1, 2, 2, 1], "dilations": [1, 2, 2, 1]}
    late = {"input_sizes": Const([2, 8, 9, 4]), "filter": kernel.array, "out_backprop": normal([2, 4, 5, 4])}
    assert "strides or dilations" in refused("Conv2DBackpropInput", late, both)
    given_ = {"input": x, "filter": kernel, "args": [Const(normal([4]))], "host_args": []}
    assert "fused op" in refused("_FusedConv2D", given_, plain | {"fused_ops": ["BiasAdd", "Mystery"], "num_args": 1})
