"""How rows pass through the shipped layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tfgraphopt.ir import Node, Value
from tfgraphopt_trt.dimensions import DimOf, entries
from tfgraphopt_trt.shape_values import known_values, slice_numbers
from tfgraphopt_xla.rows import FIXED, SIZES, RowRule, Rows, State, Unproven


def _the_rows(states: Sequence[State]) -> Rows:
    """The one state of all operands that are made of rows."""
    found = {s for s in states if isinstance(s, Rows)}
    if len(found) != 1 or SIZES in states:
        raise Unproven("its operands have their rows along different axes, or meet the number of rows")
    return found.pop()


def _only_first(states: Sequence[State]) -> Rows:
    """The rows of the first operand, when the others do not depend on the batch."""
    if not isinstance(states[0], Rows) or any(s != FIXED for s in states[1:]):
        raise Unproven("operands other than the first depend on the batch")
    return states[0]


def _apart(rows: Rows, *axes: int) -> None:
    if rows.axis in axes:
        raise Unproven(f"it works along axis {rows.axis}, which the rows lie along")


# -- element by element ----------------------------------------------------------------------------------------------


def _pointwise(node: Node, states: Sequence[State]) -> Sequence[State]:
    """Operands have one rank; what does not depend on the batch must be repeated along the rows, not paired with them."""
    if all(s in (SIZES, FIXED) for s in states):
        return [_sizes(node)]
    rows = _the_rows(states)
    for value, state in zip(node.inputs, states, strict=True):
        if state == FIXED and len(value.shape) and value.shape[rows.axis] != 1:
            raise Unproven(f"%{value.name} has an element for each row")
    return [rows]


def _sizes(node: Node) -> State:
    if not all(v.dtype.is_integer for v in node.outputs):
        raise Unproven("the number of rows becomes a number to compute with")
    return SIZES


def _same(node: Node, states: Sequence[State]) -> Sequence[State]:
    return [_sizes(node)] if states[0] == SIZES else [_only_first(states)]


def _identity(node: Node, states: Sequence[State]) -> Sequence[State]:
    return [states[0]]


def _along(*names: str) -> Any:
    """Layers that work along the axes that their attributes ``names`` hold, and treat all others alike."""

    def follow(node: Node, states: Sequence[State]) -> Sequence[State]:
        rows = _only_first(states)
        for name in names:
            axes: Any = node.attrs[name]
            _apart(rows, *(() if axes is None else (axes,) if isinstance(axes, int) else axes))
        return [rows] * len(node.outputs)

    return follow


def _normalization(node: Node, states: Sequence[State]) -> Sequence[State]:
    rows, axes = _only_first(states), node.attrs["axes"]
    assert isinstance(axes, tuple)
    _apart(rows, *axes)
    if node.attrs["groups"] != 1 and rows.axis != 0:
        raise Unproven("in groups, the rows must lie along the first axis")
    return [rows]


def _reduce(node: Node, states: Sequence[State]) -> Sequence[State]:
    if states[0] == SIZES:
        return [_sizes(node)]
    rows, axes = _only_first(states), node.attrs["axes"]
    assert isinstance(axes, tuple)
    _apart(rows, *axes)
    gone = 0 if node.attrs["keep_dims"] else sum(a < rows.axis for a in axes)
    return [Rows(rows.axis - gone, rows.each)]


def _windows(node: Node, states: Sequence[State]) -> Sequence[State]:
    rows = _only_first(states)
    if rows.axis != 0:
        raise Unproven("a window covers what the rows lie along")
    return [rows]


def _reverse(node: Node, states: Sequence[State]) -> Sequence[State]:
    rows = states[0]
    by_row = isinstance(rows, Rows) and states[1] == Rows(0, rows.each) and node.attrs["batch_axis"] == rows.axis
    if not isinstance(rows, Rows) or not by_row:
        raise Unproven("its rows are not reversed each on its own")
    return [rows]


# -- axes ------------------------------------------------------------------------------------------------------------


def _transpose(node: Node, states: Sequence[State]) -> Sequence[State]:
    rows, perm = _only_first(states), node.attrs["perm"]
    assert isinstance(perm, tuple)
    return [Rows(perm.index(rows.axis), rows.each)]


def _squeeze(node: Node, states: Sequence[State]) -> Sequence[State]:
    if states[0] == SIZES:
        return [SIZES]
    rows, axes = _only_first(states), node.attrs["axes"]
    assert isinstance(axes, tuple)
    _apart(rows, *axes)
    return [Rows(rows.axis - sum(a < rows.axis for a in axes), rows.each)]


def _unsqueeze(node: Node, states: Sequence[State]) -> Sequence[State]:
    if states[0] == SIZES:
        return [SIZES]
    rows, axes = _only_first(states), node.attrs["axes"]
    assert isinstance(axes, tuple)
    kept = [a for a in range(len(node.output.shape)) if a not in axes]
    return [Rows(kept[rows.axis], rows.each)]


def _concatenation(node: Node, states: Sequence[State]) -> Sequence[State]:
    if all(s in (SIZES, FIXED) for s in states):
        return [_sizes(node)]
    rows = _the_rows(states)
    if FIXED in states:
        raise Unproven("rows are joined with what does not depend on the batch")
    _apart(rows, int(str(node.attrs["axis"])))
    return [rows]


def _reshape(node: Node, states: Sequence[State]) -> Sequence[State]:
    """In row-major order the elements of a row stay together when the axes before the rows stay as they are."""
    if states[0] == SIZES:
        return [SIZES]
    rows, before, after = states[0], node.inputs[0].shape.known(), node.output.shape.known()
    if not isinstance(rows, Rows) or any(isinstance(s, Rows) for s in states[1:]):
        raise Unproven("the shape is computed from data")
    axis = rows.axis
    inner, outer = before[axis + 1 :], after[axis + 1 :]
    kept = len(after) > axis and before[:axis] == after[:axis] and None not in before[:axis] and after[axis] is None
    if not kept or None in inner or None in outer:
        raise Unproven(f"a reshape of {node.inputs[0].shape} to {node.output.shape} may not keep rows apart")
    elements, size = rows.each * math.prod(_numbers(inner)), math.prod(_numbers(outer))
    if not size or elements % size:
        raise Unproven(f"{elements} elements a row do not fill blocks of {size}")
    return [Rows(axis, elements // size)]


def _numbers(dims: Sequence[int | None]) -> list[int]:
    return [d for d in dims if d is not None]


# -- products --------------------------------------------------------------------------------------------------------


def _matrix_multiply(node: Node, states: Sequence[State]) -> Sequence[State]:
    rank = len(node.output.shape)
    letters = "abcdefghijkl"[: rank - 2]
    first = "yx" if node.attrs["transpose_a"] else "xy"
    second = "zy" if node.attrs["transpose_b"] else "yz"
    terms = [letters + first, letters + second]
    return [_labelled(node, terms, letters + "xz", states)]


def _einsum(node: Node, states: Sequence[State]) -> Sequence[State]:
    left, _, result = str(node.attrs["equation"]).replace(" ", "").partition("->")
    return [_labelled(node, left.split(","), result, states)]


def _labelled(node: Node, terms: Sequence[str], result: str, states: Sequence[State]) -> State:
    """One letter stands for the rows wherever they are, and it is not summed over."""
    found = {(term[s.axis], s.each) for term, s in zip(terms, states, strict=True) if isinstance(s, Rows)}
    if len(found) != 1 or SIZES in states:
        raise Unproven("rows meet along different axes")
    letter, each = found.pop()
    if letter not in result:
        raise Unproven("it sums over rows")
    for term, state, value in zip(terms, states, node.inputs, strict=True):
        if state == FIXED and letter in term and value.shape[term.index(letter)] != 1:
            raise Unproven(f"%{value.name} has an element for each row")
    return Rows(result.index(letter), each)


# -- indexing --------------------------------------------------------------------------------------------------------


def _gather(node: Node, states: Sequence[State]) -> Sequence[State]:
    if all(s in (SIZES, FIXED) for s in states):
        return [_sizes(node)]
    if SIZES in states:
        raise Unproven("it reads at places that depend on the number of rows")
    return [_GATHERS[str(node.attrs["mode"])](node, states[0], states[1])]


def _take(node: Node, x: State, indices: State) -> State:
    axis, batch = int(str(node.attrs["axis"])), int(str(node.attrs["batch_dims"]))
    rank = len(node.inputs[1].shape)
    if x == indices and isinstance(x, Rows) and x.axis < batch:
        return x
    if batch == 0 and x == FIXED and isinstance(indices, Rows):
        return Rows(axis + indices.axis, indices.each)
    if batch == 0 and indices == FIXED and isinstance(x, Rows) and x.axis != axis:
        return Rows(x.axis if x.axis < axis else x.axis - 1 + rank, x.each)
    raise Unproven("it takes elements across rows")


def _take_nd(node: Node, x: State, indices: State) -> State:
    batch, rank = int(str(node.attrs["batch_dims"])), len(node.inputs[1].shape)
    if x == indices and isinstance(x, Rows) and x.axis < batch:
        return x
    if batch == 0 and x == FIXED and isinstance(indices, Rows) and indices.axis < rank - 1:
        return indices
    raise Unproven("it takes elements across rows")


def _take_elements(node: Node, x: State, indices: State) -> State:
    if x == indices and isinstance(x, Rows) and x.axis != node.attrs["axis"]:
        return x
    raise Unproven("it takes elements across rows")


_GATHERS = {"default": _take, "nd": _take_nd, "element": _take_elements}


def _one_hot(node: Node, states: Sequence[State]) -> Sequence[State]:
    rows, axis = _only_first(states), int(str(node.attrs["axis"]))
    axis = axis % len(node.output.shape)
    return [Rows(rows.axis + (rows.axis >= axis), rows.each)]


def _grid_sample(node: Node, states: Sequence[State]) -> Sequence[State]:
    rows = _the_rows(states)
    if FIXED in states or rows.axis != 0:
        raise Unproven("image and grid do not both have their rows along the first axis")
    return [rows]


def _shape(node: Node, states: Sequence[State]) -> Sequence[State]:
    return [SIZES]


def _resize(node: Node, states: Sequence[State]) -> Sequence[State]:
    """The axis of the rows must keep its size; sizes given as a tensor are traced to where they come from."""
    rows, scales = states[0], node.attrs["scales"]
    if not isinstance(rows, Rows) or any(isinstance(s, Rows) for s in states[1:]):
        raise Unproven("its sizes are computed from data")
    kept = isinstance(scales, tuple) and scales[rows.axis] == 1.0
    if len(node.inputs) == 2:
        kept = _is_size_of(node.inputs[1], rows.axis, node.inputs[0])
    if not kept:
        raise Unproven("it may resample across rows")
    return [rows]


def _is_size_of(sizes: Value, index: int, value: Value) -> bool:
    """Whether number ``index`` of ``sizes`` is the size of ``value`` along axis ``index``."""
    found = entries(sizes)
    return found is not None and found[index] == DimOf(value, index)


def _slice(node: Node, states: Sequence[State]) -> Sequence[State]:
    """Along the rows everything is taken, from the first to the last; along other axes nothing depends on the batch."""
    if states[0] == SIZES and all(s == FIXED for s in states[1:]):
        return [SIZES]
    rows = states[0]
    if not isinstance(rows, Rows) or any(isinstance(s, Rows) for s in states[1:]):
        raise Unproven("it cuts at places that are computed from data")
    if any(d is None for i, d in enumerate(node.output.shape.known()) if i != rows.axis):
        raise Unproven("it cuts along other axes by numbers that are not known")
    start, stride = (_number(node, name, rows.axis) for name in ("start", "stride"))
    if (start, stride) != (0, 1) or not _takes_all(node, rows.axis):
        raise Unproven("it may not take all rows in their order")
    if _varies(node, states):
        raise Unproven("where it cuts depends on the number of rows")
    return [rows]


def _number(node: Node, name: str, axis: int) -> int | None:
    numbers = slice_numbers(known_values, node.inputs, node.attrs, name)
    return None if numbers is None else numbers[axis]


def _takes_all(node: Node, axis: int) -> bool:
    operands: Any = node.attrs["operands"]
    if "size" not in operands:
        return False
    return _is_size_of(node.inputs[1 + operands.index("size")], axis, node.inputs[0])


def _varies(node: Node, states: Sequence[State]) -> bool:
    """Whether a start, a stride or the filling may hold the number of rows."""
    operands: Any = node.attrs["operands"]
    return any(s != FIXED for name, s in zip(operands, states[1:], strict=True) if name != "size")


def all_rules() -> tuple[RowRule, ...]:
    """Every rule that comes with this package."""
    return _RULES


_RULES: tuple[RowRule, ...] = (
    RowRule(("trt.elementwise", "trt.select"), _pointwise),
    RowRule(("trt.activation", "trt.unary", "trt.cast"), _same),
    RowRule(("trt.identity",), _identity),
    RowRule(("trt.softmax", "trt.cumulative", "trt.topk"), _along("axis")),
    RowRule(("trt.quantize", "trt.dequantize"), _along("axis")),
    RowRule(("trt.normalization",), _normalization),
    RowRule(("trt.reduce",), _reduce),
    RowRule(
        ("trt.convolution", "trt.deconvolution", "trt.pooling", "trt.lrn", "xla.convolution", "xla.pooling"), _windows
    ),
    RowRule(("trt.reverse_sequence",), _reverse),
    RowRule(("trt.transpose",), _transpose),
    RowRule(("trt.squeeze",), _squeeze),
    RowRule(("trt.unsqueeze",), _unsqueeze),
    RowRule(("trt.concatenation",), _concatenation),
    RowRule(("trt.reshape",), _reshape),
    RowRule(("trt.matrix_multiply",), _matrix_multiply),
    RowRule(("trt.einsum",), _einsum),
    RowRule(("trt.gather",), _gather),
    RowRule(("trt.one_hot",), _one_hot),
    RowRule(("trt.grid_sample",), _grid_sample),
    RowRule(("trt.shape",), _shape),
    RowRule(("trt.resize",), _resize),
    RowRule(("trt.slice",), _slice),
)
