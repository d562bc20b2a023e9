"""Graphs with what becomes a composite op, in drawn variations, and the law of the rules that make them.

The law: the copy of a body that such a rule rewrites stays valid, and its layers compute what TensorFlow computes for the graph.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import reject
from hypothesis import strategies as st
from rewrite.recipes import Recipe, having

from tfgraphopt import Config, plugins
from tfgraphopt.graphdef import export_graph_def, import_graph_def
from tfgraphopt.ir import Attrs, DType, FuncRef, Graph, OpTable, Value
from tfgraphopt.ir.text import print_graph
from tfgraphopt.ir.verify import verify_graph
from tfgraphopt.optimization import op_table
from tfgraphopt.passes import Context
from tfgraphopt.regions import copy_graph, outline
from tfgraphopt.report import Report
from tfgraphopt.rewrite import Pattern, RewriteLog, apply_patterns
from tfgraphopt.testing.compare import Array, RunFailed, difference, run
from tfgraphopt.testing.contracts import law, run_steps
from tfgraphopt.testing.growing import Growing, any_dims
from tfgraphopt.testing.strategies import feeds
from tfgraphopt.transforms.dead_code import erase_dead
from tfgraphopt.transforms.infer_types import InferTypes
from tfgraphopt_converters.composites import all_patterns
from tfgraphopt_trt.layers import layer_map
from tfgraphopt_trt.lower import lower
from tfgraphopt_trt.meaning import evaluate
from tfgraphopt_trt.support import Support

LAYERS = layer_map()
ROUNDING = {DType.FLOAT: 2e-5, DType.HALF: 8e-3}
"""How far a result may be off, relative to the largest magnitude of its tensor."""
KINDS = st.sampled_from([DType.FLOAT, DType.FLOAT, DType.HALF])


# -- the law -------------------------------------------------------------------------------------------------------------


@functools.cache
def tables() -> plugins.Tables:
    """Everything that is installed."""
    return plugins.load(strict=True)


@functools.cache
def ops() -> OpTable:
    """TensorFlow's ops and those of the plugins."""
    return op_table(tables())


def check(rule: Pattern) -> None:
    """The law of ``rule``, on 200 graphs; and it fires on one of them at least."""
    log = RewriteLog()
    law(lambda data: _check_one(data, rule, log), st.data())()
    assert rule.name in log.counts, f"fired on none of the examples; refusals: {list(log.refused.values())[:5]}"


def _check_one(data: st.DataObject, rule: Pattern, log: RewriteLog) -> None:
    drawn = data.draw(having(RECIPES[rule.name], element_types=(DType.FLOAT, DType.HALF), max_size=2), "module")
    graph_def, names = export_graph_def(drawn), drawn.main.output_names
    module = import_graph_def(graph_def, names, ops=ops())
    fed = data.draw(feeds(drawn, special=False), "feeds")
    run_steps(module, [InferTypes()], tables())
    members = [n for n in module.main if n.op not in ("Placeholder", "Const")]
    if not members:
        reject()
    cut = outline(module.main, members, op="PartitionedCall", name="call", body_name="body", call_attrs=_call_attrs)
    values = [*cut.call.inputs, *cut.body.outputs]  # nodes of the body have the names that they had
    computed = _computed(graph_def, fed, values)
    operands, wanted = computed[: len(cut.call.inputs)], computed[len(cut.call.inputs) :]
    support = Support.of(Context(module, Config(engine="none"), tables(), Report()))
    found = evaluate(_lowered(cut.body, rule, support, log), LAYERS, operands)
    for have, want in zip(found, wanted, strict=True):
        _compare(have, want)


def _call_attrs(inputs: Sequence[Value], outputs: Sequence[Value]) -> Attrs:
    return {"Tin": tuple(v.dtype for v in inputs), "Tout": tuple(v.dtype for v in outputs), "f": FuncRef("body")}


def _computed(graph_def: Any, fed: Mapping[str, Array], values: Sequence[Value]) -> list[Array]:
    """What TensorFlow computes for tensors of the original graph."""
    fetches = [f"{v.producer.name}:{v.index}" for v in values if v.producer is not None]
    try:
        found = run(graph_def, fed, list(dict.fromkeys(fetches)))
    except RunFailed:
        reject()
    return [found[name] for name in fetches]


def _lowered(body: Graph, rule: Pattern, support: Support, log: RewriteLog) -> Graph:
    """The layers of ``body`` after the rule; the laws that need no numbers are checked on the way."""
    made, twin = copy_graph(body), copy_graph(body)
    rules = [r for r in all_patterns() if r.name in (rule.name, *COMPANIONS.get(rule.name, ()))]
    apply_patterns(made, rules, log=log)
    erase_dead(made)
    verify_graph(made)
    known = {o for n in body for o in n.origin}
    assert all(n.origin and set(n.origin) <= known for n in made)
    version, text = made.version, print_graph(made)
    apply_patterns(made, rules)
    assert made.version == version, "a second run changes the graph"
    apply_patterns(twin, rules)
    erase_dead(twin)
    assert print_graph(twin) == text, "two runs on equal graphs give different graphs"
    refused = [reason for n in made if n.op.startswith("Tgo") and (reason := support.refusal(n))]
    assert not refused, refused
    return lower(made, "body", support)


def _compare(found: Array, wanted: Array) -> None:
    dtype = DType.of_numpy(wanted.dtype)
    largest = float(np.abs(np.where(np.isfinite(wanted), wanted, 0).astype(np.float64)).max(initial=0.0))
    wrong = difference(wanted, found, atol=ROUNDING.get(dtype, 0.0) * max(1.0, largest))
    assert not wrong, wrong


# -- activations ---------------------------------------------------------------------------------------------------------


def _number(g: Growing, dtype: DType, number: float) -> Value:
    return g.const(np.asarray(number, dtype.np), dtype)


def _either(g: Growing, op: str, a: Value, b: Value) -> Value:
    """A commutative op, with its operands in any order."""
    return g.like(op, [b, a] if g.draw(st.booleans()) else [a, b])


def _times(g: Growing, x: Value, factor: float) -> Value:
    """``x`` times a number, or divided by its reciprocal."""
    if g.draw(st.booleans()):
        return _either(g, "Mul", x, _number(g, x.dtype, factor))
    return g.like("RealDiv", [x, _number(g, x.dtype, 1 / factor)])


def _plus(g: Growing, x: Value, number: float) -> Value:
    return _either(g, g.draw(st.sampled_from(["AddV2", "Add"])), x, _number(g, x.dtype, number))


def _operand(g: Growing, low: int = 0, high: int = 3) -> Value:
    return g.placeholder(g.draw(KINDS), g.draw(any_dims(low, high)))


def _gelu(gate: Callable[[Growing, Value], Value]) -> Recipe:
    """0.5 * x * gate(x) in the orders in which people write it, now and then with another number than a half."""

    def recipe(g: Growing) -> None:
        x = _operand(g)
        half = _number(g, x.dtype, 0.5 if g.draw(st.integers(0, 5)) else 0.25)
        made = gate(g, x)
        if g.draw(st.booleans()):
            _either(g, "Mul", _either(g, "Mul", x, half), made)
        else:
            _either(g, "Mul", x, _either(g, "Mul", made, half))

    return recipe


def _erfc(g: Growing, x: Value) -> Value:
    root, form = np.sqrt(0.5), g.draw(st.integers(0, 2))
    if form == 0:
        return g.like("Erfc", [_times(g, g.like("Neg", [x]), root)])
    return g.like("Erfc", [g.like("Neg", [_times(g, x, root)]) if form == 1 else _times(g, x, -root)])


def _erf(g: Growing, x: Value) -> Value:
    return _plus(g, g.like("Erf", [_times(g, x, np.sqrt(0.5))]), 1)


def _tanh(g: Growing, x: Value) -> Value:
    if g.draw(st.booleans()):
        cube = g.like("Pow", [x, _number(g, x.dtype, 3)])
    else:
        cube = _either(g, "Mul", x, g.like("Square", [x]) if g.draw(st.booleans()) else g.like("Mul", [x, x]))
    small = _either(g, "Mul", cube, _number(g, x.dtype, 0.044715))
    inner = _either(g, "Mul", _either(g, "AddV2", x, small), _number(g, x.dtype, np.sqrt(2 / np.pi)))
    return _plus(g, g.like("Tanh", [inner]), 1)


def swish(g: Growing) -> None:
    """x * sigmoid(beta * x), with and without beta, which may be no number but a vector."""
    x = _operand(g)
    _either(g, "Mul", x, g.like("Sigmoid", [_beta(g, x)]))


def _beta(g: Growing, x: Value) -> Value:
    form = g.draw(st.integers(0, 4))
    if form < 2 or not g.dims(x):
        return x
    number = np.asarray(1.702 if form < 4 else np.linspace(0.5, 1.5, g.dims(x)[-1]), x.dtype.np)
    return _either(g, "Mul", x, g.const(number, x.dtype))


def swish_by_exp(g: Growing) -> None:
    """x / (1 + exp(-x))."""
    x = _operand(g)
    negated = g.like("Neg", [_beta(g, x)]) if g.draw(st.booleans()) else _beta(g, g.like("Neg", [x]))
    g.like("RealDiv", [x, _plus(g, g.like("Exp", [negated]), 1)])


def _clipped(g: Growing, x: Value) -> Value:
    """relu6(x + 3), or now and then of x + 2."""
    moved = _plus(g, x, 3 if g.draw(st.integers(0, 5)) else 2)
    if g.draw(st.booleans()):
        return g.like("Relu6", [moved])
    return _either(g, "Maximum", _either(g, "Minimum", moved, _number(g, x.dtype, 6)), _number(g, x.dtype, 0))


def hard_sigmoid_by_division(g: Growing) -> None:
    """relu6(x + 3) / 6."""
    x = _clipped(g, _operand(g))
    g.like("RealDiv", [x, _number(g, x.dtype, 6)])


def hard_sigmoid_by_product(g: Growing) -> None:
    """relu6(x + 3) times a sixth."""
    x = _clipped(g, _operand(g))
    _either(g, "Mul", x, _number(g, x.dtype, 1 / 6))


def hard_swish_by_gate(g: Growing) -> None:
    """x * (relu6(x + 3) / 6), and now and then with the gate of something else."""
    x = _operand(g)
    gate = _times(g, _clipped(g, x), 1 / 6)
    _either(g, "Mul", x if g.draw(st.integers(0, 5)) else g.like("Neg", [x]), gate)


def hard_swish_by_quotient(g: Growing) -> None:
    """(x * relu6(x + 3)) / 6."""
    x = _operand(g)
    g.like("RealDiv", [_either(g, "Mul", x, _clipped(g, x)), _number(g, x.dtype, 6)])


def hard_swish_by_product(g: Growing) -> None:
    """(x * relu6(x + 3)) times a sixth."""
    x = _operand(g)
    _either(g, "Mul", _either(g, "Mul", x, _clipped(g, x)), _number(g, x.dtype, 1 / 6))


def hard_swish_by_sixth(g: Growing) -> None:
    """(x / 6) * relu6(x + 3)."""
    x = _operand(g)
    clipped = _clipped(g, x)
    _either(g, "Mul", _times(g, x, 1 / 6), clipped)


# -- layer normalisation -------------------------------------------------------------------------------------------------


def _moments(g: Growing) -> tuple[Value, Value, Value, tuple[int, ...]]:
    """A tensor, its mean, its variance plus epsilon, and the sizes of the axes (mostly the last ones) that they are over."""
    dims = g.draw(st.lists(st.integers(2, 4), min_size=2, max_size=4).map(tuple))
    x = g.placeholder(DType.FLOAT, dims)
    count = g.draw(st.integers(1, 2))
    axes = list(range(-count, 0)) if g.draw(st.integers(0, 5)) else [0]
    mean = g.add("Mean", [x, g.ints(axes)], keep_dims=True).output
    form = g.draw(st.integers(0, 2))
    if form == 0:
        squares = _either(g, "SquaredDifference", x, mean)
    else:
        centred = g.like("Sub", [x, mean])
        squares = g.like("Square", [centred]) if form == 1 else g.like("Mul", [centred, centred])
    variance = g.add("Mean", [squares, g.ints(axes)], keep_dims=True).output
    return x, mean, _plus(g, variance, 1e-3), dims[-count:]


def _parameter(g: Growing, dims: tuple[int, ...]) -> Value:
    """A scale or an offset over the last axes, or one number."""
    shape = g.draw(st.sampled_from([dims, dims, (1, *dims), ()]))
    return g.const(np.random.default_rng(g.draw(st.integers(0, 7))).normal(size=shape).astype(np.float32))


def norm_by_factor(g: Growing) -> None:
    """As Keras writes it, with and without scale and offset."""
    x, mean, variance, dims = _moments(g)
    factor = g.like("Rsqrt", [variance])
    if g.draw(st.booleans()):
        factor = _either(g, "Mul", factor, _parameter(g, dims))
    form = g.draw(st.integers(0, 2))
    if form == 0:
        shift = g.like("Sub", [_parameter(g, dims), _either(g, "Mul", mean, factor)])
    else:
        shift = _either(g, "Mul", g.like("Neg", [mean]), factor)
        shift = _either(g, "AddV2", shift, _parameter(g, dims)) if form == 1 else shift
    _either(g, "AddV2", _either(g, "Mul", x, factor), shift)


def _norm_by_difference(g: Growing, quotient: bool) -> tuple[Value, tuple[int, ...]]:
    x, mean, variance, dims = _moments(g)
    centred = next((u.output for u in mean.users if u.op == "Sub"), None) or g.like("Sub", [x, mean])
    if quotient:
        return g.like("RealDiv", [centred, g.like("Sqrt", [variance])]), dims
    return _either(g, "Mul", centred, g.like("Rsqrt", [variance])), dims


def norm_by_difference(g: Growing) -> None:
    """(x - mean) times the inverse deviation."""
    _norm_by_difference(g, False)


def norm_by_quotient(g: Growing) -> None:
    """(x - mean) divided by the deviation."""
    _norm_by_difference(g, True)


def scaled_norm(g: Growing) -> None:
    """A layer normalisation and a product, now and then with a constant of another shape."""
    made, dims = _norm_by_difference(g, g.draw(st.booleans()))
    _either(g, "Mul", made, _parameter(g, dims if g.draw(st.integers(0, 5)) else (*g.dims(made)[:-1], 1)))


def shifted_norm(g: Growing) -> None:
    """A layer normalisation, perhaps a product, and a sum."""
    made, dims = _norm_by_difference(g, g.draw(st.booleans()))
    if g.draw(st.booleans()):
        made = _either(g, "Mul", made, _parameter(g, dims))
    _either(g, "AddV2", made, _parameter(g, dims if g.draw(st.integers(0, 5)) else (*g.dims(made)[:-1], 1)))


# -- attention -----------------------------------------------------------------------------------------------------------


def _product(g: Growing, left: Value, right: Value, kind: str, flipped: bool = False) -> Value:
    """A product over two leading axes, as a matrix product or an einsum; ``flipped`` takes the right operand transposed."""
    if kind == "Einsum":
        equation = "bhqd,bhkd->bhqk" if flipped else "bhqk,bhkd->bhqd"
        return g.add("Einsum", [left, right], equation=equation).output
    return g.add(kind, [left, right], adj_y=flipped).output


def _attention_operands(g: Growing) -> tuple[Value, Value, Value]:
    batch, heads, queries, keys, size = (g.draw(st.integers(1, 3)) for _ in range(5))
    other = size if g.draw(st.integers(0, 5)) else size + 1
    dtype = g.draw(KINDS)
    shapes = [(batch, heads, queries, size), (batch, heads, keys, size), (batch, heads, keys, other)]
    query, key, value = (g.placeholder(dtype, shape) for shape in shapes)
    return query, key, value


def _scores(g: Growing, query: Value, key: Value, kind: str) -> Value:
    scores = _product(g, query, key, kind, flipped=True)
    return _times(g, scores, 0.5) if g.draw(st.booleans()) else scores


def attention(g: Growing) -> None:
    """The two products and the softmax between them; the scores scaled or not."""
    query, key, value = _attention_operands(g)
    kind = g.draw(st.sampled_from(["BatchMatMulV2", "BatchMatMul", "Einsum"]))
    weights = g.add("Softmax", [_scores(g, query, key, kind)]).output
    _product(g, weights, value, kind)


RECIPES: Mapping[str, Recipe] = {
    "gelu-from-erfc": _gelu(_erfc), "gelu-from-erf": _gelu(_erf), "gelu-from-tanh": _gelu(_tanh),
    "swish-from-sigmoid": swish, "swish-from-exp": swish_by_exp,
    "hard-swish-from-hard-sigmoid": hard_swish_by_gate, "hard-swish-from-quotient": hard_swish_by_quotient,
    "hard-swish-from-product": hard_swish_by_product, "hard-swish-from-sixth": hard_swish_by_sixth,
    "hard-sigmoid-from-division": hard_sigmoid_by_division, "hard-sigmoid-from-product": hard_sigmoid_by_product,
    "layer-norm-from-factor": norm_by_factor, "layer-norm-from-difference": norm_by_difference,
    "layer-norm-from-quotient": norm_by_quotient, "layer-norm-scale": scaled_norm, "layer-norm-offset": shifted_norm,
    "attention-from-products": attention,
}  # fmt: skip
"""By rule."""
_NORMS = ("layer-norm-from-difference", "layer-norm-from-quotient")
COMPANIONS: Mapping[str, Sequence[str]] = {
    "hard-swish-from-hard-sigmoid": ("hard-sigmoid-from-division", "hard-sigmoid-from-product"),
    "layer-norm-scale": _NORMS, "layer-norm-offset": (*_NORMS, "layer-norm-scale"),
}  # fmt: skip
"""Rules that make what a rule looks for."""
