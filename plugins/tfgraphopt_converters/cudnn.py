"""cuDNN's recurrent networks written out as loops: CudnnRNN, CudnnRNNV2 and CudnnRNNV3.

The cells are those of cuDNN's documentation (cudnnRNNMode_t). The weights are one block, which TensorFlow calls opaque. Its layout is
that of Keras' own writer (``_standardize_cudnn_weights``) and, for more than one layer or direction, of MXNet's
``FusedRNNCell.unpack_weights``: for each layer, for its forward and its backward direction, the matrices of all gates for the input,
then those for the hidden state, each with a row for each unit; after all matrices, in the same order, the two biases of all gates.
A block of another size than this layout has is refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import attrs
import numpy as np

from tfgraphopt.ir import Attrs, DType, OpDef, Shape, Tensor, Value
from tfgraphopt_converters import sizes
from tfgraphopt_converters.dtypes import FLOATS, require
from tfgraphopt_converters.sizes import Cut
from tfgraphopt_trt.builder import LayerBuilder, Operand, Unsupported
from tfgraphopt_trt.converter import Converter, Weights, converter
from tfgraphopt_trt.scopes import Scope

OPS = ("CudnnRNN", "CudnnRNNV2", "CudnnRNNV3")

# -- cells -------------------------------------------------------------------------------------------------------------

States = Sequence[Value]
Step = Callable[[LayerBuilder, Value, Value, States], States]
"""Of what the input and what the hidden state give to all gates, and the states: the next states, the hidden one first."""


def _lstm(b: LayerBuilder, given: Value, recurrent: Value, states: States) -> States:
    i, f, c, o = _gates(b, b.elementwise(given, recurrent, "sum"), 4)
    i, f, o = (b.activation(g, "sigmoid") for g in (i, f, o))
    kept = b.elementwise(f, states[1], "prod")
    cell = b.elementwise(kept, b.elementwise(i, b.activation(c, "tanh"), "prod"), "sum")
    return b.elementwise(o, b.activation(cell, "tanh"), "prod"), cell


def _gru(b: LayerBuilder, given: Value, recurrent: Value, states: States) -> States:
    """The reset gate weighs what the hidden state gives, bias included (Keras calls this ``reset_after``)."""
    ours, theirs = _gates(b, given, 3), _gates(b, recurrent, 3)
    r, z = (b.activation(b.elementwise(ours[i], theirs[i], "sum"), "sigmoid") for i in (0, 1))
    new = b.activation(b.elementwise(ours[2], b.elementwise(r, theirs[2], "prod"), "sum"), "tanh")
    taken = b.elementwise(b.elementwise(b.scalar(1, z), z, "sub"), new, "prod")
    return (b.elementwise(taken, b.elementwise(z, states[0], "prod"), "sum"),)


def _plain(activation: str) -> Step:
    return lambda b, given, recurrent, states: (b.activation(b.elementwise(given, recurrent, "sum"), activation),)


def _gates(b: LayerBuilder, joined: Value, count: int) -> list[Value]:
    width = joined.shape[1]
    assert width is not None
    units = width // count
    return [sizes.cut(b, joined, {1: Cut(i * units, units)}) for i in range(count)]


_CELLS: Mapping[str, tuple[int, Step]] = {
    "lstm": (4, _lstm), "gru": (3, _gru), "rnn_relu": (1, _plain("relu")), "rnn_tanh": (1, _plain("tanh")),
}  # fmt: skip
"""The number of gates of each ``rnn_mode``, and what one step computes."""


# -- weights -----------------------------------------------------------------------------------------------------------


@attrs.frozen(slots=True)
class Layout:
    """What lies where in the block of weights.

    Attributes:
        gates: matrices of each kind in one direction of one layer.
        units: the size of the hidden state.
        inputs: the size of the input of the first layer.
        layers: the number of layers.
        directions: 1 or 2.
        skipped: whether the first layer has no matrices for its input, which goes to each gate as it is.
    """

    gates: int
    units: int
    inputs: int
    layers: int
    directions: int
    skipped: bool

    @property
    def size(self) -> int:
        """The number of elements."""
        return sum(int(np.prod(shape)) for shape in self._shapes())

    def parts(self) -> list[tuple[int, tuple[int, ...]]]:
        """Where each matrix and each bias begins, and its dimensions; an empty matrix is one that there is not."""
        shapes = list(self._shapes())
        starts = itertools.accumulate((int(np.prod(s)) for s in shapes), initial=0)
        return list(zip(starts, shapes, strict=False))

    def _shapes(self) -> Iterator[tuple[int, ...]]:
        rows = self.gates * self.units
        for layer in range(self.layers):
            wide = self.directions * self.units if layer else 0 if self.skipped else self.inputs
            yield from [(rows, wide), (rows, self.units)] * self.directions
        yield from [(rows,)] * (2 * self.layers * self.directions)


@attrs.frozen(slots=True)
class _Direction:
    """The weights of one direction of one layer: ``matrix`` (None where the input is taken as it is) and ``bias`` for the input."""

    gates: int
    matrix: Value | None
    recurrent: Value
    bias: Value
    recurrent_bias: Value


def _directions(b: LayerBuilder, params: Tensor | Value, layout: Layout) -> list[_Direction]:
    """One for each direction of each layer, in the order of the block."""
    parts = layout.parts()
    count = len(parts) // 4
    made = []
    for i in range(count):
        four = [parts[2 * i], parts[2 * i + 1], parts[2 * (count + i)], parts[2 * (count + i) + 1]]
        matrix, *others = [_part(b, params, *p) if p[1][-1] else None for p in four]
        recurrent, bias, recurrent_bias = (v for v in others if v is not None)
        made.append(_Direction(layout.gates, matrix, recurrent, bias, recurrent_bias))
    return made


def _part(b: LayerBuilder, params: Tensor | Value, start: int, shape: tuple[int, ...]) -> Value:
    size = int(np.prod(shape))
    if isinstance(params, Tensor):
        return b.constant(params.numpy().reshape(-1)[start : start + size].reshape(shape), params.dtype)
    return b.reshape(sizes.cut(b, params, {0: Cut(start, size)}), shape)


# -- one direction of one layer ----------------------------------------------------------------------------------------


@attrs.frozen(slots=True)
class _Time:
    """How long the sequences are: ``lengths`` int32[batch] and ``valid`` bool[time, batch, 1], or None where all are whole."""

    lengths: Value | None = None
    valid: Value | None = None

    @classmethod
    def of(cls, b: LayerBuilder, x: Value, lengths: Value | None) -> _Time:
        """For ``x`` [time, batch, size]."""
        if lengths is None:
            return cls()
        steps = b.unsqueeze(sizes.iota(b, sizes.size_of(b, x, 0), DType.INT32), (1,))
        within = b.elementwise(steps, b.unsqueeze(lengths, (0,)), "less")
        return cls(lengths, b.unsqueeze(within, (2,)))

    def reversed(self, b: LayerBuilder, x: Value) -> Value:
        """Each sequence of ``x`` backwards, what lies behind its end left alone."""
        if self.lengths is None:
            return sizes.backwards(b, x, (0,))
        return b.reverse_sequence(x, self.lengths, 1, 0)

    def cleared(self, b: LayerBuilder, x: Value) -> Value:
        """``x`` with zeros behind the end of each sequence."""
        return x if self.valid is None else b.select(self.valid, x, b.scalar(0, x))


def _pass(
    b: LayerBuilder, step: Step, weights: _Direction, x: Value, states: States, time: _Time
) -> tuple[Value, States]:
    """The hidden state of every step over ``x`` [time, batch, size], and the last states."""
    given = _given(b, weights, x)
    body = Scope.open(b, "body", [s.type for s in states])
    inside = body.builder
    entered = [body.enter(v) for v in (weights.recurrent, weights.recurrent_bias)]
    matrix, bias = (v for v in entered if isinstance(v, Value))
    part = body.graph.add_input("step", given.type.with_shape(Shape(given.shape.known()[1:])))
    recurrent = _affine(inside, body.states[0], matrix, bias)
    made = step(inside, part, recurrent, body.states)
    iterated = [given]
    if time.valid is not None:
        valid = body.graph.add_input("valid", time.valid.type.with_shape(Shape(time.valid.shape.known()[1:])))
        made = [inside.select(valid, new, old) for new, old in zip(made, body.states, strict=True)]
        iterated.append(time.valid)
    graph = body.close([*made, made[0]])
    trips = sizes.scalar_of(b, sizes.size_of(b, x, 0), DType.INT64)
    *final, outputs = b.loop(graph, states, list(body.captured), iterated, trips=trips)
    return time.cleared(b, outputs), final


def _given(b: LayerBuilder, weights: _Direction, x: Value) -> Value:
    """What the input gives to all gates, for all steps at once."""
    if weights.matrix is None:
        return b.elementwise(b.concatenation([x] * weights.gates, 2), weights.bias, "sum")
    return _affine(b, x, weights.matrix, weights.bias)


def _affine(b: LayerBuilder, x: Value, matrix: Value, bias: Value) -> Value:
    matrix = b.expand_to(matrix, len(x.shape))
    return b.elementwise(b.matrix_multiply(x, matrix, transpose_b=True), bias, "sum")


# -- the whole network -------------------------------------------------------------------------------------------------


@attrs.frozen(slots=True)
class _Network:
    """One node; ``batch_first`` tells of its input and its output.

    TensorFlow's kernel computes bfloat16 in float32. Where batches come first, it declares states as [batch, count, units] (a count of all
    directions of all layers) and hands their memory to cuDNN, which takes it as [count, batch, units]. So do these layers: they
    compute what TensorFlow computes, not what its documentation says.
    """

    b: LayerBuilder
    mode: str
    layout: Layout
    batch_first: bool

    def run(self, x: Value, initial: States, params: Tensor | Value, lengths: Value | None) -> list[Value]:
        """The outputs and the last states, cast to what they were given as."""
        b, kind = self.b, x.dtype
        wide = DType.FLOAT if kind is DType.BFLOAT16 else kind
        if isinstance(params, Tensor):
            params = params.astype(wide)
        else:
            params = b.cast(params, wide)
        directions = _directions(b, params, self.layout)
        x, *initial = (b.cast(v, wide) for v in (x, *initial))
        count, units = self.layout.layers * self.layout.directions, self.layout.units
        if self.batch_first:
            x, initial = b.transpose(x, (1, 0, 2)), [b.reshape(s, (count, -1, units)) for s in initial]
        outputs, final = self._layers(x, initial, directions, lengths)
        if self.batch_first:
            outputs, final = b.transpose(outputs, (1, 0, 2)), [b.reshape(s, (-1, count, units)) for s in final]
        return [b.cast(v, kind) for v in (outputs, *final)]

    def _layers(
        self, x: Value, initial: States, directions: Sequence[_Direction], lengths: Value | None
    ) -> tuple[Value, list[Value]]:
        b, step = self.b, _CELLS[self.mode][1]
        time = _Time.of(b, x, lengths)
        found: list[States] = []
        for layer in range(self.layout.layers):
            outputs = []
            for direction in range(self.layout.directions):
                place = layer * self.layout.directions + direction
                states = [sizes.take(b, s, 0, place) for s in initial]
                taken = time.reversed(b, x) if direction else x
                made, final = _pass(b, step, directions[place], taken, states, time)
                outputs.append(time.reversed(b, made) if direction else made)
                found.append(final)
            x = b.concatenation(outputs, 2)
        return x, [self._stacked([s[i] for s in found]) for i in range(len(initial))]

    def _stacked(self, states: States) -> Value:
        return self.b.concatenation([self.b.unsqueeze(s, (0,)) for s in states], 0)


def _convert(
    b: LayerBuilder, x: Value, input_h: Value, input_c: Value, params: Tensor | Value, lengths: Value | None, mode: str,
    skipped: bool, directions: int, axis: int,
) -> list[Value]:  # fmt: skip
    require(b, FLOATS, x)
    for value, what in ((x, "input"), (input_h, "input_h")):
        if value.shape.rank != 3:
            raise Unsupported(f"{what!r} has {value.shape.rank} dimensions, not three")
    layout = _layout(x, input_h, params, mode, skipped, directions, axis)
    states = [input_h, input_c] if mode == "lstm" else [input_h]
    made = _Network(b, mode, layout, bool(axis)).run(x, states, params, lengths)
    nothing = b.constant(np.zeros(()), x.dtype)
    return [*made, *([] if mode == "lstm" else [nothing]), *_reserved(b, nothing)]


def _reserved(b: LayerBuilder, nothing: Value) -> list[Value]:
    """What TensorFlow keeps for gradients; it is not specified."""
    return [nothing, b.constant(np.zeros((), np.int8), DType.INT8)][: len(b.results) - 3]


def _layout(
    x: Value, input_h: Value, params: Tensor | Value, mode: str, skipped: bool, directions: int, axis: int
) -> Layout:
    """The layout that fits the dimensions; what they do not tell follows from the size of the block."""
    gates = _CELLS[mode][0]
    units, inputs, count = input_h.shape[2], x.shape[2], input_h.shape[axis]
    (size,) = (params.shape if isinstance(params, Tensor) else params.type.shape).known()
    if units is None:
        raise Unsupported("the number of units is not known")
    if skipped and inputs != units:
        raise Unsupported(f"its first layer takes {inputs} inputs as they are for {units} units")
    if count is None and (size is None or inputs is None):
        raise Unsupported("neither the number of its layers nor the number of its weights is known")
    if inputs is None and size is None:
        raise Unsupported("neither the size of its input nor the number of its weights is known")
    layout = Layout(gates, units, inputs or 0, 1 if count is None else count // directions, directions, skipped)
    if size is None:
        return layout
    if inputs is None:
        layout = attrs.evolve(layout, inputs=(size - layout.size) // (gates * units * directions))
    elif count is None:
        each = attrs.evolve(layout, layers=2).size - layout.size
        layout = attrs.evolve(layout, layers=max(1, 1 + (size - layout.size) // each))
    if size != layout.size:
        raise Unsupported(f"its block of weights has {size} elements; {layout.layers} layers have {layout.size}")
    return layout


def _skips(input_mode: str, x: Value, input_h: Value) -> bool:
    """Whether the first layer takes its input as it is; TensorFlow chooses that where it may and the sizes agree."""
    return input_mode == "skip_input" or (input_mode == "auto_select" and x.shape[2] == input_h.shape[2])


def _check_dropout(dropout: float, is_training: bool, input_h: Value, axis: int, directions: int) -> None:
    """Dropout lies between layers: one layer has none."""
    if dropout and is_training and input_h.shape[axis] != directions:
        raise Unsupported("it is in training and drops out at random; TensorRT's generator is another one")


_DIRECTIONS = {"unidirectional": 1, "bidirectional": 2}


@converter("CudnnRNN", "CudnnRNNV2")
def cudnn_rnn(
    b: LayerBuilder, input: Operand, input_h: Operand, input_c: Operand, params: Weights | Operand, *, rnn_mode: str,
    input_mode: str, direction: str, dropout: float, is_training: bool,
) -> list[Value]:  # fmt: skip
    """A loop for each direction of each layer, over [time, batch, size]; what is reserved for gradients is zero."""
    count = _DIRECTIONS[direction]
    _check_dropout(dropout, is_training, input_h, 0, count)
    skipped = _skips(input_mode, input, input_h)
    return _convert(b, input, input_h, input_c, params, None, rnn_mode, skipped, count, 0)


@converter("CudnnRNNV3")
def cudnn_rnn_v3(
    b: LayerBuilder, input: Operand, input_h: Operand, input_c: Operand, params: Weights | Operand,
    sequence_lengths: Operand, *, rnn_mode: str, input_mode: str, direction: str, dropout: float, num_proj: int,
    is_training: bool, time_major: bool,
) -> list[Value]:  # fmt: skip
    """As CudnnRNN, with time or batch first; behind the end of a sequence its states stay and its outputs are zero.

    A backward direction begins at the end of each sequence.
    """
    if num_proj:
        raise Unsupported(
            "it projects its hidden state; where the matrices of that lie in its weights is not documented"
        )
    axis, count = (0 if time_major else 1), _DIRECTIONS[direction]
    _check_dropout(dropout, is_training, input_h, axis, count)
    skipped = _skips(input_mode, input, input_h)
    lengths = _shorter(b, sequence_lengths, input, axis)
    return _convert(b, input, input_h, input_c, params, lengths, rnn_mode, skipped, count, axis)


def _shorter(b: LayerBuilder, lengths: Value, x: Value, axis: int) -> Value | None:
    """``lengths``, or None where all are known to be the size of ``x`` along ``axis``."""
    known, size = b.tensor_of(lengths), x.shape[axis]
    whole = known is not None and size is not None and bool((known.numpy() == size).all())
    return None if whole else lengths


# -- state -------------------------------------------------------------------------------------------------------------


def _stateless(attributes: Attrs) -> bool:
    """Only dropout in training has a state: that of the generator."""
    return not (attributes["dropout"] and attributes["is_training"])


def op_defs() -> Sequence[OpDef]:
    """TensorFlow's definitions of the ops, with when they are not stateful."""
    from tfgraphopt.graphdef import tf_op_table

    table = tf_op_table()
    found = [table.get(op) for op in OPS]
    return [attrs.evolve(d, stateless=_stateless) for d in found if d is not None]


CONVERTERS: tuple[Converter, ...] = (cudnn_rnn, cudnn_rnn_v3)
