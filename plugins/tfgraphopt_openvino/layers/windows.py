"""Layers whose windows slide over N,C,spatial tensors: convolution, deconvolution, pooling, LRN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfgraphopt.ir import Node, Value
from tfgraphopt_openvino.layers.attributes import flag, integer, ints, number, text
from tfgraphopt_openvino.mapping import OpenVinoLayer, Unmapped, Writer


def _padding(node: Node, rank: int) -> tuple[list[int], list[int], str]:
    """Elements before and after each spatial axis, and OpenVINO's word for the rest."""
    zeros = [0] * rank
    if text(node, "padding") == "same_upper":
        return zeros, zeros, "same_upper"
    return ints(node, "pre") or zeros, ints(node, "post") or zeros, "explicit"


def _kernel(w: Writer, value: Value, groups: int) -> Any:
    """The kernel; in groups, with an axis for them in front."""
    if groups == 1:
        return w.tensor(value)
    first, *rest = value.shape.static()
    dims = [groups, first // groups, *rest]
    array = w.array(value)
    if array is not None:
        return w.constant(array.reshape(dims))
    return w.ops.reshape(w.tensor(value), w.indices(dims), special_zero=False).output(0)


def _biased(w: Writer, node: Node, x: Any) -> Any:
    if len(node.inputs) < 3:
        return x.output(0)
    dims = [1, -1] + [1] * (len(node.inputs[0].shape) - 2)
    array = w.array(node.inputs[2])
    if array is not None:
        return w.ops.add(x, w.constant(array.reshape(dims))).output(0)
    bias = w.ops.reshape(w.tensor(node.inputs[2]), w.indices(dims), special_zero=False)
    return w.ops.add(x, bias).output(0)


def _convolution(w: Writer, node: Node) -> Sequence[Any]:
    groups, rank = integer(node, "groups"), len(node.inputs[0].shape) - 2
    before, after, auto = _padding(node, rank)
    add = w.ops.convolution if groups == 1 else w.ops.group_convolution
    x, kernel = w.tensor(node.inputs[0]), _kernel(w, node.inputs[1], groups)
    made = add(x, kernel, ints(node, "stride"), before, after, ints(node, "dilation"), auto)
    return [_biased(w, node, made)]


def _deconvolution(w: Writer, node: Node) -> Sequence[Any]:
    groups, rank = integer(node, "groups"), len(node.inputs[0].shape) - 2
    before, after, _ = _padding(node, rank)
    add = w.ops.convolution_backprop_data if groups == 1 else w.ops.group_convolution_backprop_data
    x, kernel = w.tensor(node.inputs[0]), _kernel(w, node.inputs[1], groups)
    made = add(x, kernel, ints(node, "stride"), pads_begin=before, pads_end=after, dilations=ints(node, "dilation"))
    return [_biased(w, node, made)]


def _pooling(w: Writer, node: Node) -> Sequence[Any]:
    window, stride = ints(node, "window"), ints(node, "stride")
    before, after, auto = _padding(node, len(window))
    x = w.tensor(node.inputs[0])
    if text(node, "type") == "max":
        ones = [1] * len(window)
        return [w.ops.max_pool(x, stride, ones, before, after, window, "floor", auto).output(0)]
    skip = not flag(node, "count_padding")
    return [w.ops.avg_pool(x, stride, before, after, window, skip, "floor", auto).output(0)]


def _lrn(w: Writer, node: Node) -> Sequence[Any]:
    """OpenVINO's CPU kernel takes whole numbers for ``k`` only: ``(k + s)^-b`` is ``k^-b (1 + s/k)^-b``."""
    alpha, beta, k = (number(node, name) for name in ("alpha", "beta", "k"))
    if k <= 0:
        raise Unmapped(f"OpenVINO's LRN with k = {k}")
    x = w.tensor(node.inputs[0])
    made = w.ops.lrn(x, w.indices([1]), alpha=alpha / k, beta=beta, bias=1.0, size=integer(node, "window"))
    return [w.ops.multiply(made, w.like(x, k**-beta)).output(0)]


LAYERS = (
    OpenVinoLayer("trt.convolution", _convolution), OpenVinoLayer("trt.deconvolution", _deconvolution),
    OpenVinoLayer("trt.pooling", _pooling), OpenVinoLayer("trt.lrn", _lrn),
)  # fmt: skip
