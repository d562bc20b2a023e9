"""LayerBuilder: what a converter writes ``trt.*`` layers with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import attrs
import numpy as np

from tfgraphopt.ir import AttrValue, Body, DType, Graph, Tensor, TensorType, Value, constant_of
from tfgraphopt_trt.layerdef import LayerError

Operand = Value
"""A tensor known only at run time (or a constant that does not need to be one)."""


class Unsupported(Exception):
    """A converter cannot convert this node; the text is the reason the user reads in the report."""


class Compound:
    """What stands for a value that is not one tensor (a list of tensors) among the converters of one function."""

    what: ClassVar[str] = "a compound"


class Functions(Protocol):
    """Writes the functions that nodes refer to: what loops and conditionals are converted with."""

    def find(self, name: str) -> Graph:
        """The function ``name`` in TensorFlow ops; Unsupported when there is none."""

    def write(self, function: Graph, arguments: Sequence[Value | Compound], into: Graph) -> list[Value | Compound]:
        """Write the layers of ``function`` into ``into`` and return its results; Unsupported with the reason.

        ``arguments`` are tensors of ``into``, or compounds of such; what is constant among them is constant in the function.
        """


@attrs.frozen(slots=True)
class Pads:
    """Spatial padding of a convolution or pooling: ``mode`` is ``"explicit"`` (then before/after count) or ``"same_upper"``."""

    mode: str = "explicit"
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()


class LayerBuilder:
    """Adds ``trt.*`` layers to one graph; every method returns the new tensor(s).

    All methods are strict about element types as TensorRT is (strongly typed networks): operands of an elementwise layer have
    the same one. Ranks are equalised by :meth:`elementwise` and :meth:`select` only.
    """

    def __init__(
        self,
        graph: Graph,
        op: str = "",
        results: Sequence[TensorType] = (),
        name: str = "",
        functions: Functions | None = None,
    ) -> None:
        self.graph = graph
        self.op = op
        self.results = tuple(results)
        self.name = name or op
        self._functions = functions
        self.origin: tuple[str, ...] = ()

    # -- functions ---------------------------------------------------------------------------------------------------

    @property
    def functions(self) -> Functions:
        """Writes the functions that the node refers to; Unsupported where it is converted alone."""
        if self._functions is None:
            raise Unsupported("the functions that it refers to are not known here")
        return self._functions

    def within(self, graph: Graph) -> LayerBuilder:
        """A builder like this one that writes into ``graph``."""
        other = LayerBuilder(graph, self.op, self.results, self.name, self._functions)
        other.origin = self.origin
        return other

    # -- any layer ---------------------------------------------------------------------------------------------------

    def layer(self, op: str, inputs: Sequence[Value], attrs: dict[str, AttrValue] | None = None) -> tuple[Value, ...]:
        """Add a layer of any op by its full name; Unsupported when its shape rule refuses the operands."""
        try:
            node = self.graph.add(op, inputs, attrs or {}, name=self.name, origin=self.origin)
        except LayerError as error:
            raise Unsupported(str(error)) from error
        return node.outputs

    def _one(self, op: str, inputs: Sequence[Value], **attributes: AttrValue) -> Value:
        return self.layer("trt." + op, inputs, attributes)[0]

    # -- constants, types --------------------------------------------------------------------------------------------

    def constant(self, value: Any, dtype: DType | None = None) -> Value:
        """A constant from a Tensor, an array or numbers."""
        tensor = value if isinstance(value, Tensor) else Tensor.of(value, dtype)
        return self._one("constant", [], value=tensor if dtype is None else tensor.astype(dtype))

    def scalar(self, value: float | bool, like: Value) -> Value:
        """A constant of ``like``'s element type whose shape is all ones, of ``like``'s rank."""
        return self.constant(np.full((1,) * len(like.shape), value), like.dtype)

    def tensor_of(self, value: Value) -> Tensor | None:
        """The constant behind ``value``, or None when it is known only at run time."""
        return constant_of(value)

    def cast(self, x: Value, to: DType) -> Value:
        """``x`` in element type ``to`` (itself when it has that already)."""
        return x if x.dtype is to else self._one("cast", [x], to=to)

    def identity(self, x: Value) -> Value:
        """A copy of ``x``."""
        return self._one("identity", [x])

    # -- elementwise -------------------------------------------------------------------------------------------------

    def activation(self, x: Value, type: str, alpha: float = 0.0, beta: float = 0.0) -> Value:
        """IActivationLayer; ``type`` is TensorRT's name in lower case: relu sigmoid tanh leaky_relu elu selu softsign softplus
        clip hard_sigmoid scaled_tanh thresholded_relu gelu_erf gelu_tanh."""
        return self._one("activation", [x], type=type, alpha=float(alpha), beta=float(beta))

    def unary(self, x: Value, operation: str) -> Value:
        """IUnaryLayer: exp log sqrt recip abs neg sin cos tan sinh cosh asin acos atan asinh acosh atanh ceil floor erf not
        sign round isinf isnan."""
        return self._one("unary", [x], operation=operation)

    def elementwise(self, a: Value, b: Value, operation: str) -> Value:
        """IElementWiseLayer with numpy broadcasting over any ranks: sum prod max min sub div pow floor_div and or xor equal
        greater less."""
        a, b = self.equal_ranks(a, b)
        return self._one("elementwise", [a, b], operation=operation)

    def select(self, condition: Value, then: Value, otherwise: Value) -> Value:
        """ISelectLayer: ``then`` where ``condition`` (bool) holds, else ``otherwise``; broadcasts over any ranks."""
        condition, then, otherwise = self.equal_ranks(condition, then, otherwise)
        return self._one("select", [condition, then, otherwise])

    def equal_ranks(self, *operands: Value) -> tuple[Value, ...]:
        """The operands with leading axes of size one where TensorFlow's broadcasting would imply them."""
        rank = max(len(v.shape) for v in operands)
        return tuple(self.expand_to(v, rank) for v in operands)

    def expand_to(self, x: Value, rank: int) -> Value:
        """``x`` with leading axes of size one up to ``rank`` (constants are reshaped, not computed)."""
        missing = rank - len(x.shape)
        if missing == 0:
            return x
        tensor = constant_of(x)
        if tensor is not None:
            return self.constant(tensor.reshape((1,) * missing + tensor.shape.static()))
        return self.unsqueeze(x, tuple(range(missing)))

    # -- linear algebra ----------------------------------------------------------------------------------------------

    def convolution(
        self, x: Value, kernel: Value, bias: Value | None = None, *, stride: Sequence[int], pads: Pads,
        dilation: Sequence[int], groups: int = 1,
    ) -> Value:  # fmt: skip
        """IConvolutionLayer, 2-D or 3-D. ``x`` is N,C,spatial; ``kernel`` is K,C/groups,spatial; ``bias`` is K."""
        return self._one(
            "convolution", _given(x, kernel, bias), stride=tuple(stride), dilation=tuple(dilation), groups=groups,
            padding=pads.mode, pre=pads.before, post=pads.after,
        )  # fmt: skip

    def deconvolution(
        self, x: Value, kernel: Value, bias: Value | None = None, *, stride: Sequence[int], pads: Pads,
        dilation: Sequence[int], groups: int = 1,
    ) -> Value:  # fmt: skip
        """IDeconvolutionLayer (explicit pads only). ``x`` is N,C,spatial; ``kernel`` is C,K/groups,spatial."""
        return self._one(
            "deconvolution", _given(x, kernel, bias), stride=tuple(stride), dilation=tuple(dilation), groups=groups,
            padding=pads.mode, pre=pads.before, post=pads.after,
        )  # fmt: skip

    def pooling(
        self, x: Value, type: str, *, window: Sequence[int], stride: Sequence[int], pads: Pads,
        count_padding: bool = False,
    ) -> Value:  # fmt: skip
        """IPoolingLayer, ``type`` max or average, over N,C,spatial; ``count_padding`` divides by the whole window."""
        return self._one(
            "pooling", [x], type=type, window=tuple(window), stride=tuple(stride), padding=pads.mode, pre=pads.before,
            post=pads.after, count_padding=count_padding,
        )  # fmt: skip

    def matrix_multiply(self, a: Value, b: Value, *, transpose_a: bool = False, transpose_b: bool = False) -> Value:
        """IMatrixMultiplyLayer over the last two axes; leading axes broadcast; equal ranks >= 2."""
        return self._one("matrix_multiply", [a, b], transpose_a=transpose_a, transpose_b=transpose_b)

    def einsum(self, equation: str, *operands: Value) -> Value:
        """IEinsumLayer: lower-case subscripts, explicit output, no ellipsis, no repeated subscript in one operand."""
        return self._one("einsum", operands, equation=equation)

    def reduce(self, x: Value, operation: str, axes: Sequence[int], keep_dims: bool) -> Value:
        """IReduceLayer: sum prod max min avg over ``axes``."""
        return self._one("reduce", [x], operation=operation, axes=tuple(axes), keep_dims=keep_dims)

    def softmax(self, x: Value, axis: int) -> Value:
        """ISoftMaxLayer over one axis."""
        return self._one("softmax", [x], axis=axis)

    def topk(
        self, x: Value, operation: str, k: int | Value, axis: int, indices: DType = DType.INT32
    ) -> tuple[Value, Value]:
        """ITopKLayer: values and ``indices`` of the ``k`` largest (``"max"``) or smallest (``"min"``), sorted."""
        extra = [k] if isinstance(k, Value) else []
        number = None if isinstance(k, Value) else k
        found = self.layer(
            "trt.topk", [x, *extra], {"operation": operation, "k": number, "axis": axis, "indices": indices}
        )
        return found[0], found[1]

    def cumulative(
        self, x: Value, axis: int, operation: str = "sum", exclusive: bool = False, reverse: bool = False
    ) -> Value:
        """ICumulativeLayer along ``axis``."""
        return self._one("cumulative", [x], axis=axis, operation=operation, exclusive=exclusive, reverse=reverse)

    def lrn(self, x: Value, window: int, alpha: float, beta: float, k: float) -> Value:
        """ILRNLayer across channels of N,C,H,W: ``x / (k + alpha/window * sum(x^2))^beta``."""
        return self._one("lrn", [x], window=window, alpha=float(alpha), beta=float(beta), k=float(k))

    def normalization(
        self, x: Value, scale: Value, bias: Value, axes: Sequence[int], epsilon: float, groups: int = 1
    ) -> Value:
        """INormalizationLayer over ``axes``; scale and bias have ``x``'s rank and broadcast."""
        return self._one("normalization", [x, scale, bias], axes=tuple(axes), epsilon=float(epsilon), groups=groups)

    def attention(self, query: Value, key: Value, value: Value) -> Value:
        """IAttention over [batch, heads, length, size]: ``softmax(query @ key^T) @ value``."""
        return self._one("attention", [query, key, value])

    # -- control flow ------------------------------------------------------------------------------------------------

    def conditional(
        self, condition: Value, operands: Sequence[Value], then: Graph, otherwise: Graph
    ) -> tuple[Value, ...]:
        """IIfConditional: the results of ``then`` where ``condition`` (one truth value) holds, else those of ``otherwise``.

        The branches are graphs of layers whose formal inputs are ``operands``; they are not to be changed afterwards.
        """
        return self.layer("trt.conditional", [condition, *operands], {"then": Body(then), "otherwise": Body(otherwise)})

    def loop(
        self, body: Graph, states: Sequence[Value], captured: Sequence[Value] = (), iterated: Sequence[Value] = (), *,
        trips: Value | None = None, condition: Graph | None = None,
    ) -> tuple[Value, ...]:  # fmt: skip
        """ILoop: the states after the last trip, then whatever else ``body`` gives, stacked along a new first axis.

        Args:
            body: layers whose formal inputs are the states, the captured tensors, and one slice of each iterated one; it returns
                the next states and what is to be stacked.
            states: their initial values; a state keeps its shape.
            captured: what the body reads and does not change.
            iterated: tensors whose slice ``i`` along their first axis trip ``i`` reads.
            trips: how often, an integer; without it ``condition`` decides.
            condition: layers that make one truth value of the states and the captured tensors, asked before each trip. With
                ``trips`` it must say the same: TensorRT takes it where the number is known only while the engine runs.
        """
        return self.layer(
            "trt.loop", [*_given(trips), *states, *captured, *iterated],
            {
                "counted": trips is not None, "states": len(states), "iterated": len(iterated), "body": Body(body),
                "condition": None if condition is None else Body(condition),
            },
        )  # fmt: skip

    # -- shape and layout --------------------------------------------------------------------------------------------

    def shape(self, x: Value) -> Value:
        """IShapeLayer: the dimensions of ``x`` as int64[rank]."""
        return self._one("shape", [x])

    def transpose(self, x: Value, perm: Sequence[int]) -> Value:
        """``x`` with its axes permuted (constants are permuted at once; the identity permutation adds nothing)."""
        if tuple(perm) == tuple(range(len(perm))):
            return x
        tensor = constant_of(x)
        return (
            self.constant(tensor.transpose(perm))
            if tensor is not None
            else self._one("transpose", [x], perm=tuple(perm))
        )

    def reshape(self, x: Value, dims: Sequence[int]) -> Value:
        """``x`` with other dimensions: at most one -1 (the rest), and 0 copies the input's dimension at the same position."""
        return self._one("reshape", [x], dims=tuple(dims))

    def reshape_to(self, x: Value, shape: Value) -> Value:
        """``x`` with the dimensions that the integer tensor ``shape`` holds at run time (one may be -1)."""
        return self._one("reshape", [x, shape], dims=None)

    def squeeze(self, x: Value, axes: Sequence[int]) -> Value:
        """ISqueezeLayer: ``x`` without ``axes``, which have size one."""
        return self._one("squeeze", [x], axes=tuple(axes)) if axes else x

    def unsqueeze(self, x: Value, axes: Sequence[int]) -> Value:
        """IUnsqueezeLayer: ``x`` with new axes of size one at positions ``axes`` of the result."""
        return self._one("unsqueeze", [x], axes=tuple(axes)) if axes else x

    def slice(
        self, x: Value, start: Sequence[int] | Value, size: Sequence[int] | Value, stride: Sequence[int] | Value | None = None,
        mode: str = "strict_bounds", fill: Value | None = None, axes: Sequence[int] | None = None,
    ) -> Value:  # fmt: skip
        """ISliceLayer: ``size[i]`` elements from ``start[i]`` with step ``stride[i]`` along each axis.

        ``mode`` is strict_bounds, wrap, clamp, fill (with ``fill``, a scalar tensor), or reflect. Each of start, size and stride is
        numbers or an integer tensor known at run time.
        """
        stride = (1,) * len(x.shape) if stride is None else stride
        given: dict[str, Sequence[int] | Value | None] = {"start": start, "size": size, "stride": stride, "fill": fill}
        operands = {k: v for k, v in given.items() if isinstance(v, Value)}
        numbers = {k: None if isinstance(v, Value) else _numbers(v) for k, v in given.items() if k != "fill"}
        return self._one("slice", [x, *operands.values()], operands=tuple(operands), mode=mode, **numbers)

    def concatenation(self, operands: Sequence[Value], axis: int) -> Value:
        """IConcatenationLayer (a single operand is returned as it is)."""
        return operands[0] if len(operands) == 1 else self._one("concatenation", operands, axis=axis)

    def gather(self, x: Value, indices: Value, axis: int = 0, batch_dims: int = 0, mode: str = "default") -> Value:
        """IGatherLayer: ``mode`` default (numpy.take), nd (GatherNd) or element (take_along_axis); indices int32 or int64."""
        return self._one("gather", [x, indices], axis=axis, batch_dims=batch_dims, mode=mode)

    def scatter(self, x: Value, indices: Value, updates: Value, mode: str = "nd", axis: int = 0) -> Value:
        """IScatterLayer: ``x`` with ``updates`` written at ``indices`` (mode nd or element)."""
        return self._one("scatter", [x, indices, updates], mode=mode, axis=axis)

    def one_hot(self, indices: Value, values: Value, depth: Value, axis: int) -> Value:
        """IOneHotLayer: ``values`` is [off, on]; ``depth`` an int32 scalar (a constant or shape tensor)."""
        return self._one("one_hot", [indices, values, depth], axis=axis)

    def linspace(self, shape: Sequence[int] | Value, start: Value, delta: Value) -> Value:
        """IFillLayer: ``start + i * delta`` along axes; start scalar, delta of shape [rank]; dtype is start's."""
        extra = [shape] if isinstance(shape, Value) else []
        dims = None if isinstance(shape, Value) else _numbers(shape)
        return self._one("linspace", [start, delta, *extra], shape=dims)

    def resize(
        self, x: Value, size: Sequence[int] | Value | None, mode: str, coordinates: str, *,
        scales: Sequence[float] | None = None, rounding: str = "floor", cubic_coeff: float = -0.75,
        exclude_outside: bool = False,
    ) -> Value:  # fmt: skip
        """IResizeLayer of all axes to ``size`` (numbers or a shape tensor) or by ``scales``: mode nearest, linear or cubic;
        coordinates asymmetric, half_pixel or align_corners; rounding floor, half_down, half_up or ceil (nearest only)."""
        extra = [size] if isinstance(size, Value) else []
        dims = None if size is None or isinstance(size, Value) else _numbers(size)
        return self._one(
            "resize", [x, *extra], size=dims, scales=None if scales is None else tuple(float(s) for s in scales), mode=mode,
            coordinates=coordinates, rounding=rounding, cubic_coeff=float(cubic_coeff), exclude_outside=exclude_outside,
        )  # fmt: skip

    def reverse_sequence(self, x: Value, lengths: Value, batch_axis: int, sequence_axis: int) -> Value:
        """IReverseSequenceLayer."""
        return self._one("reverse_sequence", [x, lengths], batch_axis=batch_axis, sequence_axis=sequence_axis)

    def non_zero(self, x: Value, indices: DType = DType.INT64) -> Value:
        """INonZeroLayer: coordinates of the elements that are not zero, as [rank, count]."""
        return self._one("non_zero", [x], indices=indices)

    def grid_sample(
        self, x: Value, grid: Value, mode: str = "linear", align_corners: bool = False, padding: str = "fill"
    ) -> Value:
        """IGridSampleLayer over N,C,H,W with grid N,H,W,2 in [-1, 1]; padding is fill, clamp or reflect."""
        return self._one("grid_sample", [x, grid], mode=mode, align_corners=align_corners, padding=padding)

    def nms(
        self, boxes: Value, scores: Value, max_boxes: Value, iou: Value, score: Value, indices: DType = DType.INT32
    ) -> tuple[Value, Value]:
        """INMSLayer with corner boxes [batch, n, 4] and scores [batch, n, classes]; returns [m, 3] indices and the count."""
        found = self.layer("trt.nms", [boxes, scores, max_boxes, iou, score], {"indices": indices})
        return found[0], found[1]

    def quantize(self, x: Value, scale: Value, axis: int | None = None, to: DType = DType.INT8) -> Value:
        """IQuantizeLayer: ``round_half_even(x / scale)`` clipped to ``to``; scale is a scalar, or 1-D along ``axis``."""
        return self._one("quantize", [x, scale], axis=axis, to=to)

    def dequantize(self, x: Value, scale: Value, axis: int | None = None) -> Value:
        """IDequantizeLayer: ``x * scale`` in scale's element type."""
        return self._one("dequantize", [x, scale], axis=axis)


def _given(*values: Value | None) -> list[Value]:
    return [v for v in values if v is not None]


def _numbers(values: Sequence[int] | Value | None) -> tuple[int, ...] | None:
    if values is None or isinstance(values, Value):
        return None
    return tuple(int(v) for v in values)
