"""Which layers are worth quantising, and which are left alone: data that plugins contribute."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from tfgraphopt.ir import Dim, Node, constant_of

ANY_LAYER = "*"


@attrs.frozen(slots=True)
class WeightedLayer:
    """A layer that multiplies an activation with constant weights, which integer kernels can do.

    Attributes:
        op: the layer.
        pick: ``pick(node)`` gives the indices of the activation and of the weights among its inputs, and the axis of the weights
            along which they get one scale each (output channels); or the reason why the layer cannot be quantised, as a text.
    """

    op: str
    pick: Callable[[Node], tuple[int, int, int] | str]
    overrides: str = ""


@attrs.frozen(slots=True)
class QuantRule:
    """Speaks against quantising some layers.

    Attributes:
        name: unique, kebab-case; what plans name as the origin of a decision.
        check: ``check(layer, weights)`` gives the reason to leave ``layer``, whose constant input is number ``weights``, or None.
        ops: the layers that it looks at; ``("*",)`` for all weighted ones.
        engines: the kinds of engines that it is for; none for all.
    """

    name: str
    check: Callable[[Node, int], str | None]
    ops: tuple[str, ...] = (ANY_LAYER,)
    engines: tuple[str, ...] = ()
    overrides: str = ""


def objection(node: Node, weights: int, rules: Iterable[QuantRule]) -> tuple[str, str] | None:
    """The first rule that speaks against ``node``: its name and its reason."""
    for rule in rules:
        if node.op in rule.ops or ANY_LAYER in rule.ops:
            reason = rule.check(node, weights)
            if reason:
                return rule.name, reason
    return None


# -- weighted layers -----------------------------------------------------------------------------------------------------

_RUN_TIME = "its weights are known only at run time"


def _convolution(node: Node) -> tuple[int, int, int] | str:
    return (0, 1, 0) if constant_of(node.inputs[1]) is not None else _RUN_TIME


def _deconvolution(node: Node) -> tuple[int, int, int] | str:
    if constant_of(node.inputs[1]) is None:
        return _RUN_TIME
    return (0, 1, 1) if node.attrs["groups"] == 1 else "a deconvolution in groups has no axis of output channels"


def _product(node: Node) -> tuple[int, int, int] | str:
    constants = [constant_of(v) is not None for v in node.inputs]
    if sum(constants) != 1:
        return "no operand is constant: products of activations stay in floating point"
    weights = constants.index(True)
    rank = len(node.inputs[weights].shape)
    turned = bool(node.attrs["transpose_b" if weights else "transpose_a"])
    last = turned != bool(weights)  # columns of the second operand, rows of the first
    return 1 - weights, weights, rank - 1 if last else rank - 2


LAYERS = (
    WeightedLayer("trt.convolution", _convolution), WeightedLayer("trt.deconvolution", _deconvolution),
    WeightedLayer("trt.matrix_multiply", _product),
)  # fmt: skip

# -- layers too small to gain --------------------------------------------------------------------------------------------

_FEW = 16
"""Integer kernels work on blocks of 16 or 32 channels; smaller layers are padded to that and gain nothing."""
_BLOCK = 8


def _known(dim: Dim) -> int:
    return _FEW if dim is None else dim


def _small_convolution(node: Node, weights: int) -> str | None:
    groups: Any = node.attrs["groups"]
    kernel = node.inputs[weights].shape.static()
    if groups > 1:
        return _small_grouped(kernel, groups)
    first, second = kernel[:2]
    if min(first, second) >= _FEW or (first % _BLOCK == 0 and second % _BLOCK == 0):
        return None
    return f"{first} by {second} channels are too few for integer kernels to gain (less than {_FEW})"


def _small_grouped(kernel: tuple[int, ...], groups: int) -> str | None:
    if groups < _FEW and min(kernel[:2]) < _FEW:
        return f"{groups} groups of {kernel[1]} channels are too few for integer kernels to gain"
    return None if math.prod(kernel[2:]) > 1 else "a grouped convolution of single points moves more than it computes"


def _small_product(node: Node, weights: int) -> str | None:
    rows, inner = _matrix(
        node.inputs[weights].shape.static(), bool(node.attrs["transpose_b" if weights else "transpose_a"])
    )
    sizes = (rows, inner)
    if min(sizes) < _FEW:
        return f"a matrix of {rows} by {inner} is too small for integer kernels to gain (less than {_FEW})"
    other = node.inputs[1 - weights].shape.known()
    turned = bool(node.attrs["transpose_a" if weights else "transpose_b"])
    vectors = other[-1] if turned == bool(weights) else other[-2]
    return "it multiplies a single vector, which only waits for its weights" if vectors == 1 else None


def _matrix(dims: tuple[int, ...], turned: bool) -> tuple[int, int]:
    return (dims[-1], dims[-2]) if turned else (dims[-2], dims[-1])


# -- layers without integer kernels --------------------------------------------------------------------------------------


def _deconvolution_in_tensorrt(node: Node, weights: int) -> str | None:
    """Of kernels 2 to 4, strides 1 and 2, 16 to 64 channels, the layer table of TensorRT for RTX 1.7 shows none that reads Int8."""
    return "TensorRT for RTX makes no integer kernels of deconvolutions; the option force quantises it for another TensorRT"


RULES: tuple[QuantRule, ...] = (
    QuantRule("small-convolution", _small_convolution, ("trt.convolution", "trt.deconvolution")),
    QuantRule("small-product", _small_product, ("trt.matrix_multiply",)),
    QuantRule("deconvolution-kernels", _deconvolution_in_tensorrt, ("trt.deconvolution",), ("tensorrt",)),
)

Layers = Mapping[str, WeightedLayer]
