"""Graphs that were trained with quantisation: their ops as quantize and dequantize layers, with the ranges that they carry.

TensorRT's 8-bit numbers are symmetric: zero is 0, the largest magnitude 127. A range whose zero is the middle of TensorFlow's
0..255 maps exactly. Any other is widened to the symmetric one around it; the step grows by the factor that :func:`symmetric` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from tfgraphopt.graphdef import GraphDef
from tfgraphopt.ir import DType, Graph, Node, Tensor, Value, constant_of
from tfgraphopt_int8.sites import DEQUANTIZE, QUANTIZE
from tfgraphopt_trt.builder import LayerBuilder, Operand, Unsupported
from tfgraphopt_trt.converter import Converter, Weights, converter

FAKE_QUANT = ("FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel")
ROUND_TRIPS = ("QuantizeAndDequantizeV2", "QuantizeAndDequantizeV3", "QuantizeAndDequantizeV4")
QAT_OPS = frozenset({*FAKE_QUANT, *ROUND_TRIPS})

Floats = npt.NDArray[np.float64]


def has_own_ranges(graph_def: GraphDef) -> bool:
    """Whether a graph, or a function of it, has ops of quantisation-aware training."""
    functions = (f.node_def for f in graph_def.library.function)
    return any(n.op in QAT_OPS for nodes in (graph_def.node, *functions) for n in nodes)


# -- ranges --------------------------------------------------------------------------------------------------------------


@attrs.frozen(slots=True)
class Symmetric:
    """Steps of symmetric 8-bit numbers for given ranges; ``coarser`` is how many times larger they are than the model's own."""

    scale: Floats
    coarser: float


def symmetric(low: npt.ArrayLike, high: npt.ArrayLike, narrow: bool) -> Symmetric:
    """The symmetric form of FakeQuant's range(s) [low, high] of 256 numbers (255 when ``narrow``).

    TensorFlow moves the range a little, in single precision, so that zero is one of its numbers (``Nudge`` in
    fake_quant_ops_functor.h); so does this. Where zero becomes number 127 or 128 of 255 the step is the model's own; of 256 numbers
    at most the outermost is then missing.

    Raises:
        Unsupported: a range is empty or does not hold zero.
    """
    lows, highs = np.asarray(low, np.float32), np.asarray(high, np.float32)
    if not (np.all(lows <= 0) and np.all(highs >= 0) and np.all(lows < highs)):
        raise Unsupported(f"its range [{lows.min():g}, {highs.max():g}] is empty or does not hold zero")
    least = 1 if narrow else 0
    step = (highs - lows) / np.float32(255 - least)
    zero = np.clip(np.floor(np.float32(least) - lows / step + np.float32(0.5)), least, 255)
    reach = np.maximum(zero - least, 255 - zero)
    central = (zero == 127) | (zero == 128)
    scale = np.where(central, step, step * reach / 127).astype(np.float64)
    return Symmetric(scale, float((scale / step).max()))


# -- converters ------------------------------------------------------------------------------------------------------------


def _pair(b: LayerBuilder, x: Value, scale: Floats, axis: int | None) -> Value:
    """``x`` quantised and dequantised; a constant is kept as 8-bit numbers."""
    step = b.constant(Tensor.of(scale.astype(np.float32)))
    attributes: dict[str, Any] = {"axis": axis}
    tensor = constant_of(x)
    if tensor is None:
        whole = b.layer(QUANTIZE, [x, step], {**attributes, "to": DType.INT8})[0]
    else:
        whole = _whole(b, tensor, scale, axis)
    return b.layer(DEQUANTIZE, [whole, step], attributes)[0]


def _whole(b: LayerBuilder, tensor: Tensor, scale: Floats, axis: int | None) -> Value:
    array = tensor.numpy().astype(np.float32)
    shape = [1] * array.ndim if axis is None else [-1 if i == axis else 1 for i in range(array.ndim)]
    steps = array / scale.astype(np.float32).reshape(shape)
    return b.constant(Tensor.of(np.clip(np.round(steps), -128, 127).astype(np.int8)))


def _eight_bits(num_bits: int) -> None:
    if num_bits != 8:
        raise Unsupported(f"it quantises to {num_bits} bits; TensorRT's integers have 8")


def _single(x: Value) -> None:
    if x.dtype is not DType.FLOAT:
        raise Unsupported(f"it quantises {x.dtype.tf_name}")


@converter("FakeQuantWithMinMaxArgs")
def fake_quant_args(
    b: LayerBuilder, inputs: Operand, *, min: float, max: float, num_bits: int, narrow_range: bool
) -> Value:
    """Fixed range."""
    _eight_bits(num_bits)
    return _pair(b, inputs, symmetric(min, max, narrow_range).scale, None)


@converter("FakeQuantWithMinMaxVars")
def fake_quant_vars(
    b: LayerBuilder, inputs: Operand, min: Weights, max: Weights, *, num_bits: int, narrow_range: bool
) -> Value:
    """Trained range."""
    _eight_bits(num_bits)
    return _pair(b, inputs, symmetric(min.numpy(), max.numpy(), narrow_range).scale, None)


@converter("FakeQuantWithMinMaxVarsPerChannel")
def fake_quant_channels(
    b: LayerBuilder, inputs: Operand, min: Weights, max: Weights, *, num_bits: int, narrow_range: bool
) -> Value:
    """Trained ranges along the last axis, of which TensorRT knows no zero that differs between channels."""
    _eight_bits(num_bits)
    scale = symmetric(min.numpy(), max.numpy(), narrow_range).scale
    return _pair(b, inputs, scale, len(inputs.shape) - 1)


def _round_trip(
    b: LayerBuilder,
    x: Value,
    low: Weights,
    high: Weights,
    signed_input: bool,
    range_given: bool,
    narrow_range: bool,
    axis: int,
) -> Value:
    _single(x)
    if not range_given:
        raise Unsupported("its range is that of the data of each call; TensorRT needs it beforehand")
    if not signed_input:
        raise Unsupported("its numbers have no sign; TensorRT's integers do")
    scale = round_trip_scale(low.numpy(), high.numpy(), narrow_range)
    return _pair(b, x, scale, None if axis < 0 else axis)


def round_trip_scale(low: npt.ArrayLike, high: npt.ArrayLike, narrow: bool) -> Floats:
    """The step of QuantizeAndDequantize with a sign: symmetric by itself, whichever side needs the larger one."""
    below = np.asarray(low, np.float64) / -(127 if narrow else 128)
    above = np.asarray(high, np.float64) / 127
    scale = np.maximum(np.where(np.asarray(low) < 0, below, 0), np.where(np.asarray(high) > 0, above, 0))
    if not np.all(scale > 0):
        raise Unsupported("its range is empty")
    return scale


@converter("QuantizeAndDequantizeV2", "QuantizeAndDequantizeV4")
def quantize_and_dequantize(
    b: LayerBuilder, input: Operand, input_min: Weights, input_max: Weights, *, signed_input: bool, num_bits: int,
    range_given: bool, narrow_range: bool, axis: int,
) -> Value:  # fmt: skip
    """A given range, per tensor or per channel."""
    _eight_bits(num_bits)
    return _round_trip(b, input, input_min, input_max, signed_input, range_given, narrow_range, axis)


@converter("QuantizeAndDequantizeV3")
def quantize_and_dequantize_v3(
    b: LayerBuilder, input: Operand, input_min: Weights, input_max: Weights, num_bits: Weights, *, signed_input: bool,
    range_given: bool, narrow_range: bool, axis: int,
) -> Value:  # fmt: skip
    """A given range, with the number of bits as a tensor."""
    _eight_bits(int(num_bits.item()))
    return _round_trip(b, input, input_min, input_max, signed_input, range_given, narrow_range, axis)


CONVERTERS: Sequence[Converter] = (
    fake_quant_args, fake_quant_vars, fake_quant_channels, quantize_and_dequantize, quantize_and_dequantize_v3,
)  # fmt: skip

# -- what it costs -----------------------------------------------------------------------------------------------------------


def widened(graph: Graph) -> list[str]:
    """One sentence for every node of TensorFlow ops in ``graph`` whose range is widened."""
    return [text for node in graph if node.op in FAKE_QUANT and (text := _widened(node))]


def _widened(node: Node) -> str | None:
    narrow: Any = node.attrs["narrow_range"]
    ends = _ends(node)
    if ends is None:
        return None
    try:
        made = symmetric(*ends, narrow)
    except Unsupported:
        return None
    if made.coarser <= 1:
        return None
    low, high = float(np.min(ends[0])), float(np.max(ends[1]))
    reach = float(np.max(made.scale)) * 127
    return (
        f"{node.name}: its range [{low:.4g}, {high:.4g}] is widened to [-{reach:.4g}, {reach:.4g}], since TensorRT's integers are "
        f"symmetric: steps and rounding errors are up to {made.coarser:.2f} times the model's"
    )


def _ends(node: Node) -> tuple[Any, Any] | None:
    if node.op == "FakeQuantWithMinMaxArgs":
        return node.attrs["min"], node.attrs["max"]
    low, high = constant_of(node["min"]), constant_of(node["max"])
    return None if low is None or high is None else (low.numpy(), high.numpy())


# -- in lowered bodies -----------------------------------------------------------------------------------------------------


def tidy(graph: Graph) -> bool:
    """Bring a trained graph's own layers into the form that TensorRT fuses; whether there are any.

    Moves of quantised constants are done beforehand, so that their dequantize layers feed the weighted layers themselves.
    """
    found = [n for n in graph if n.op == DEQUANTIZE]
    for node in found:
        _sink(graph, node)
    return bool(found)


def _sink(graph: Graph, node: Node) -> None:
    """Let the readers that move the elements of a dequantised constant read one that is moved already."""
    while (move := _only_move(node)) is not None:
        tensor = constant_of(node.inputs[0])
        moved = None if tensor is None else _moved(node, move, tensor)
        if moved is None:
            return
        constant, axis = moved
        number = graph.add(
            "trt.constant", [], {"value": constant}, name=f"{node.name}/moved", before=move, origin=node.origin
        )
        made = graph.add(
            DEQUANTIZE, [number.output, node.inputs[1]], {"axis": axis}, name=node.name, before=move, origin=node.origin
        )
        move.output.replace_uses(made.output)
        graph.erase(move)
        graph.erase(node)
        node = made


def _only_move(node: Node) -> Node | None:
    users = node.output.users
    movers = ("trt.transpose", "trt.reshape", "trt.squeeze", "trt.unsqueeze")
    return users[0] if len(users) == 1 and users[0].op in movers and not node.output.is_output else None


def _moved(node: Node, move: Node, tensor: Tensor) -> tuple[Tensor, int | None] | None:
    """The constant after ``move``, and where the axis of its scales is then; None when it is spread over several axes."""
    axis: Any = node.attrs["axis"]
    if move.op == "trt.transpose":
        perm: Any = move.attrs["perm"]
        return tensor.transpose(perm), None if axis is None else tuple(perm).index(axis)
    if not move.output.shape.is_static:
        return None
    after = move.output.shape.static()
    place = None if axis is None else _kept_axis(tensor.shape.static(), after, axis)
    return None if axis is not None and place is None else (tensor.reshape(after), place)


def _kept_axis(before: Sequence[int], after: Sequence[int], axis: int) -> int | None:
    """The axis of ``after`` that has the size and the place in memory of axis ``axis`` of ``before``."""
    inner = int(np.prod(before[axis + 1 :]))
    for index, size in enumerate(after):
        if size == before[axis] and int(np.prod(after[index + 1 :])) == inner:
            return index
    return None
