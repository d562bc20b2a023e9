"""TensorFlow's fused recurrent cells, written out as it documents them: LSTMBlockCell, GRUBlockCell, BlockLSTM, BlockLSTMV2."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np

from tfgraphopt.ir import DType, Shape, Value
from tfgraphopt_converters import sizes
from tfgraphopt_converters.dtypes import FLOATS, require
from tfgraphopt_converters.sizes import Cut
from tfgraphopt_trt.builder import LayerBuilder, Operand, Unsupported
from tfgraphopt_trt.converter import Converter, converter
from tfgraphopt_trt.scopes import Scope


def _affine(b: LayerBuilder, parts: Sequence[Value], weight: Value, bias: Value) -> Value:
    product = b.matrix_multiply(b.concatenation(list(parts), 1), weight)
    return b.elementwise(product, bias, "sum")


def _gates(b: LayerBuilder, joined: Value, count: int, units: int) -> list[Value]:
    return [sizes.cut(b, joined, {1: Cut(i * units, units)}) for i in range(count)]


def _sigmoid(b: LayerBuilder, x: Value) -> Value:
    return b.activation(x, "sigmoid")


def _tanh(b: LayerBuilder, x: Value) -> Value:
    return b.activation(x, "tanh")


def _units(weight: Value, gates: int) -> int:
    columns = weight.shape[1]
    if columns is None:
        raise Unsupported("the number of units is not known")
    return columns // gates


# -- GRU ---------------------------------------------------------------------------------------------------------------


@converter("GRUBlockCell")
def gru_block_cell(
    b: LayerBuilder, x: Operand, h_prev: Operand, w_ru: Operand, w_c: Operand, b_ru: Operand, b_c: Operand
) -> Sequence[Value]:
    """One step of a GRU: the gates r and u, the candidate c, and the next state."""
    require(b, FLOATS, x)
    gates = _affine(b, [x, h_prev], w_ru, b_ru)
    r, u = (_sigmoid(b, g) for g in _gates(b, gates, 2, _units(w_ru, 2)))
    c = _tanh(b, _affine(b, [x, b.elementwise(h_prev, r, "prod")], w_c, b_c))
    kept = b.elementwise(u, h_prev, "prod")
    new = b.elementwise(b.elementwise(b.scalar(1, u), u, "sub"), c, "prod")
    return r, u, c, b.elementwise(new, kept, "sum")


# -- LSTM --------------------------------------------------------------------------------------------------------------


@attrs.frozen(slots=True)
class _Lstm:
    """What is the same in every step: ``order`` are the places of the gates i, c, f, o in the products."""

    weight: Value
    bias: Value
    peepholes: tuple[Value, Value, Value] | None
    forget_bias: float
    cell_clip: float
    order: tuple[int, int, int, int]

    def step(self, b: LayerBuilder, x: Value, cell: Value, hidden: Value) -> tuple[Value, ...]:
        """i, cs, f, o, ci, co, h."""
        found = _gates(b, _affine(b, [x, hidden], self.weight, self.bias), 4, _units(self.weight, 4))
        i, c, f, o = (found[place] for place in self.order)
        if self.forget_bias:
            f = b.elementwise(f, b.scalar(self.forget_bias, f), "sum")
        i, f = (_sigmoid(b, self._seen(b, g, cell, n)) for n, g in enumerate((i, f)))
        ci = _tanh(b, c)
        cs = b.elementwise(b.elementwise(ci, i, "prod"), b.elementwise(cell, f, "prod"), "sum")
        if self.cell_clip > 0:
            limit = self.cell_clip
            cs = b.elementwise(b.elementwise(cs, b.scalar(-limit, cs), "max"), b.scalar(limit, cs), "min")
        o = _sigmoid(b, self._seen(b, o, cs, 2))
        co = _tanh(b, cs)
        return i, cs, f, o, ci, co, b.elementwise(co, o, "prod")

    def _seen(self, b: LayerBuilder, gate: Value, cell: Value, index: int) -> Value:
        if self.peepholes is None:
            return gate
        return b.elementwise(gate, b.elementwise(cell, self.peepholes[index], "prod"), "sum")


_ICFO, _IFCO = (0, 1, 2, 3), (0, 2, 1, 3)
"""Where the gates i, c, f, o lie."""


@converter("LSTMBlockCell")
def lstm_block_cell(
    builder: LayerBuilder, x: Operand, cs_prev: Operand, h_prev: Operand, w: Operand, wci: Operand, wcf: Operand,
    wco: Operand, b: Operand, *, forget_bias: float, cell_clip: float, use_peephole: bool,
) -> Sequence[Value]:  # fmt: skip
    """One step of an LSTM, with or without peepholes: i, cs, f, o, ci, co, h."""
    require(builder, FLOATS, x)
    peepholes = (wci, wcf, wco) if use_peephole else None
    return _Lstm(w, b, peepholes, forget_bias, cell_clip, _ICFO).step(builder, x, cs_prev, h_prev)


def _over_time(
    builder: LayerBuilder, lstm: _Lstm, steps: Value, x: Value, cell: Value, hidden: Value
) -> Sequence[Value]:
    """The results of every step along the first axis of ``x``, zeros from step ``steps`` on."""
    require(builder, FLOATS, x)
    body = Scope.open(builder, "body", [cell.type, hidden.type])
    inside = attrs.evolve(lstm, weight=_entered(body, lstm.weight), bias=_entered(body, lstm.bias))
    if lstm.peepholes is not None:
        i, f, o = (_entered(body, p) for p in lstm.peepholes)
        inside = attrs.evolve(inside, peepholes=(i, f, o))
    part = body.graph.add_input("step", x.type.with_shape(Shape(x.shape.known()[1:])))
    made = inside.step(body.builder, part, *body.states)
    graph = body.close([made[1], made[6], *made])
    count = sizes.elements(builder, steps)[0]
    trips = sizes.scalar_of(builder, count, DType.INT64)
    taken = sizes.cut(builder, x, {0: Cut(0, count)})  # TensorRT iterates over the whole of a tensor
    rows = builder.loop(graph, [cell, hidden], list(body.captured), [taken], trips=trips)[2:]
    zero = builder.constant(np.zeros((), x.dtype.np), x.dtype)
    whole = Cut(0, sizes.size_of(builder, x, 0))
    return [sizes.cut(builder, r, {0: whole}, "fill", zero) for r in rows]


def _entered(body: Scope, value: Value) -> Value:
    entered = body.enter(value)
    assert isinstance(entered, Value)
    return entered


@converter("BlockLSTM")
def block_lstm(
    builder: LayerBuilder, seq_len_max: Operand, x: Operand, cs_prev: Operand, h_prev: Operand, w: Operand, wci: Operand,
    wcf: Operand, wco: Operand, b: Operand, *, forget_bias: float, cell_clip: float, use_peephole: bool,
) -> Sequence[Value]:  # fmt: skip
    """A loop over the first axis of ``x``: i, cs, f, o, ci, co, h of every step.

    From step ``seq_len_max`` on all are zeros; TensorFlow fills only cs and h there.
    """
    lstm = _Lstm(w, b, (wci, wcf, wco) if use_peephole else None, forget_bias, cell_clip, _ICFO)
    return _over_time(builder, lstm, seq_len_max, x, cs_prev, h_prev)


@converter("BlockLSTMV2")
def block_lstm_v2(
    builder: LayerBuilder, seq_len_max: Operand, x: Operand, cs_prev: Operand, h_prev: Operand, w: Operand, wci: Operand,
    wcf: Operand, wco: Operand, b: Operand, *, cell_clip: float, use_peephole: bool,
) -> Sequence[Value]:  # fmt: skip
    """As BlockLSTM, without a bias of the forget gate and with the gates in the order i, f, c, o."""
    lstm = _Lstm(w, b, (wci, wcf, wco) if use_peephole else None, 0.0, cell_clip, _IFCO)
    return _over_time(builder, lstm, seq_len_max, x, cs_prev, h_prev)


CONVERTERS: tuple[Converter, ...] = (gru_block_cell, lstm_block_cell, block_lstm, block_lstm_v2)
