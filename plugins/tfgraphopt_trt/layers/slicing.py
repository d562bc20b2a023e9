"""ISliceLayer: strided windows, and padding by its out-of-bounds modes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfgraphopt.ir import Attrs, Dim, Node, TensorType, Value
from tfgraphopt_trt.layerdef import LayerDef, LayerError
from tfgraphopt_trt.layers.emission import member, outputs
from tfgraphopt_trt.layers.rules import INDICES, MOVABLE, check, check_arity, check_dtype, dims_of, text, typed
from tfgraphopt_trt.shape_values import Values, known_values, slice_numbers

if TYPE_CHECKING:
    from tfgraphopt_trt.emit import Emitter

MODES = ("strict_bounds", "wrap", "clamp", "fill", "reflect")
PARTS = ("start", "size", "stride")
INPUT_OF = {"start": 1, "size": 2, "stride": 3, "fill": 4}


def _names(attrs: Attrs) -> tuple[str, ...]:
    names: Any = attrs["operands"]
    return tuple(names)


def _infer(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    names = _names(attrs)
    check_arity(inputs, 1 + len(names), 1 + len(names), "slice")
    dtype, dims = check_dtype(inputs[0], MOVABLE, "slice"), dims_of(inputs[0])
    mode = text(attrs, "mode", MODES)
    _check_operands(inputs, attrs, len(dims), mode)
    start, size, stride = (_known(inputs, attrs, name, len(dims)) for name in PARTS)
    for axis, dim in enumerate(dims):
        _check_axis(axis, dim, start[axis], size[axis], stride[axis], mode)
    return typed(dtype, size)


def _check_operands(inputs: Sequence[Value], attrs: Attrs, rank: int, mode: str) -> None:
    for name, value in zip(_names(attrs), inputs[1:], strict=True):
        check(name in INPUT_OF, f"slice has no operand {name!r}")
        if name == "fill":
            check(
                mode == "fill" and value.dtype is inputs[0].dtype,
                f"slice fills {inputs[0].type} with {value.type} ({mode})",
            )
            check(value.shape.dims == (), f"the fill of slice is {value.shape}, not a scalar")
            continue
        check_dtype(value, INDICES, f"slice {name}")
        check(value.shape.dims == (rank,), f"{name} of slice is {value.type} for {rank} dimensions")


def _known(inputs: Sequence[Value], attrs: Attrs, name: str, rank: int) -> Values:
    values = slice_numbers(known_values, inputs, attrs, name)
    if values is None:
        check(name in _names(attrs), f"slice has no {name}")
        return (None,) * rank
    check(len(values) == rank, f"{name} of slice has {len(values)} numbers for {rank} dimensions")
    return values


def _check_axis(axis: int, dim: Dim, start: Dim, size: Dim, stride: Dim, mode: str) -> None:
    check(size is None or size >= 0, f"slice takes {size} elements along axis {axis}")
    if mode != "strict_bounds" or dim is None or start is None or size is None or stride is None or size == 0:
        return
    last = start + (size - 1) * stride
    check(
        min(start, last) >= 0 and max(start, last) < dim,
        f"slice reads {start} to {last} of {dim} elements along axis {axis}",
    )


# -- meaning ---------------------------------------------------------------------------------------------------------


class _Cut:
    """One slice while it is computed: start, size and stride of each axis are numbers or scalar tensors."""

    def __init__(self, tf: Any, inputs: Sequence[Any], attrs: Attrs) -> None:
        self.tf = tf
        self.x = inputs[0]
        self.rank: int = self.x.shape.rank
        self.given = dict(zip(_names(attrs), inputs[1:], strict=True))
        self.start, self.size, self.stride = (self._numbers(attrs, name) for name in PARTS)

    def _numbers(self, attrs: Attrs, name: str) -> list[Any]:
        if name not in self.given:
            given: Any = attrs[name]
            return list(given)
        tensor = self.tf.cast(self.given[name], self.tf.int32)
        static = self.tf.get_static_value(tensor, partial=True)
        found = [None] * self.rank if static is None else list(static)
        return [tensor[i] if v is None else int(v) for i, v in enumerate(found)]

    def dim(self, axis: int) -> Any:
        static = self.x.shape[axis]
        return self.tf.shape(self.x)[axis] if static is None else static

    @property
    def is_contiguous(self) -> bool:
        return all(isinstance(s, int) and s == 1 for s in self.stride)

    @property
    def is_known(self) -> bool:
        return all(isinstance(v, int) for v in [*self.start, *self.size, *self.stride])

    def indices(self, axis: int) -> Any:
        """Where the elements of the result lie along ``axis``; None when it is taken whole."""
        start, size, stride = self.start[axis], self.size[axis], self.stride[axis]
        if isinstance(start, int) and isinstance(size, int) and (start, size, stride) == (0, self.x.shape[axis], 1):
            return None
        return start + self.tf.range(size) * stride


def _mean(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    return [_MEANINGS[text(attrs, "mode")](_Cut(tf, inputs, attrs))]


def _strict(cut: _Cut) -> Any:
    if cut.is_contiguous:
        return cut.tf.slice(cut.x, cut.start, cut.size)
    if cut.is_known and 0 not in cut.stride:  # stride 0 repeats an element, which tf.strided_slice cannot
        return _strided(cut)
    return _gathered(cut, lambda places, dim: places)


def _strided(cut: _Cut) -> Any:
    """tf.strided_slice; an end before the first element has to be said by a mask.

    Nothing is nothing from 0 on, wherever it starts: a start of -1 would count from the end.
    """
    starts = [s if n else 0 for s, n in zip(cut.start, cut.size, strict=True)]
    ends = [s + n * t if n else 0 for s, n, t in zip(cut.start, cut.size, cut.stride, strict=True)]
    mask = sum(1 << i for i, end in enumerate(ends) if end < 0)
    return cut.tf.strided_slice(cut.x, starts, [max(end, 0) for end in ends], cut.stride, end_mask=mask)


def _gathered(cut: _Cut, place: Callable[[Any, Any], Any]) -> Any:
    """Axis by axis, the elements at ``place(index, size of the axis)``."""
    result = cut.x
    for axis in range(cut.rank):
        places = cut.indices(axis)
        if places is not None:
            result = cut.tf.gather(result, place(places, cut.dim(axis)), axis=axis)
    return result


def _wrap(cut: _Cut) -> Any:
    return _gathered(cut, lambda places, dim: cut.tf.math.floormod(places, dim))


def _clamp(cut: _Cut) -> Any:
    return _gathered(cut, lambda places, dim: cut.tf.clip_by_value(places, 0, dim - 1))


def _reflect(cut: _Cut) -> Any:
    """Reflection that does not repeat the border: ... 2 1 0 1 2 ... n-2 n-1 n-2 ..."""

    def place(places: Any, dim: Any) -> Any:
        period = cut.tf.maximum(2 * (dim - 1), 1)
        along = cut.tf.math.floormod(places, period)
        return cut.tf.minimum(along, cut.tf.abs(period - along)) if dim != 1 else cut.tf.zeros_like(along)

    return _gathered(cut, place)


def _fill(cut: _Cut) -> Any:
    value = cut.given.get("fill", cut.tf.zeros([], cut.x.dtype))
    if not cut.is_contiguous:
        return _filled_gather(cut, value)
    pads, begin = [], []
    for axis in range(cut.rank):
        start, end = cut.start[axis], cut.start[axis] + cut.size[axis]
        before = _at_least_zero(cut.tf, -start)
        pads.append((before, _at_least_zero(cut.tf, end - cut.dim(axis))))
        begin.append(start + before)
    padded = cut.tf.pad(cut.x, pads, constant_values=value)
    return cut.tf.slice(padded, begin, cut.size)


def _at_least_zero(tf: Any, number: Any) -> Any:
    return max(number, 0) if isinstance(number, int) else tf.maximum(number, 0)


def _filled_gather(cut: _Cut, value: Any) -> Any:
    result = _clamp(cut)
    for axis in range(cut.rank):
        places = cut.indices(axis)
        if places is not None:
            inside = (places >= 0) & (places < cut.dim(axis))
            shape = [-1 if i == axis else 1 for i in range(cut.rank)]
            result = cut.tf.where(cut.tf.reshape(inside, shape), result, value)
    return result


_MEANINGS: Mapping[str, Callable[[_Cut], Any]] = {
    "strict_bounds": _strict, "wrap": _wrap, "clamp": _clamp, "fill": _fill, "reflect": _reflect,
}  # fmt: skip


# -- emission --------------------------------------------------------------------------------------------------------


def _static(node: Node, name: str) -> tuple[int, ...]:
    given: Any = node.attrs[name]
    if given is None and name not in _names(node.attrs):
        raise LayerError(f"slice has no {name}")
    return tuple(given) if given is not None else (0,) * len(dims_of(node.inputs[0]))


def _emit(e: Emitter, node: Node) -> Sequence[Any]:
    numbers = [e.dims(_static(node, name)) for name in PARTS]
    layer = e.network.add_slice(e.tensor(node.inputs[0]), *numbers)
    layer.mode = member(e.trt.SampleMode, text(node.attrs, "mode"))
    for name, value in zip(_names(node.attrs), node.inputs[1:], strict=True):
        layer.set_input(INPUT_OF[name], e.tensor(value))
    return outputs(e, layer)


LAYERS: tuple[LayerDef, ...] = (
    LayerDef(
        "trt.slice",
        _infer,
        _mean,
        _emit,
        {"operands": (), "start": None, "size": None, "stride": None, "mode": "strict_bounds"},
        ("x", "operands"),
        "ISliceLayer: ``size`` elements from ``start`` with step ``stride`` along each axis.",
    ),
)
